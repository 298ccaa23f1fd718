#pragma once
// The parts of `strand bench`. Plain values.

#include <string>
#include <vector>

#include "tools/options.h"

namespace strand::tools {

constexpr int kDefaultRepeats = 11;  // of a case

struct BenchOptions {
  NetworkOptions network;
  bool json = false;
  int repeats = 0;     // 0: as many as fit `seconds`, or the default of the suite
  double seconds = 2;  // of measuring, where `repeats` is 0
  bool conv1d = false;
  std::string cases;              // the file of Conv1d cases
  int random = 0;                 // that many random Conv1d problems instead
  bool sweep = false;             // Conv1d problems that grow
  bool both_alignments = false;   // each case with rows of both alignments
  std::string layers;             // the file of one-layer cases
  std::string pytorch;            // a file of PyTorch's times on the same cases
  std::string filter;             // a part of a case's name
  bool check = false;             // fail where an error is past the promise
  double most_multiply_adds = 0;  // larger cases are shortened; 0: the device's default
};

// Times a network as a whole and layer by layer, on random inputs.
int bench_network(const BenchOptions& options);

// Times single layers, as a network picks them, on a file of cases.
int bench_layers(const BenchOptions& options);

// Times every implementation of Conv1d, and cuDNN where it was built in, on a file of cases or random problems.
int bench_conv1d(const BenchOptions& options);

// Middle and tail of measured times (nearest rank). `values` is not empty.
double percentile(std::vector<double> values, double percent);

}  // namespace strand::tools
