// strand stream: a network on sound that comes a chunk at a time, from a file or in a pipe.

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/error.h"
#include "graphs/stream.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/sound_pipe.h"
#include "tools/stop_signals.h"
#include "tools/stream_live.h"
#include "tools/stream_pump.h"
#include "tools/table.h"
#include "tools/tensor_files.h"

namespace strand::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  strand stream net.yaml --chunk 160 --input call.wav --output out.wav
  sox in.wav -t f32 -r 16000 -c 1 - | strand stream net.yaml --chunk 160 | sox -t f32 -r 16000 -c 1 - out.wav
  arecord -t raw -f S16_LE -r 16000 | strand stream net.yaml --chunk 160 --format s16 | aplay -f S16_LE -r 16000
  strand stream net.yaml --device cuda --streams 1,64,1024 --chunk 480 --rate 48000
Raw samples are little-endian, the channels of a frame side by side. Output sample t is offline's output sample t: it
comes late by the latency that is told first, and the end of the sound brings the rest. What is told goes to standard
error where the sound goes to standard output. SIGINT ends the sound, and what it made is still written.
With --streams there is no sound: so many streams of noise are pushed together in chunks of one length, and a table says
how long a push takes. On CUDA that is one graph, with the copies from and to the host.)";

constexpr const char* kPipe = "-";
constexpr int64_t kAssumedLength = 32768;  // samples, where the description has no default and nothing says more
constexpr int kMostRate = 100'000'000;     // Hz

struct StreamArguments {
  NetworkOptions network;
  std::string input = kPipe;
  std::string output = kPipe;
  std::string format;
  std::string start = "padding";
  double silence = 0;  // seconds
  int rate = 0;        // Hz; 0: the network's or the file's
  int64_t chunk = 480;
  std::vector<int64_t> streams;  // live ones, timed
  double seconds = 10;
};

// Where the sound comes from and goes to, all checked.
struct Route {
  std::string input;            // the network's
  std::string target;           // a path, or kPipe
  size_t output = 0;            // of the plan's
  int64_t rate = 0;             // Hz, of the input
  StreamTimes::Rate step;       // output samples an input sample
  int64_t input_channels = 0;   // samples a frame
  int64_t output_channels = 0;  // samples a frame

  double output_rate() const {
    return static_cast<double>(rate) * static_cast<double>(step.outputs) / static_cast<double>(step.inputs);
  }
};

const graphs::InputDescription& only_input(const graphs::Graph& graph) {
  if (graph.inputs.size() != 1) {
    throw Error(ErrorCategory::kUnsupported,
                fmt::format("{}: has {} inputs; stream takes networks of one", graph.file, graph.inputs.size()));
  }
  const graphs::InputDescription& input = graph.inputs[0].description;
  if (input.shape.size() != 3) {
    throw Error(ErrorCategory::kShape, fmt::format("{}:{}: input '{}' has {} axes, expected [batch, channels, length]",
                                                   graph.file, input.line, input.name, input.shape.size()));
  }
  return input;
}

// Hz. The file, --rate and the network must agree, as far as they say something.
int64_t find_rate(const StreamArguments& options, const graphs::Graph& graph, const WavReader* file) {
  const graphs::InputDescription& input = only_input(graph);
  const std::string asked = fmt::format("--rate {}", options.rate);
  const std::string found = file == nullptr ? "" : fmt::format("{}: has a rate of {} Hz", options.input, file->rate());
  const auto check = [&](int64_t rate, const std::string& who) {
    if (rate == 0 || input.rate == 0 || rate == input.rate) return;
    throw Error(ErrorCategory::kShape,
                fmt::format("{}, but input '{}' of {} expects {} Hz", who, input.name, graph.file, input.rate));
  };
  check(options.rate, asked);
  if (file != nullptr) {
    check(file->rate(), found);
    if (options.rate != 0 && options.rate != file->rate()) {
      throw Error(ErrorCategory::kShape, found + ", but " + asked + " was said");
    }
    return file->rate();
  }
  const int64_t rate = options.rate != 0 ? options.rate : input.rate;
  if (rate == 0) throw Error(ErrorCategory::kShape, graph.file + ": no rate is known; say it with --rate");
  return rate;
}

