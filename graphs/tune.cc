#include "graphs/tune.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "engine/session.h"

namespace strand::graphs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kClearlyFaster = 0.97;  // of the first one's time: noise must not decide
constexpr int kFewestRuns = 3;
constexpr int kMostRuns = 100;
constexpr const char* kReference = "cpu.reference";
constexpr int64_t kReferenceMultiplyAdds = 200'000'000;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

// The median time of each step, waited for one by one.
std::vector<double> time_steps(const std::shared_ptr<const Plan>& plan, const TensorMap& inputs,
                               const TuneOptions& options) {
  Session session(plan, options.threads);
  // On the device already: inputs that lie in the arena would be overwritten by the first run.
  std::vector<Tensor> placed;
  std::vector<TensorView> views;
  for (const PlanPort& input : plan->inputs) {
    const auto given = inputs.find(input.name);
    if (given == inputs.end()) throw Error(ErrorCategory::kShape, "tune: no input '" + input.name + "' was given");
    placed.push_back(given->second.to(plan->device));
  }
  for (const Tensor& tensor : placed) views.push_back(tensor.view());
  session.load_inputs(views);
  std::vector<double> run(plan->steps.size());
  session.run_timed(run);  // warm-up
  std::vector<std::vector<double>> times(run.size());
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  for (int i = 0; i < kFewestRuns || (i < kMostRuns && seconds() < options.seconds); ++i) {
    session.run_timed(run);
    for (size_t step = 0; step < run.size(); ++step) times[step].push_back(run[step]);
  }
  std::vector<double> medians;
  for (const std::vector<double>& each : times) medians.push_back(median(each));
  return medians;
}

// Nodes by what they compute, in order; those alone whose implementation is free to choose.
std::vector<TunedProblem> problems_of(const Network& network, const CompileOptions& compile,
                                      std::vector<std::string>& names) {
  const std::vector<std::string> keys = network.tuning_keys(compile);
  const std::vector<std::vector<Candidate>> candidates = network.candidates(compile);
  const Graph graph = network.compiled_graph(compile);
  std::vector<TunedProblem> problems;
  for (size_t i = 0; i < keys.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (keys[i].empty()) continue;
    auto problem = std::ranges::find(problems, keys[i], &TunedProblem::key);
    if (problem == problems.end()) {
      problems.push_back({keys[i], {}, {}, 0});
      problem = problems.end() - 1;
      for (const Candidate& candidate : candidates[i]) {
        if (!candidate.declined.empty()) continue;
        problem->implementations.push_back({candidate.name, 0});
        if (std::ranges::count(names, candidate.name) == 0) names.push_back(candidate.name);
      }
    }
    problem->layers.push_back(node.path);
  }
  return problems;
}

}  // namespace

std::vector<TunedProblem> tune(const Network& network, const TensorMap& inputs, const TuneOptions& options) {
  CompileOptions compile = options.compile;
  compile.tuning = nullptr;
  compile.implementation.clear();
  std::vector<std::string> names;
  std::vector<TunedProblem> problems = problems_of(network, compile, names);
  for (const std::string& name : names) {
    auto tuning = std::make_shared<Tuning>();
    for (const TunedProblem& problem : problems) tuning->picks[problem.key] = name;
    compile.tuning = tuning;
    const std::shared_ptr<const Plan> plan = network.compile(compile);
    int64_t multiply_adds = 0;
    for (const PlanStep& step : plan->steps) multiply_adds += step.multiply_adds;
    if (name == kReference && multiply_adds > kReferenceMultiplyAdds) continue;
    if (options.progress) options.progress(name);
    const std::vector<double> times = time_steps(plan, inputs, options);
    for (TunedProblem& problem : problems) {
      const auto entry = std::ranges::find(problem.implementations, name, &MeasuredImplementation::name);
      if (entry == problem.implementations.end()) continue;
      std::vector<double> own;
      for (size_t i = 0; i < times.size(); ++i) {
        const bool same = std::ranges::count(problem.layers, plan->steps[i].name) > 0;
        if (same && plan->steps[i].implementation == name) own.push_back(times[i]);
      }
      if (!own.empty()) entry->milliseconds = median(own);
    }
  }
  for (TunedProblem& problem : problems) {
    std::erase_if(problem.implementations, [](const MeasuredImplementation& each) { return each.milliseconds == 0; });
  }
  // Of layers that all keep the implementation that the description gives them.
  std::erase_if(problems, [](const TunedProblem& problem) { return problem.implementations.empty(); });
  for (TunedProblem& problem : problems) {
    const auto fastest = std::ranges::min_element(problem.implementations, {}, &MeasuredImplementation::milliseconds);
    if (fastest->milliseconds >= kClearlyFaster * problem.implementations[0].milliseconds) continue;
    problem.best = static_cast<size_t>(fastest - problem.implementations.begin());
  }
  return problems;
}

Tuning choices(const std::vector<TunedProblem>& problems) {
  Tuning tuning;
  for (const TunedProblem& problem : problems) {
    const MeasuredImplementation& best = problem.implementations[problem.best];
    tuning.picks[problem.key] = best.name;
    tuning.milliseconds[problem.key] = best.milliseconds;
  }
  return tuning;
}

}  // namespace strand::graphs
