#include "engine/session.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <thread>

#include "graphs/network.h"

namespace strand {
namespace {

constexpr const char* kYaml = R"(strand: 1
name: two_outputs
weights: {seed: 1}
inputs:
  x: {shape: [batch, 4, length], defaults: {batch: 2, length: 33}}
layers:
  - {name: flat, type: Flatten, inputs: [x]}
  - {name: relu, type: ReLU, inputs: [x]}
  - {name: conv, type: Conv1d, in_channels: 4, out_channels: 5, kernel_size: 3}
outputs: [conv, flat]
)";

std::shared_ptr<const Plan> plan() {
  static const std::shared_ptr<const Plan> made = graphs::Network::from_memory(kYaml, {}).compile();
  return made;
}

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>(i));
  return values;
}

std::vector<float> values_of(const TensorView& view) {
  const auto values = view.as<const float>();
  return {values.begin(), values.end()};
}

TEST_CASE("an input is read where it lies, and a view of it follows") {
  Session session(plan());
  const Tensor input({2, 4, 33}, ramp(264));
  const Tensor other({2, 4, 33}, std::vector<float>(264, 2.0F));
  const std::vector<TensorView> inputs = {input.view()};
  const std::vector<TensorView> others = {other.view()};
  CHECK(values_of(session.run(inputs)[1]) == ramp(264));
  CHECK(session.run(inputs)[1].data == input.view().data);
  CHECK(session.run(inputs)[1].shape() == Shape{2, 132});
  CHECK(values_of(session.run(others)[1]) == std::vector<float>(264, 2.0F));
}

TEST_CASE("an input off the vectors' alignment, or in double, is copied and gives the same bits") {
  Session session(plan());
  const Tensor input({2, 4, 33}, ramp(264));
  std::vector<float> shifted(265);
  std::ranges::copy(ramp(264), shifted.begin() + 1);
  const Tensor doubles = input.to(DType::kFloat64);
  const std::vector<TensorView> aligned = {input.view()};
  const std::vector<TensorView> unaligned = {{input.type(), shifted.data() + 1, Device{}}};
  const std::vector<TensorView> wide = {doubles.view()};
  const std::vector<float> expected = values_of(session.run(aligned)[0]);
  CHECK(values_of(session.run(unaligned)[0]) == expected);
  CHECK(values_of(session.run(wide)[0]) == expected);
}

TEST_CASE("run_into copies to the caller's memory, which may be the input's") {
  Session session(plan());
  Tensor input({2, 4, 33}, ramp(264));
  Tensor conv(TensorType{DType::kFloat32, {2, 5, 31}});
  const std::vector<TensorView> inputs = {input.view()};
  const std::vector<float> expected = values_of(session.run(inputs)[0]);
  const std::vector<TensorView> outputs = {conv.view(), {plan()->output_type(1), input.view().data, Device{}}};
  session.run_into(inputs, outputs);
  CHECK(values_of(conv.view()) == expected);
  CHECK(values_of(input.view()) == ramp(264));
}

TEST_CASE("what does not fit is refused before anything is computed") {
  Session session(plan());
  const Tensor wrong({2, 4, 32}, ramp(256));
  const std::vector<TensorView> wrong_shape = {wrong.view()};
  CHECK_THROWS_WITH_AS(session.run(wrong_shape), "input 'x' has shape [2, 4, 32], expected [2, 4, 33]", Error);
  CHECK_THROWS_AS(session.run({}), Error);
  const std::vector<TensorView> no_data = {{plan()->input_type(0), nullptr, Device{}}};
  CHECK_THROWS_WITH_AS(session.run(no_data), "input 'x' has no data", Error);
  const Tensor input({2, 4, 33}, ramp(264));
  const std::vector<TensorView> inputs = {input.view()};
  CHECK_THROWS_AS(session.run_into(inputs, {}), Error);
  CHECK(values_of(session.run(inputs)[1]) == ramp(264));
}

TEST_CASE("a Session without a Plan, or with a senseless number of threads, is refused") {
  CHECK_THROWS_WITH_AS(Session(nullptr), "a Session was given no Plan", Error);
  CHECK_THROWS_AS(Session(plan(), -1), Error);
  CHECK_THROWS_AS(Session(plan(), 5000), Error);
}

TEST_CASE("threads that the system does not give are an Error") {
  if (::geteuid() == 0) {  // whom the limit does not stop
    std::printf("SKIPPED: the number of threads has no limit for root\n");
    return;
  }
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NPROC, &before) == 0);
  const rlimit none = {0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NPROC, &none) == 0);
  std::string text;
  try {
    const Session session(plan(), 64);
  } catch (const Error& error) {
    text = error.what();
  }
  REQUIRE(::setrlimit(RLIMIT_NPROC, &before) == 0);
  CHECK(text.starts_with("the system gives 1 of 64 threads: "));
}

TEST_CASE("sessions of one plan run in parallel and give the same bits") {
  const Tensor input({2, 4, 33}, ramp(264));
  const std::vector<TensorView> inputs = {input.view()};
  Session first(plan());
  const std::vector<float> expected = values_of(first.run(inputs)[0]);
  std::vector<std::thread> threads;
  std::vector<int> right(4, 0);
  for (int& count : right) {
    threads.emplace_back([&inputs, &expected, &count] {
      Session session(plan(), 2);
      for (int round = 0; round < 50; ++round) count += values_of(session.run(inputs)[0]) == expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : right) CHECK(count == 50);
}

TEST_CASE("times of steps are measured one by one") {
  Session session(plan());
  const Tensor input({2, 4, 33}, ramp(264));
  const std::vector<TensorView> inputs = {input.view()};
  session.load_inputs(inputs);
  std::vector<double> times(session.plan().steps.size(), -1);
  session.run_timed(times);
  for (const double time : times) CHECK(time >= 0);
  CHECK_THROWS_AS(session.run_timed({}), Error);
}

}  // namespace
}  // namespace strand