std::shared_ptr<const Plan> compile_for(const StreamArguments& options, const graphs::Network& network,
                                        const WavReader* file) {
  const graphs::Graph& graph = network.graph();
  const graphs::InputDescription& input = only_input(graph);
  const std::string length = graphs::time_symbol(graph);
  graphs::CompileOptions compile = compile_options(options.network);
  const bool length_said = compile.dimensions.contains(length);
  const auto known_size = [&](const graphs::Dimension& dimension) {
    if (dimension.symbol.empty()) return dimension.size;
    const auto said = compile.dimensions.find(dimension.symbol);
    if (said != compile.dimensions.end()) return said->second;
    const auto preset = input.defaults.find(dimension.symbol);
    return preset == input.defaults.end() ? int64_t{0} : preset->second;
  };
  const int64_t channels = file != nullptr ? file->channels() : known_size(input.shape[1]);
  if (channels == 0) {
    throw Error(ErrorCategory::kShape, fmt::format("{}: the sound's channels are not known; say --set {}=1", graph.file,
                                                   input.shape[1].symbol));
  }
  const int64_t samples = known_size(input.shape[2]);
  match_sizes(graph, {{input.name, {1, channels, samples == 0 ? kAssumedLength : samples}}}, compile);
  const auto plan = graphs::compile_stream(network, compile, options.chunk);
  if (file == nullptr || length_said) return plan;
  // Padding may depend on how far the file's length is from a whole number of periods.
  const int64_t period = StreamTimes(*plan).period();
  const int64_t rest = (file->frames() - compile.dimensions[length]) % period;
  if (rest == 0) return plan;
  compile.dimensions[length] += rest > 0 ? rest : rest + period;
  return graphs::compile_stream(network, compile, options.chunk);
}

Route find_route(const StreamArguments& options, const FileArgument& argument, const Plan& plan, int64_t rate) {
  Route route;
  route.input = plan.inputs[0].name;
  route.target = argument.path;
  route.rate = rate;
  route.input_channels = plan.input_type(0).shape[1];
  while (!argument.name.empty() && plan.outputs[route.output].name != argument.name) ++route.output;
  route.step = StreamTimes(plan).rate(route.output);
  const std::string& name = plan.outputs[route.output].name;
  const TensorType& type = plan.output_type(route.output);
  if (type.shape.rank() != 3 || type.shape[0] != 1 || type.time_axis != 2 || !is_floating_point(type.dtype)) {
    throw Error(ErrorCategory::kShape,
                fmt::format("output '{}' is {}, a sound is [1, channels, frames]", name, to_string(type)));
  }
  route.output_channels = type.shape[1];
  const double output_rate = route.output_rate();
  if (route.target != kPipe && (output_rate != std::floor(output_rate) || output_rate > kMostRate)) {
    throw Error(
        ErrorCategory::kShape,
        fmt::format("{}: output '{}' has {:.6f} samples a second ({} for {} of the input); a file needs a whole "
                    "number, up to {}",
                    options.output, name, output_rate, route.step.outputs, route.step.inputs, kMostRate));
  }
  return route;
}

FileArgument find_target(const StreamArguments& options, const graphs::Graph& graph) {
  const std::vector<std::string> names = output_names(graph);
  FileArgument argument = split_argument(options.output, names, "output");
  if (argument.name.empty() && names.size() != 1) {
    throw Error(ErrorCategory::kSchema, fmt::format("--output {}: say which output, as NAME={}; there is {}",
                                                    argument.path, argument.path, join(names)));
  }
  if (argument.path != kPipe && !argument.path.ends_with(".wav")) {
    throw Error(ErrorCategory::kUnsupported, argument.path + ": expected a .wav file, or - for standard output");
  }
  if (!options.format.empty() && options.input != kPipe && argument.path != kPipe) {
    throw Error(ErrorCategory::kUnsupported, "--format is that of raw samples, and both ends are files");
  }
  if (options.input == kPipe && isatty(STDIN_FILENO) != 0) {
    throw Error(ErrorCategory::kIo, "standard input is a terminal; pipe raw samples into it, or say --input FILE");
  }
  if (argument.path == kPipe && isatty(STDOUT_FILENO) != 0) {
    throw Error(ErrorCategory::kIo, "standard output is a terminal; pipe it on, or say --output FILE.wav");
  }
  return argument;
}

StreamStart start_of(const StreamArguments& options) {
  if (options.start == "silence") return StreamStart::kSilence;
  return options.start == "context" ? StreamStart::kContext : StreamStart::kPadding;
}

