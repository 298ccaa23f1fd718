#pragma once
// How much of an input one time of an output depends on, from the layers' TimeMaps by exact integer arithmetic.

#include <cstdint>
#include <span>
#include <string>

#include "graphs/graph.h"

namespace strand::graphs {

struct TimeExtent {
  int64_t receptive_field = 0;  // input samples that one output sample can depend on; 0: it does not depend on it
  int64_t left = 0;             // of these, how many lie before the output's own time, at most
  int64_t right = 0;            // and how many after: the look-ahead
  // Output sample t stands at input sample t * step_numerator / step_denominator.
  int64_t step_numerator = 1;
  int64_t step_denominator = 1;
  std::string whole;  // not empty: it depends on the whole input, and this says why; nothing else is meant then
};

// From input to output, both values of the graph. Outputs whose phases differ (upsampling) get the largest extent.
TimeExtent time_extent(const Graph& graph, std::span<const TensorType> types, int input, int output);

}  // namespace strand::graphs
