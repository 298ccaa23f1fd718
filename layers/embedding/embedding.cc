#include "layers/embedding/embedding.h"

#include <cmath>
#include <limits>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct Lookup {
  int64_t rows;
  int64_t features;
  std::shared_ptr<const Buffer> weight;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    const auto* table = reinterpret_cast<const double*>(weight->data());
    for (int64_t i = 0; i < bindings.outputs[0].elements(); ++i) {
      const T index = x[i / features];
      const bool good = index >= 0 && index < static_cast<T>(rows) && index == std::floor(index);
      const auto at = good ? static_cast<int64_t>(index) * features + i % features : 0;
      y[i] = good ? static_cast<T>(table[at]) : std::numeric_limits<T>::quiet_NaN();
    }
  }
};

struct Positions {
  PositionalEmbedding layer;
  std::shared_ptr<const Buffer> learned;  // null where sinusoidal
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const PositionSplit split = layer.split(bindings.inputs[0].shape());
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    const auto* table = learned != nullptr ? reinterpret_cast<const double*>(learned->data()) : nullptr;
    for (int64_t i = 0; i < split.elements(); ++i) {
      const int64_t feature = split.features_last ? i % split.features : i / split.times % split.features;
      const int64_t t = split.features_last ? i / split.features % split.times : i % split.times;
      const double value = layer.element(table, (bindings.window.output + t) * split.features + feature);
      const auto signal = static_cast<double>(x[i]);
      y[i] = static_cast<T>(magnitudes ? std::fabs(signal) + std::fabs(value) : signal + value);
    }
  }
};

Positions make_positions(const PositionalEmbedding& layer, const Weights& weights, bool magnitudes) {
  const PositionOptions& options = layer.options();
  return {layer, options.sinusoidal ? nullptr : weights.doubles(options.parameter), magnitudes};
}

struct Scaled {
  LayerScale layer;
  std::shared_ptr<const Buffer> factors;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const AxisSplit split = layer.split(bindings.inputs[0].shape());
    const auto* x = bindings.inputs[0].ptr<const T>();
    const auto* factor = reinterpret_cast<const double*>(factors->data());
    for (int64_t i = 0; i < split.elements(); ++i) {
      bindings.outputs[0].ptr<T>()[i] =
          static_cast<T>(static_cast<double>(x[i]) * factor[i / split.inner % split.size]);
    }
  }
};

const std::string& parameter_name(const Attributes& attributes) {
  const std::string& name = attributes.string("parameter");
  if (name.empty()) throw Error(ErrorCategory::kSchema, "parameter is empty, expected a tensor's name");
  return name;
}

std::unique_ptr<Layer> make_embedding(const Attributes& a) {
  const int64_t count = a.positive("num_embeddings");
  if (count > Embedding::kMostEmbeddings) {
    throw Error(ErrorCategory::kLimit, "num_embeddings is " + std::to_string(count) + ", at most " +
                                           std::to_string(Embedding::kMostEmbeddings));
  }
  const int64_t features = a.positive("embedding_dim");
  if (!a.is_null("padding_idx") && std::abs(a.integer("padding_idx")) > count) {
    throw Error(ErrorCategory::kSchema, "padding_idx is " + std::to_string(a.integer("padding_idx")) +
                                            ", outside of num_embeddings " + std::to_string(count));
  }
  return std::make_unique<Embedding>(count, features);
}

std::unique_ptr<Layer> make_positional(const Attributes& a) {
  PositionOptions options;
  options.num_embeddings = a.positive("num_embeddings");
  options.embedding_dim = a.positive("embedding_dim");
  options.dim = a.integer("dim");
  options.sinusoidal = a.boolean("sinusoidal");
  options.parameter = parameter_name(a);
  checked_mul(checked_mul(options.num_embeddings, options.embedding_dim), int64_t{sizeof(double)});
  return std::make_unique<PositionalEmbedding>(std::move(options));
}

}  // namespace

std::vector<TensorType> Embedding::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  output.shape.append(embedding_dim_);
  return {output};
}

std::vector<Parameter> Embedding::parameters() const { return {{"weight", {num_embeddings_, embedding_dim_}}}; }

std::vector<Implementation> Embedding::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  embedding_cuda(*this, args, list);
  list.push_back(
      float32_implementation(args, "cpu.native", [this, &args] { return embedding_cpu(*this, args.weights); }));
  list.push_back(reference_implementation(args, [this, &args] {
    return Lookup{num_embeddings_, embedding_dim_, args.weights.doubles("weight")};
  }));
  return list;
}

ErrorBound Embedding::error_bound(const PrepareArgs&) const { return exact(); }

int PositionalEmbedding::time_axis(const Shape& shape) const {
  const int features = checked_axis(shape, options_.dim);
  return features == shape.rank() - 1 ? features - 1 : shape.rank() - 1;
}

PositionSplit PositionalEmbedding::split(const Shape& shape) const {
  const bool last = checked_axis(shape, options_.dim) == shape.rank() - 1;
  return {shape.elements(0, shape.rank() - 2), shape[last ? -2 : -1], shape[last ? -1 : -2], last};
}

std::vector<TensorType> PositionalEmbedding::infer(std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  const int features = checked_axis(shape, options_.dim);
  if (shape.rank() < 2 || features < shape.rank() - 2 || shape[features] != options_.embedding_dim) {
    throw Error(ErrorCategory::kShape, "input is " + to_string(shape) + ", expected " +
                                           std::to_string(options_.embedding_dim) +
                                           " features in axis dim, one of the last two");
  }
  const int64_t times = shape[time_axis(shape)];
  if (times > options_.num_embeddings) {
    throw Error(ErrorCategory::kShape, "input " + to_string(shape) + " has " + std::to_string(times) +
                                           " times, num_embeddings is " + std::to_string(options_.num_embeddings));
  }
  return {inputs[0]};
}