StreamOptions stream_options(const StreamArguments& options, int64_t rate) {
  StreamOptions stream{options.chunk, start_of(options), 0, options.network.threads};
  if (options.silence != 0 && stream.start != StreamStart::kSilence) {
    throw Error(ErrorCategory::kUnsupported, "--silence goes with --start silence");
  }
  stream.silence = std::llround(options.silence * static_cast<double>(rate));
  return stream;
}

std::string count_of(int64_t count, const char* what) {
  return fmt::format("{} {}{}", format_count(count), what, count == 1 ? "" : "s");
}

// Beside a rate in Hz.
std::string milliseconds(int64_t samples, int64_t rate) {
  return format_ms(1000.0 * static_cast<double>(samples) / static_cast<double>(rate));
}

std::string describe_start(const StreamArguments& options, const StreamSession& session, const Route& route) {
  if (options.start == "context") {
    return fmt::format("context: the first output is sample {}",
                       format_count(session.times().clean_from(route.output)));
  }
  return options.start == "silence" ? "silence before the first sample" : "padding, as offline";
}

std::string heading(const StreamArguments& options, const StreamSession& session, size_t layers, const Route& route) {
  const Plan& plan = session.plan();
  const int64_t lookahead = session.times().latency(route.output);
  const int64_t latency = lookahead + session.max_chunk();
  const std::string raw = options.format == "s16" ? ", int16" : ", float32";
  std::string text =
      fmt::format("network    {} ({}) on {}, {}, {}\n", plan.name, count_of(static_cast<int64_t>(layers), "layer"),
                  to_string(plan.device),
                  options.network.threads == 0 ? "a thread a core" : count_of(options.network.threads, "thread"),
                  to_string(plan.precision));
  text += fmt::format("input      {}  {} at {} Hz  from {}\n", route.input, count_of(route.input_channels, "channel"),
                      route.rate, options.input == kPipe ? "standard input" + raw : options.input);
  text += fmt::format("output     {}  {} at {:.6g} Hz  to {}\n", plan.outputs[route.output].name,
                      count_of(route.output_channels, "channel"), route.output_rate(),
                      route.target == kPipe ? "standard output" + raw : route.target + ", float32");
  text += fmt::format("latency    {}, {}: look-ahead {}, chunk {}\n", count_of(latency, "sample"),
                      milliseconds(latency, route.rate), format_count(lookahead), format_count(session.max_chunk()));
  text += fmt::format("state      {}\n", format_bytes(session.state_bytes()));
  text += fmt::format("start      {}\n", describe_start(options, session, route));
  return text;
}

std::string pushes_table(const TimeHistogram& pushes, double chunk_ms) {
  Table table({{"push", Align::kLeft}, {"time"}, {"of a chunk's"}});
  const auto add = [&](const char* name, int64_t nanoseconds) {
    const double ms = 1e-6 * static_cast<double>(nanoseconds);
    table.add({name, format_ms(ms), fmt::format("{:.2f} %", 100 * ms / chunk_ms)});
  };
  add("median", pushes.quantile(0.5));
  add("p99", pushes.quantile(0.99));
  add("worst", pushes.worst());
  return table.text();
}

std::string summary(const StreamArguments& options, const Route& route, const StreamTally& tally,
                    const SoundSink& sink) {
  const double seconds = static_cast<double>(tally.samples) / static_cast<double>(route.rate);
  std::string text = fmt::format("sound      {}, {:.3f} s, in {}; {} out\n", count_of(tally.samples, "sample"), seconds,
                                 tally.pushes.count() == 1 ? "1 push" : format_count(tally.pushes.count()) + " pushes",
                                 count_of(tally.outputs, "sample"));
  if (tally.pushes.count() > 0) {
    const double factor = 1e-9 * static_cast<double>(std::max<int64_t>(tally.pushes.total(), 1)) / seconds;
    text += fmt::format("real time  factor {:.3g}: {:.3g} times as fast as the sound\n", factor, 1 / factor);
    text += pushes_table(tally.pushes, 1000.0 * static_cast<double>(options.chunk) / static_cast<double>(route.rate));
    text +=
        fmt::format("overruns   {}: pushes that took longer than their samples last\n", format_count(tally.overruns));
  }
  if (options.input == kPipe) {
    text += fmt::format("underruns  {}: times that a player {} behind the first output had nothing to play\n",
                        format_count(tally.underruns), count_of(kPlayerChunks, "chunk"));
  }
  if (sink.clipped() > 0) {
    text += fmt::format("clipped    {} past full scale or no number\n", count_of(sink.clipped(), "sample"));
  }
  if (tally.closed) text += "ended      by who reads the output\n";
  if (stopped()) text += "ended      by a signal\n";
  return text;
}

