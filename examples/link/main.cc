// A network described and weighted in memory, compiled for the CPU and run once.
#include <strand/strand.h>

#include <array>
#include <cstdio>

namespace {

// y[t] = x[t] + x[t + 1]
constexpr const char* kDescription = R"(
strand: 1
name: sums_of_two
inputs:
  x: {shape: [1, 1, length], defaults: {length: 5}}
layers:
  - {name: sum, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 2, padding: [0, 1], bias: false}
outputs: [sum]
)";

void run() {
  strand::TensorMap weights;
  weights["sum.weight"] = strand::Tensor({1, 1, 2}, std::array{1.0F, 1.0F});
  const auto network = strand::Network::from_memory(kDescription, weights);

  strand::Session session(network.compile());
  const strand::Tensor x({1, 1, 5}, std::array{0.0F, 1.0F, 2.0F, 3.0F, 4.0F});
  const auto outputs = session.run(std::array{x.view()});  // [1, 1, 5], valid until the next run

  std::printf("y =");
  for (const float y : outputs[0].as<const float>()) std::printf(" %g", static_cast<double>(y));
  std::printf("\n");
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const strand::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
