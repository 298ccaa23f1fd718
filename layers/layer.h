#pragma once
// What one layer is: its ports, shapes, parameters, times, and the ordered implementations that compute it. Immutable
// after construction, so a Layer may be shared by threads. Layers know no files and no other layers.
//
// Errors are strand::Error whose message says what was found and expected; the graph adds file, line and layer path.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device.h"
#include "engine/kernel.h"
#include "engine/tensor.h"
#include "engine/time_map.h"
#include "layers/weights.h"

namespace strand::layers {

struct Epilogue;       // epilogue.h
struct ChannelAffine;  // channel_affine.h
struct Folded;

struct Port {
  std::string name;
  bool optional = false;
  bool variadic = false;  // the last input only: one or more of them (Add, Concat)
};

enum class Init : uint8_t { kUniform, kZeros, kOnes };  // kUniform: in +-1/sqrt(fan_in)

struct Parameter {
  std::string name;  // as PyTorch's state_dict has it
  Shape shape;
  Init init = Init::kUniform;
  int64_t fan_in = 1;
};

// An edge has at least one axis: a TensorType of rank 0 stands for an optional input that is absent.
struct PrepareArgs {
  std::span<const TensorType> inputs;
  std::span<const TensorType> outputs;
  Device device;
  int64_t workspace_limit = 0;  // bytes that an implementation's workspace should stay under
  const Weights& weights;
  Precision precision = Precision::kFloat32;  // what implementations must reach; those that are more exact may do
};

// One way to compute a layer. `prepare` may be called while the PrepareArgs that it was made from live.
struct Implementation {
  std::string name;  // "cuda.direct"; the part before the dot is the device
  DeviceType device = DeviceType::kCpu;
  std::string declined;  // why it can't compute this problem; empty where it can
  std::function<std::unique_ptr<Kernel>()> prepare;
};

// How far a float32 implementation may be from the truth: |y - truth| <= factor * eps * scale, eps = 2^-24, element by
// element. `scale` computes the scale of each output in double from double inputs ([same ports], on the CPU); null
// stands for |truth|.
struct ErrorBound {
  double factor = 4;
  std::unique_ptr<Kernel> scale;
};

class Layer {
 public:
  virtual ~Layer() = default;

  virtual std::vector<Port> inputs() const { return {{"input"}}; }
  virtual std::vector<std::string> outputs() const { return {"output"}; }

  // The types of the outputs. Error(kShape) where the inputs do not fit.
  virtual std::vector<TensorType> infer(std::span<const TensorType> inputs) const = 0;

  virtual std::vector<Parameter> parameters() const { return {}; }

  // Which times of `input` the times of `output` need.
  virtual TimeMap time_map(int /*input*/, int /*output*/, std::span<const TensorType> /*inputs*/) const {
    return TimeMap::pointwise();
  }

  // The layer that makes the same `outputs` times of a window of `inputs` times which holds all that they need: one
  // with no padding of its own. The window's first times are `window`'s, or as many whole strides later. Null where
  // there is none; a layer whose time maps are pointwise is not asked.
  virtual std::shared_ptr<const Layer> in_window(const Window& /*window*/, int64_t /*inputs*/,
                                                 int64_t /*outputs*/) const {
    return nullptr;
  }

  // Multiply-adds a run.
  virtual int64_t multiply_adds(std::span<const TensorType> /*inputs*/, std::span<const TensorType> /*outputs*/) const {
    return 0;
  }

  // The output is the input's bytes under another shape (Flatten): no kernel, no copy.
  virtual bool is_view() const { return false; }

  // What decides which implementation is fastest, as text on one line; empty where measuring them is not worth it.
  virtual std::string tuning_key(std::span<const TensorType> /*inputs*/) const { return {}; }

  // Fastest first, "cpu.reference" (the naive loop in double, for float32 and float64 edges) last of the CPU's. All of
  // both devices, whatever args.device is; a view has none.
  virtual std::vector<Implementation> implementations(const PrepareArgs& args) const = 0;

  virtual ErrorBound error_bound(const PrepareArgs& /*args*/) const { return {}; }

  // What the layer is as the end of the one whose output comes in at port `input`; its residual is the only other
  // input. Nothing where an Epilogue can't say it.
  virtual std::optional<Epilogue> as_epilogue(int input, std::span<const TensorType> inputs) const;
  // Where that is by_channel(): what its function has of each channel, [2, channels].
  virtual std::vector<float> epilogue_coefficients(const Weights& weights, int64_t channels) const;
  // This layer with `next` at its end, whose residual is one more input, the last; by_channel() coefficients are one
  // more parameter, "epilogue". Null where the layer can't.
  virtual std::shared_ptr<const Layer> absorb(const Epilogue& next) const;

  // This layer, on such inputs, with `maker`, on such inputs, at its input `port`: it takes there what the maker, whose
  // output came there, takes as its only input. The maker's parameters follow its own, as "mix." and their names. Null
  // where there is none.
  virtual std::shared_ptr<const Layer> mix(std::span<const TensorType> inputs, int port, const Layer& maker,
                                           std::span<const TensorType> maker_inputs) const;

  // What the layer does to each channel (axis 1), in double, where that is all that it does; else empty.
  virtual std::vector<ChannelAffine> as_channel_affine(const Weights& weights) const;
  // This layer, on such inputs, with `next` after it, as one with other weights. Nothing where there is none, or where
  // its error would be larger than its bound.
  virtual std::optional<Folded> fold(std::span<const ChannelAffine> next, std::span<const TensorType> inputs,
                                     const Weights& weights) const;
};

}  // namespace strand::layers
