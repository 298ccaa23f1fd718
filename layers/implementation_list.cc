#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// The first edge that is present and not of the dtype, in words; empty where there is none.
std::string unless_all(const PrepareArgs& args, DType dtype, const std::string& expected) {
  for (const std::span<const TensorType> edges : {args.inputs, args.outputs}) {
    for (const TensorType& edge : edges) {
      if (edge.shape.rank() > 0 && edge.dtype != dtype) {
        return "computes " + expected + " edges, got " + std::string(to_string(edge.dtype));
      }
    }
  }
  return "";
}

}  // namespace

std::string unless_float32(const PrepareArgs& args) { return unless_all(args, DType::kFloat32, "float32"); }

std::string unless_floating(const PrepareArgs& args) {
  const DType dtype = args.outputs[0].dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  return unless_all(args, dtype, "float32 or float64");
}

Implementation float32_implementation(const PrepareArgs& args, std::string name,
                                      std::function<std::unique_ptr<Kernel>()> prepare) {
  const DeviceType device = name.starts_with("cuda.") ? DeviceType::kCuda : DeviceType::kCpu;
  return {std::move(name), device, unless_float32(args), std::move(prepare)};
}

}  // namespace strand::layers
