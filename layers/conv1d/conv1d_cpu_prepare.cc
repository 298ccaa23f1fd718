// What cpu.eigen prepares: weights in the order in which strips read them, and what the strips do besides their sums.

#include <algorithm>
#include <limits>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_cpu.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// The output channel that stands in packed row `row`: for gates a block is its channels' first halves, then the second.
int64_t channel_of(const Conv1dProblem& p, int64_t row) {
  if (!p.epilogue.gated) return row;
  const int64_t block = row / kRows * kRows;
  const int64_t half = std::min(kRows, p.out_channels - block) / 2;
  const int64_t channel = block / 2 + (row - block) % half;
  return row - block < half ? channel : p.out_channels / 2 + channel;
}

// What the strips add to their sums.
Added added_of(const Epilogue& epilogue, bool mixed) {
  if (epilogue.gated || epilogue.residual != Epilogue::Residual::kBefore) return Added::kNothing;
  return mixed ? Added::kMixed : Added::kResidual;
}

// What the strips do of the epilogue's function, where all products of a sum are always made at once.
Bend bend_of(const Conv& conv) {
  const Epilogue& epilogue = conv.problem.epilogue;
  const bool whole = conv.tiling.chunks.size() == 1 && conv.tiling.chunks[0].width * conv.group_in <= kBufferFloats;
  if (!whole || epilogue.gated || conv.rest.residual != Epilogue::Residual::kNone) return Bend::kNone;
  switch (epilogue.function) {
    case Epilogue::Function::kRelu:
      return Bend::kRelu;
    case Epilogue::Function::kLeakyRelu:
    case Epilogue::Function::kPrelu:
      return Bend::kLeaky;
    default:
      return Bend::kNone;
  }
}

// [C_out, C_in / groups, K] -> by group and block of kRows outputs: [C_in / groups, K, rows].
void pack_weight(const Conv1dProblem& p, std::span<const float> weight, float* target) {
  for (int64_t group = 0; group < p.groups; ++group) {
    for (int64_t o = 0; o < p.group_out(); o += kRows) {
      const int64_t rows = std::min(kRows, p.group_out() - o);
      std::array<const float*, kRows> source{};
      for (int64_t r = 0; r < rows; ++r) {
        source[static_cast<size_t>(r)] = weight.data() + channel_of(p, group * p.group_out() + o + r) * p.reduction();
      }
      for (int64_t i = 0; i < p.reduction(); ++i) {
        for (int64_t r = 0; r < rows; ++r) *target++ = source[static_cast<size_t>(r)][i];
      }
    }
  }
}

}  // namespace

Implementation conv1d_eigen(const Conv1dProblem& problem, const PrepareArgs& args) {
  Implementation result{"cpu.eigen", DeviceType::kCpu, unless_float32(args), {}};
  if (!result.declined.empty()) return result;
  if (problem.epilogue.gated && problem.groups > 1) {
    result.declined = "computes gates for one group only";
    return result;
  }
  result.prepare = [problem, &args]() -> std::unique_ptr<Kernel> {
    Conv conv;
    conv.problem = problem;
    conv.tiling = best_tiling(problem);
    conv.direct = problem.stride == 1 && conv.tiling.chunks.size() == 1;
    conv.group_in = problem.group_in();
    conv.group_out = problem.group_out();
    conv.group_blocks = ceil_div(conv.group_out, kRows);
    const Epilogue& epilogue = problem.epilogue;
    conv.pad_left = problem.pad_left;
    conv.reach = conv.tiling.direct_offsets.back();
    conv.taps = problem.kernel_size;
    conv.offsets = conv.tiling.direct_offsets.data();  // a move leaves it where it is
    if (conv.direct && problem.batch == 1 && problem.groups == 1 && !epilogue.gated) {
      conv.short_outputs = conv.tiling.positions;
      conv.short_inputs =
          conv.group_out <= kDirectRows ? std::numeric_limits<int64_t>::max() : kDirectFloats / conv.group_in;
    }
    conv.rest = epilogue;
    conv.has_residual = epilogue.residual != Epilogue::Residual::kNone;
    const bool mixed = args.weights.has("mix.weight");  // what one channel's residual is to all
    conv.added = added_of(epilogue, mixed);
    if (conv.added != Added::kNothing) conv.rest.residual = Epilogue::Residual::kNone;
    const Bend bend = bend_of(conv);
    if (bend != Bend::kNone) conv.rest.function = Epilogue::Function::kIdentity;
    if (epilogue.by_channel()) conv.coefficients = conv.own(args.weights.floats("epilogue"));
    conv.slopes.assign(kRows, static_cast<float>(epilogue.parameters[0]));
    conv.finishes = !conv.rest.none();
    const std::string order = epilogue.gated ? ".gates" : "";
    const std::span<const float> weight = args.weights.host("weight");
    const float* packed = conv.own(
        args.weights.pack("weight.cpu.rows6" + order, static_cast<int64_t>(weight.size_bytes()),
                          [&](std::byte* target) { pack_weight(problem, weight, reinterpret_cast<float*>(target)); }));
    const float* bias = nullptr;
    if (problem.has_bias) {
      const std::span<const float> given = args.weights.host("bias");
      bias = conv.own(
          args.weights.pack("bias.cpu.rows6" + order, static_cast<int64_t>(given.size_bytes()), [&](std::byte* target) {
            for (int64_t row = 0; row < problem.out_channels; ++row) {
              reinterpret_cast<float*>(target)[row] = given[static_cast<size_t>(channel_of(problem, row))];
            }
          }));
    }
    const float* factors = mixed ? conv.own(args.weights.floats("mix.weight")) : nullptr;
    const float* shifts = args.weights.has("mix.bias") ? conv.own(args.weights.floats("mix.bias")) : nullptr;
    for (int64_t channel = 0; channel < problem.out_channels;) {
      const int64_t rows = std::min(kRows, conv.group_out - channel % conv.group_out);
      const auto of = [&](const float* values, const float* none) {
        return values == nullptr ? none : values + channel;
      };
      const float* zeros = kNoBias.data();
      conv.blocks.push_back(
          {packed + channel * problem.reduction(),
           rows,
           {of(bias, zeros), {}, of(factors, zeros), of(shifts, zeros), of(conv.coefficients, conv.slopes.data())},
           whole_strips(rows, conv.added, bend)});
      channel += rows;
    }
    return conv_kernel(std::move(conv));
  };
  return result;
}

}  // namespace strand::layers