// Where nobody listens, nothing is lost.
void tell(std::FILE* target, const std::string& text) {
  std::fputs(text.c_str(), target);
  std::fflush(target);
}

int run_live(const StreamArguments& options) {
  const graphs::Network network = load_network(options.network);
  const int64_t rate = find_rate(options, network.graph(), nullptr);
  if (options.silence != 0) throw Error(ErrorCategory::kUnsupported, "--silence goes with a sound, not with --streams");
  time_live_streams(
      network, compile_options(options.network),
      {options.streams, options.chunk, rate, options.seconds, start_of(options), options.network.threads});
  return 0;
}

int run(const StreamArguments& options) {
  if (!options.streams.empty()) return run_live(options);
  if (options.network.device != "cpu") {
    throw Error(ErrorCategory::kUnsupported, "a stream of any chunk runs on the CPU; on " + options.network.device +
                                                 " there are live streams in chunks of one length, --streams N");
  }
  Progress progress("strand stream:");
  progress.say("reading");
  const graphs::Network network = load_network(options.network);
  const graphs::Graph& graph = network.graph();
  const FileArgument target = find_target(options, graph);
  auto file = options.input == kPipe ? nullptr : std::make_unique<WavReader>(options.input);
  const int64_t rate = find_rate(options, graph, file.get());

  progress.say("preparing");
  const auto plan = compile_for(options, network, file.get());
  const Route route = find_route(options, target, *plan, rate);
  StreamSession session(plan, stream_options(options, rate));
  const SampleFormat format = options.format == "s16" ? SampleFormat::kInt16 : SampleFormat::kFloat32;
  const auto sink = route.target == kPipe
                        ? raw_sink(format)
                        : file_sink(route.target, route.output_channels, static_cast<int>(route.output_rate()));
  const auto source = file == nullptr ? raw_source(format, route.input_channels) : file_source(std::move(file));
  progress.finish();

  std::FILE* const told = route.target == kPipe ? stderr : stdout;
  tell(told, heading(options, session, graph.nodes.size(), route));
  stop_on_signals();
  StreamPump pump(session, {route.output, static_cast<double>(rate), route.output_rate()}, *source, *sink);
  pump.run();
  tell(told, summary(options, route, pump.tally(), *sink));
  pump.rethrow();
  return 0;
}

}  // namespace

void add_stream(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("stream", "Run a network on sound, a chunk at a time");
  const auto options = std::make_shared<StreamArguments>();
  options->network.threads = 1;
  add_network_argument(*command, options->network);
  add_device_option(*command, options->network);
  command->add_option("--chunk", options->chunk, "Samples a push")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--rate", options->rate, "Rate of the input in Hz, where neither a file nor the network says it")
      ->check(CLI::Range(1, kMostRate));
  command->add_option("--input", options->input, "An audio file, or - for raw samples on standard input")
      ->capture_default_str();
  command
      ->add_option("--output", options->output,
                   "FILE.wav (written as float32), or - for raw samples on standard output; NAME=FILE.wav or NAME=- "
                   "with several outputs")
      ->capture_default_str();
  command->add_option("--format", options->format, "Raw samples: f32 (the default) or s16, little-endian")
      ->check(CLI::IsMember({"f32", "s16"}));
  command
      ->add_option("--start", options->start,
                   "What stands before the first sample: padding, as offline; silence; context: nothing, outputs begin "
                   "when the receptive field is full")
      ->capture_default_str()
      ->check(CLI::IsMember({"padding", "silence", "context"}));
  command
      ->add_option("--silence", options->silence,
                   "Seconds of silence at least, with --start silence, for networks "
                   "with a state")
      ->check(CLI::Range(0.0, 1e6));
  auto* const input = command->get_option("--input");
  auto* const output = command->get_option("--output");
  command
      ->add_option("--streams", options->streams,
                   "Time so many live streams in step instead, such as 1,16,64: chunks are of one length, a multiple "
                   "of the stride period")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->excludes(input)
      ->excludes(output);
  command->add_option("--seconds", options->seconds, "Of noise a stream, with --streams")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  add_network_options(*command, options->network);
  command->footer(kExamples);
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace strand::tools
