#pragma once
// Holds Conv1d's implementations against the double loop, over tables of shapes.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/cuda_runtime.h"
#include "tests/conv1d_table.h"
#include "tests/run_layer.h"

namespace strand::testing {

// The largest share of the bound that each implementation has used.
using Shares = std::map<std::string, double>;

inline std::string check(const Conv1dCase& c, Shares& shares, int threads = 1) {
  const std::string what = to_string(c);
  const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
  const Report report = check_against_reference(*layer, inputs, random_parameters(*layer), what, threads);
  CHECK_MESSAGE(report.cpu >= 1, "no CPU implementation takes " << what << "\n" << report.text);
  if (cuda::built_with_cuda()) {
    CHECK_MESSAGE(report.cuda >= 2, "direct and naive should take " << what << "\n" << report.text);
  }
  for (const auto& [name, share] : report.worst) shares[name] = std::max(shares[name], share);
  return report.text;
}

// `taken_by`: an implementation that declines none of them.
inline void check_all(const std::vector<Conv1dCase>& cases, const std::string& taken_by = "nothing") {
  Shares shares;
  int threads = 1;
  for (size_t i = first_tried(cases.size()); i < cases.size(); i += tried_step(cases.size())) {
    const std::string report = check(cases[i], shares, threads = threads % 3 + 1);
    CHECK_MESSAGE(report.find(taken_by + " declines") == std::string::npos, report);
  }
  std::string text;
  for (const auto& [name, share] : shares) text += " " + name + " " + std::to_string(share);
  MESSAGE((cases.size() / tried_step(cases.size())) << " problems, largest error as a share of the bound:" << text);
}

}  // namespace strand::testing
