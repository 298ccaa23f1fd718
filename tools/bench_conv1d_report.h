#pragma once
// What `strand bench --conv1d` found, as text and as JSON. Plain values; the printing functions write to stdout.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/bench_cases.h"
#include "tools/bench_device.h"
#include "tools/bench_problem.h"
#include "tools/machine.h"
#include "tools/table.h"

namespace strand::tools {

// The time to read every input and write every output once at the rate of a device copy measured in the same run, or to
// form three float16 products for each float32 one (one in lower precisions), whichever is longer.
struct Floor {
  int64_t bytes = 0;
  int half_products = 3;
  double bytes_ms = 0;
  double half_ms = 0;  // 0: not known
  double ffma_ms = 0;  // 0: not known
  double ms() const { return std::max(bytes_ms, half_ms); }
};

struct CaseResult {
  ConvCase conv_case;
  Floor floor;
  std::string skipped;              // why; empty where it ran
  std::vector<ConvTiming> timings;  // ours in the layer's order, cuDNN's, PyTorch's

  // The first of ours that took the case: what a network gets. Null where none did.
  const ConvTiming* picked() const;
  // The fastest of those of a kind ("cudnn float32") or a device ("cuda.") that were timed, or null.
  const ConvTiming* fastest(const std::string& kind) const;
};

// Kinds of ours, which are named by device, among those of others.
bool is_ours(const ConvTiming& timing);

Floor floor_of(const ConvSizes& sizes, const Peaks& peaks, DType stored, Precision precision);

// For cases that are printed one by one: a block of rows each, or for random problems a row.
Table make_case_table();
Table make_random_table();
void print_head(const Machine& machine, const Peaks& peaks);
void print_case(const Table& table, const CaseResult& result);
void print_random(const Table& table, const CaseResult& result);
// A row a case: the picked one beside cuDNN's and PyTorch's; geometric means.
void print_summary(const std::vector<CaseResult>& results);
// For random problems: how many were right, and the ten that are slowest beside cuDNN or, without it, the floor.
void print_worst(const std::vector<CaseResult>& results);
// For a sweep, whose results are pairs: the time at each size, and where a slightly larger problem takes far longer.
void print_sweep(const std::vector<CaseResult>& results);
bool all_right(const std::vector<CaseResult>& results);

nlohmann::ordered_json to_json(const CaseResult& result);

}  // namespace strand::tools
