#pragma once
// What most layers' lists of implementations are made of: reasons to decline, the reference for both edge types, and
// error scales. Functions without state.

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "layers/function_kernel.h"
#include "layers/layer.h"

namespace strand::layers {

// Why an implementation for float32 edges declines; empty where every edge that is present is float32.
std::string unless_float32(const PrepareArgs& args);
// The same for a reference, whose edges are all float32 or all float64.
std::string unless_floating(const PrepareArgs& args);

// An implementation for float32 edges; the device is the part of its name before the dot.
Implementation float32_implementation(const PrepareArgs& args, std::string name,
                                      std::function<std::unique_ptr<Kernel>()> prepare);

// "cpu.reference". make_body() is called when it is prepared and gives a callable with a type parameter, the edges':
// [=]<class T>(const Bindings& bindings) { ... }, which computes in double on either type of edge.
template <class MakeBody>
Implementation reference_implementation(const PrepareArgs& args, MakeBody make_body) {
  const DType dtype = args.outputs[0].dtype;
  auto prepare = [dtype, make_body = std::move(make_body)]() -> std::unique_ptr<Kernel> {
    auto body = make_body();
    if (dtype == DType::kFloat64) {
      return function_kernel([body](const Context&, const Bindings& b) { body.template operator()<double>(b); });
    }
    return function_kernel([body](const Context&, const Bindings& b) { body.template operator()<float>(b); });
  };
  return {"cpu.reference", DeviceType::kCpu, unless_floating(args), std::move(prepare)};
}

// An error bound whose scale is computed by body(bindings) on double edges.
template <class Body>
ErrorBound error_bound_of(double factor, Body body) {
  return {factor, function_kernel([body = std::move(body)](const Context&, const Bindings& b) { body(b); })};
}

// The factor of a float32 sum of that many terms whose scale is the sum of their magnitudes, summed one after another.
// Where one early term outweighs all others each further one rounds by up to eps of it: at worst that times the terms;
// as a random walk of uniform roundings (deviation eps / sqrt(3)) seven standard deviations, about 4 sqrt(terms).
inline double sum_factor(int64_t terms) {
  const auto count = static_cast<double>(terms);
  return std::min(count + 3, 2 + 4 * std::sqrt(count));
}

// Only moves values or picks among them: the truth to the last bit.
inline ErrorBound exact() { return {0, nullptr}; }

// Added to a scale whose float32 intermediate values may underflow: the smallest normal float over eps.
constexpr double kUnderflow = 0x1p-102;

// Elements that are worth a thread of their own.
constexpr int64_t kGrain = 16384;

}  // namespace strand::layers
