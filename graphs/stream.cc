#include "graphs/stream.h"

#include "engine/checked.h"
#include "engine/error.h"

namespace strand::graphs {

std::string time_symbol(const Graph& graph) {
  std::string symbol;
  for (const GraphInput& input : graph.inputs) {
    const InputDescription& described = input.description;
    if (described.shape.size() < 2 || described.shape.back().symbol.empty())
      continue;  // no time axis, as infer_types has it
    const Dimension& last = described.shape.back();
    if (!symbol.empty() && symbol != last.symbol) {
      throw Error(ErrorCategory::kUnsupported, graph.file + ": inputs run at different rates: " + symbol + " and " +
                                                   last.symbol + "; a stream needs one");
    }
    symbol = last.symbol;
  }
  if (symbol.empty()) {
    throw Error(ErrorCategory::kUnsupported,
                graph.file + ": no input has an open length; say [batch, channels, length] to stream");
  }
  return symbol;
}

std::shared_ptr<const Plan> compile_stream(const Network& network, CompileOptions options, int64_t max_chunk) {
  const std::string symbol = time_symbol(network.graph());
  const std::vector<TensorType> types = infer_types(network.graph(), options.dimensions, DType::kFloat32);
  int64_t length = 0;
  for (const GraphInput& input : network.graph().inputs) {
    const TensorType& type = types[static_cast<size_t>(input.value)];
    if (input.description.shape.back().symbol == symbol) length = type.shape[-1];
  }
  const int64_t given = length;
  options.half_storage = false;  // what is carried from push to push is float32
  for (int64_t step = 1;; step = checked_mul(step, 2)) {
    options.dimensions[symbol] = length;
    std::shared_ptr<const Plan> plan = network.compile(options);
    const StreamTimes times(*plan);
    if (stream_fits(*plan, times, times.sizes(max_chunk))) return plan;
    // Padding may depend on the remainder of the length by any of the strides.
    const int64_t period = times.period();
    length = checked_add(given, round_up(checked_mul(step, max_chunk), period));
  }
}

}  // namespace strand::graphs
