#include "graphs/fuse.h"

#include <algorithm>
#include <optional>

#include "engine/error.h"
#include "layers/channel_affine.h"
#include "layers/epilogue.h"

namespace strand::graphs {
namespace {

// The only reader of each value: a node's index, or one of these.
constexpr int kUnread = -1;
constexpr int kStays = -2;

std::vector<int> readers_of(const Graph& graph, std::span<const int> keep) {
  std::vector<int> readers(static_cast<size_t>(graph.values), kUnread);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const int value : graph.nodes[i].inputs) {
      if (value == kAbsent) continue;
      int& reader = readers[static_cast<size_t>(value)];
      reader = reader == kUnread ? static_cast<int>(i) : kStays;
    }
  }
  for (const GraphOutput& output : graph.outputs) readers[static_cast<size_t>(output.value)] = kStays;
  for (const int value : keep) readers[static_cast<size_t>(value)] = kStays;
  return readers;
}

// Both as one node, which `layer` computes; `port` is the consumer's that reads the producer.
Node joined(const Node& producer, const Node& consumer, std::ptrdiff_t port,
            std::shared_ptr<const layers::Layer> layer) {
  Node node = producer;
  node.layer = std::move(layer);
  node.path = consumer.path;
  node.type += " + " + consumer.type;
  node.where += " + " + consumer.type + " '" + consumer.path + "'";
  node.outputs = consumer.outputs;
  if (node.fused.empty()) {
    node.fused.push_back({producer.path, producer.type, producer.layer, {}});
    for (size_t i = 0; i < producer.inputs.size(); ++i) node.fused[0].inputs.push_back(static_cast<int>(i));
  }
  FusedLayer& last = node.fused.emplace_back(FusedLayer{consumer.path, consumer.type, consumer.layer, {}});
  for (size_t i = 0; i < consumer.inputs.size(); ++i) {
    const bool is_before = static_cast<std::ptrdiff_t>(i) == port;
    last.inputs.push_back(is_before ? kBefore : static_cast<int>(node.inputs.size()));
    if (!is_before) node.inputs.push_back(consumer.inputs[i]);
  }
  return node;
}

// The consumer's multiply-adds in the producer's weights. Once: a second time would round them again.
std::optional<Node> folded(const Node& producer, const Node& consumer, std::span<const TensorType> types,
                           const WeightsOf& weights) {
  if (producer.folded != nullptr || consumer.inputs.size() != 1) return {};
  std::vector<layers::ChannelAffine> affine;
  try {
    affine = consumer.layer->as_channel_affine(weights(consumer));
  } catch (const Error& error) {
    throw error.at(consumer.where);
  }
  if (affine.empty()) return {};
  auto both = producer.layer->fold(affine, types_of(producer.inputs, types), weights(producer));
  if (!both) return {};
  Node node = joined(producer, consumer, 0, std::move(both->layer));
  node.folded = std::make_shared<const layers::FoldedWeights>(std::move(both->weights));
  return node;
}

std::optional<Node> absorbed(const Node& producer, const Node& consumer, std::span<const TensorType> types) {
  const auto port = std::ranges::find(consumer.inputs, producer.outputs[0]) - consumer.inputs.begin();
  const auto epilogue = consumer.layer->as_epilogue(static_cast<int>(port), types_of(consumer.inputs, types));
  if (!epilogue) return {};
  auto layer = producer.layer->absorb(*epilogue);
  return layer == nullptr ? std::nullopt : std::optional(joined(producer, consumer, port, std::move(layer)));
}

// The producer as part of what the consumer, a fused node, adds to its sums.
std::optional<Node> mixed(const Node& producer, const Node& consumer, std::span<const TensorType> types) {
  if (!producer.fused.empty() || producer.inputs.size() != 1 || consumer.fused.empty()) return {};
  const auto port = static_cast<int>(std::ranges::find(consumer.inputs, producer.outputs[0]) - consumer.inputs.begin());
  auto layer =
      consumer.layer->mix(types_of(consumer.inputs, types), port, *producer.layer, types_of(producer.inputs, types));
  if (layer == nullptr) return {};
  Node node = consumer;
  node.layer = std::move(layer);
  node.where += " + " + producer.type + " '" + producer.path + "'";
  node.inputs[static_cast<size_t>(port)] = producer.inputs[0];
  const auto adds = std::ranges::find_if(
      node.fused, [&](const FusedLayer& part) { return std::ranges::count(part.inputs, port) > 0; });
  for (int& input : adds->inputs) input = input == port ? kBefore : input <= kBefore ? input - 1 : input;
  node.fused.insert(adds, {producer.path, producer.type, producer.layer, {port}, "mix."});
  node.type.clear();
  for (const FusedLayer& part : node.fused) node.type += (node.type.empty() ? "" : " + ") + part.type;
  return node;
}

// Both as one node; nothing where the producer can't take the consumer.
std::optional<Node> fused(const Node& producer, const Node& consumer, std::span<const TensorType> types,
                          const WeightsOf& weights) {
  if (producer.outputs.size() != 1 || consumer.outputs.size() != 1) return {};
  std::optional<Node> node = folded(producer, consumer, types, weights);
  if (!node) node = absorbed(producer, consumer, types);
  if (!node) node = mixed(producer, consumer, types);
  if (!node) return {};
  const bool same = node->inputs.size() == node->layer->inputs().size() &&
                    node->layer->infer(types_of(node->inputs, types)) == types_of(node->outputs, types);
  return same ? std::move(node) : std::nullopt;
}

// Values without those that are gone.
void renumber(Graph& graph) {
  std::vector<int> numbers(static_cast<size_t>(graph.values), kAbsent);
  const auto mark = [&](int value) { numbers[static_cast<size_t>(value)] = 0; };
  for (const GraphInput& input : graph.inputs) mark(input.value);
  for (const Node& node : graph.nodes) std::ranges::for_each(node.outputs, mark);
  graph.values = 0;
  for (int& number : numbers) {
    if (number != kAbsent) number = graph.values++;
  }
  const auto change = [&](int& value) {
    if (value != kAbsent) value = numbers[static_cast<size_t>(value)];
  };
  for (GraphInput& input : graph.inputs) change(input.value);
  for (Node& node : graph.nodes) {
    std::ranges::for_each(node.inputs, change);
    std::ranges::for_each(node.outputs, change);
  }
  for (GraphOutput& output : graph.outputs) change(output.value);
}

}  // namespace

Graph fuse(const Graph& graph, std::span<const TensorType> types, std::span<const int> keep, const WeightsOf& weights,
           const MayFuse& may_fuse) {
  const std::vector<int> readers = readers_of(graph, keep);
  Graph result = graph;
  std::vector<bool> gone(graph.nodes.size());
  for (size_t i = 0; i < result.nodes.size(); ++i) {
    const Node& producer = result.nodes[i];
    const int reader = producer.outputs.empty() ? kUnread : readers[static_cast<size_t>(producer.outputs[0])];
    if (reader < 0 || gone[i]) continue;
    Node& consumer = result.nodes[static_cast<size_t>(reader)];
    std::optional<Node> both = fused(producer, consumer, types, weights);
    if (!both || !may_fuse(producer, consumer, *both)) continue;
    consumer = std::move(*both);  // which comes later, and may absorb more
    gone[i] = true;
  }
  std::vector<Node> left;
  for (size_t i = 0; i < result.nodes.size(); ++i) {
    if (!gone[i]) left.push_back(std::move(result.nodes[i]));
  }
  result.nodes = std::move(left);
  renumber(result);
  return result;
}

}  // namespace strand::graphs
