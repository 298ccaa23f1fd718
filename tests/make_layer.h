#pragma once
// Makes layers by type and fields as a description would, and checks them. For tests only.

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "layers/registry.h"
#include "tests/run_layer.h"

namespace strand::testing {

using Fields = std::initializer_list<std::pair<const char*, layers::AttributeValue>>;

inline std::unique_ptr<layers::Layer> make_layer(const std::string& type, Fields fields = {}) {
  static const layers::LayerRegistry registry = layers::default_registry();
  layers::Attributes attributes;
  for (const auto& [name, value] : fields) attributes.set(name, value);
  return registry.make(type, attributes);
}

// Holds every implementation to the reference, with one thread and with several, and demands one a device.
inline void check_layer(const layers::Layer& layer, const std::vector<Tensor>& inputs, const Parameters& parameters,
                        const std::string& what) {
  for (const int threads : {1, 3}) {
    const Report report = check_against_reference(layer, inputs, parameters, what, threads);
    CHECK_MESSAGE(report.cpu >= 1, what << ": no CPU implementation\n" << report.text);
    if (cuda::built_with_cuda()) CHECK_MESSAGE(report.cuda >= 1, what << ": no CUDA implementation\n" << report.text);
  }
}

inline void check_layer(const layers::Layer& layer, const Shape& input, const std::string& what) {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor(input));
  check_layer(layer, inputs, random_parameters(layer), what + " on " + to_string(input));
}

// The only output's type for inputs of these types.
inline TensorType infer_one(const layers::Layer& layer, std::initializer_list<TensorType> inputs) {
  const std::vector<TensorType> types(inputs);
  return layer.infer(types).at(0);
}
inline Shape output_shape(const layers::Layer& layer, const Shape& input) {
  return infer_one(layer, {{DType::kFloat32, input, TensorType::kNoTime}}).shape;
}
inline TimeMap time_map_of(const layers::Layer& layer, std::initializer_list<TensorType> inputs, int input = 0) {
  const std::vector<TensorType> types(inputs);
  return layer.time_map(input, 0, types);
}
// [N, C, L] whose last axis is time.
inline TensorType signal(const Shape& shape) { return {DType::kFloat32, shape, shape.rank() - 1}; }

// The message of the error of that category that the body throws.
template <class Body>
std::string refusal(ErrorCategory category, Body body) {
  try {
    body();
  } catch (const Error& error) {
    CHECK_MESSAGE(error.category() == category, to_string(error.category()) << ": " << error.what());
    return error.what();
  }
  FAIL_CHECK("no error");
  return "";
}

inline Tensor tensor_of(const Shape& shape, const std::vector<float>& values) { return {shape, values}; }

// One input through every implementation that runs here; `check` gets the name and the output.
inline void for_each_implementation(const layers::Layer& layer, const std::vector<Tensor>& inputs,
                                    const Parameters& parameters,
                                    const std::function<void(const std::string&, std::span<const float>)>& check) {
  const PreparedLayer prepared(layer, inputs, parameters, DType::kFloat32, {});
  for (const layers::Implementation& implementation : prepared.implementations()) {
    if (implementation.device == DeviceType::kCuda && !cuda_available()) continue;
    const std::vector<Tensor> outputs = run_implementation(layer, implementation.name, inputs, parameters);
    CAPTURE(implementation.name);
    check(implementation.name, outputs[0].as<const float>());
  }
}

}  // namespace strand::testing