std::vector<Parameter> PositionalEmbedding::parameters() const {
  if (options_.sinusoidal) return {};
  return {
      {options_.parameter, {options_.num_embeddings, options_.embedding_dim}, Init::kUniform, options_.embedding_dim}};
}

TimeMap PositionalEmbedding::time_map(int, int, std::span<const TensorType> inputs) const {
  const TensorType& input = inputs[0];
  if (input.time_axis == checked_axis(input.shape, options_.dim)) {
    return TimeMap::all("time is the axis of PositionalEmbedding's features");
  }
  // A stretch does not know its place in the signal but by those before it, as a state does.
  return input.time_axis == time_axis(input.shape) ? TimeMap::recurrent() : TimeMap::pointwise();
}

double PositionalEmbedding::element(const double* learned, int64_t index) const {
  // A stream may go on for longer than the table.
  if (index >= options_.num_embeddings * options_.embedding_dim) return std::numeric_limits<double>::quiet_NaN();
  if (learned != nullptr) return learned[index];
  const int64_t feature = index % options_.embedding_dim;
  const auto t = static_cast<double>(index / options_.embedding_dim);
  const double exponent = static_cast<double>(feature - feature % 2) / static_cast<double>(options_.embedding_dim);
  const double angle = t * std::pow(10000.0, -exponent);
  return feature % 2 == 0 ? std::sin(angle) : std::cos(angle);
}

std::shared_ptr<const Buffer> PositionalEmbedding::packed(const Weights& weights, bool features_last) const {
  const auto [rows, columns, dim, sinusoidal, parameter] = options_;
  const int64_t bytes = checked_mul(checked_mul(rows, columns), int64_t{sizeof(float)});
  const std::string packing = parameter + (features_last ? ".rows" : ".columns");
  return weights.pack(packing, bytes, [&](std::byte* target) {
    auto* values = reinterpret_cast<float*>(target);
    for (int64_t i = 0; i < options_.num_embeddings * options_.embedding_dim; ++i) {
      const int64_t row = i / options_.embedding_dim;
      const int64_t column = i % options_.embedding_dim;
      values[features_last ? i : column * options_.num_embeddings + row] =
          options_.sinusoidal ? static_cast<float>(element(nullptr, i))
                              : weights.host(options_.parameter)[static_cast<size_t>(i)];
    }
  });
}

std::vector<Implementation> PositionalEmbedding::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  embedding_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, &args] { return position_cpu(*this, args); }));
  list.push_back(reference_implementation(args, [this, &args] { return make_positions(*this, args.weights, false); }));
  return list;
}

ErrorBound PositionalEmbedding::error_bound(const PrepareArgs& args) const {
  return error_bound_of(4, [sum = make_positions(*this, args.weights, true)](const Bindings& bindings) {
    sum.operator()<double>(bindings);
  });
}

std::vector<TensorType> LayerScale::infer(std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  if (split(shape).size != channels_) {
    throw Error(ErrorCategory::kShape, "input " + to_string(shape) + " has " + std::to_string(split(shape).size) +
                                           " channels in axis dim, channels is " + std::to_string(channels_));
  }
  return {inputs[0]};
}

TimeMap LayerScale::time_map(int, int, std::span<const TensorType> inputs) const {
  const bool channels = inputs[0].time_axis == checked_axis(inputs[0].shape, dim_);
  return channels ? TimeMap::all("LayerScale has a factor for each time") : TimeMap::pointwise();
}

std::vector<Implementation> LayerScale::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  embedding_cuda(*this, args, list);
  list.push_back(
      float32_implementation(args, "cpu.native", [this, &args] { return layer_scale_cpu(*this, args.weights); }));
  list.push_back(reference_implementation(args, [this, &args] {
    return Scaled{*this, args.weights.doubles(parameter_)};
  }));
  return list;
}

ErrorBound LayerScale::error_bound(const PrepareArgs&) const { return {}; }

void register_embedding(LayerRegistry& registry) {
  registry.add({"Embedding",
                "rows of a table; the input's values are their numbers, and what is no number of a row gives NaN",
                {{"num_embeddings", kInteger, "rows, at most 2^24"},
                 {"embedding_dim", kInteger, "columns"},
                 {"padding_idx", kInteger | kNull, "of training; has no effect here", Null{}}},
                make_embedding,
                "[*] -> [*, embedding_dim]"});
  registry.add({"PositionalEmbedding",
                "adds row t of a table at time t",
                {{"num_embeddings", kInteger, "rows: the most times"},
                 {"embedding_dim", kInteger, "columns"},
                 {"dim", kInteger, "the axis of the features, one of the last two; time is the other one", int64_t{-1}},
                 {"sinusoidal", kBoolean, "no weights: sines and cosines in turn, as in arXiv:1706.03762", false},
                 {"parameter", kString, "the table's name in the state_dict", std::string("weight")}},
                make_positional,
                "[*, L, embedding_dim], or [*, embedding_dim, L] for dim -2",
                "recurrent (it counts the times); whole if dim is time"});
  registry.add({"LayerScale",
                "a learned factor a channel",
                {{"channels", kInteger, "the size of the axis"},
                 {"dim", kInteger, "the axis; a negative one counts from the end", int64_t{1}},
                 {"parameter", kString, "the factors' name in the state_dict", std::string("gamma")}},
                [](const Attributes& a) {
                  return std::make_unique<LayerScale>(a.positive("channels"), a.integer("dim"), parameter_name(a));
                },
                "any with channels in axis dim",
                "pointwise; whole if dim is time"});
}

}  // namespace strand::layers
