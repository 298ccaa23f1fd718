// Prints the telephone keys pressed in a sound file: reads it, runs the network once over all of it, decodes.
#include <strand/strand.h>

#include <array>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "examples/keypad/decode.h"
#include "graphs/io/wav.h"

namespace {

using strand::Error;
using strand::ErrorCategory;

constexpr const char* kUsage = R"(usage: keypad FILE.wav [--network keypad.yaml] [--device cpu|cuda|cuda:1] [--times]

Prints the telephone keys pressed in a mono sound file at the network's rate, 8 kHz.
  --network FILE  the network's description; by default the source tree's, or else keypad.yaml beside the sound file
  --device NAME   where to run it: cpu (the default), cuda, or cuda:1
  --times         adds a table: when each key was pressed, and its mean probability over that time
)";

struct Arguments {
  std::filesystem::path sound;
  std::filesystem::path network;
  strand::Device device;
  bool times = false;
  bool help = false;
};

Error usage_error(const std::string& message) { return {ErrorCategory::kSchema, message + " (see keypad --help)"}; }

std::filesystem::path default_network(const std::filesystem::path& sound) {
  std::filesystem::path in_source_tree = KEYPAD_NETWORK;
  return std::filesystem::exists(in_source_tree) ? in_source_tree : sound.parent_path() / "keypad.yaml";
}

Arguments parse(int count, const char* const* values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string_view option = values[i];
    if (option == "--help" || option == "-h") {
      arguments.help = true;
      return arguments;
    }
    if (option == "--times") {
      arguments.times = true;
    } else if (option == "--network" || option == "--device") {
      if (++i == count) throw usage_error(std::string(option) + " needs a value");
      if (option == "--network") arguments.network = values[i];
      if (option == "--device") arguments.device = strand::parse_device(values[i]);
    } else if (option.starts_with("-")) {
      throw usage_error("no option " + std::string(option));
    } else if (arguments.sound.empty()) {
      arguments.sound = option;
    } else {
      throw usage_error("one sound file, not two: " + std::string(option));
    }
  }
  if (arguments.sound.empty()) throw usage_error("no sound file given");
  if (arguments.network.empty()) arguments.network = default_network(arguments.sound);
  return arguments;
}

void check(const strand::Audio& audio, const strand::graphs::Graph& graph, const Arguments& arguments) {
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    throw Error(ErrorCategory::kShape, arguments.network.string() + ": expected a network of one input and one output");
  }
  const std::string sound = arguments.sound.string();
  const int64_t rate = graph.inputs[0].description.rate;
  if (audio.rate != rate) {
    throw Error(ErrorCategory::kShape, sound + ": its rate is " + std::to_string(audio.rate) + " Hz, expected " +
                                           std::to_string(rate) + " Hz, the network's");
  }
  const int64_t channels = audio.samples.shape()[1];
  if (channels != 1) {
    throw Error(ErrorCategory::kShape, sound + ": has " + std::to_string(channels) + " channels, expected one");
  }
  if (audio.samples.shape()[2] < keypad::kHop) {
    throw Error(ErrorCategory::kShape, sound + ": has " + std::to_string(audio.samples.shape()[2]) +
                                           " samples, fewer than a frame's " + std::to_string(keypad::kHop));
  }
}

void print_times(const std::vector<keypad::Digit>& digits, int rate) {
  const auto seconds = [rate](int64_t frame) { return static_cast<double>(frame * keypad::kHop) / rate; };
  std::printf("digit  start s  end s  probability\n");
  for (const keypad::Digit& digit : digits) {
    std::printf("%-5c  %7.2f  %5.2f  %11.4f\n", digit.key, seconds(digit.begin), seconds(digit.end), digit.probability);
  }
}

void run(const Arguments& arguments) {
  const strand::Audio audio = strand::read_wav(arguments.sound);
  const auto network = strand::Network::load(arguments.network);
  const strand::graphs::Graph& graph = network.graph();
  check(audio, graph, arguments);

  strand::CompileOptions options;
  options.device = arguments.device;
  options.dimensions =
      strand::graphs::match_dimensions(graph, {{graph.inputs[0].description.name, audio.samples.shape()}});
  strand::Session session(network.compile(options), 0);
  const auto outputs = session.run_to_host(std::array{audio.samples.view()});
  const strand::Shape& shape = outputs[0].shape();
  if (shape.rank() != 3 || shape[0] != 1 || shape[1] != keypad::kChannels) {
    throw Error(ErrorCategory::kShape, arguments.network.string() + ": its output is " + to_string(outputs[0].type()) +
                                           ", expected [1, 17, frames]");
  }

  const std::vector<keypad::Digit> digits = keypad::decode(outputs[0].as<const float>());
  std::printf("%s\n", keypad::text(digits).c_str());
  if (arguments.times) print_times(digits, audio.rate);
}

}  // namespace

int main(int count, char** values) {
  try {
    const Arguments arguments = parse(count, values);
    if (arguments.help) {
      std::fputs(kUsage, stdout);
    } else {
      run(arguments);
    }
    if (std::fflush(stdout) != 0) throw Error(ErrorCategory::kIo, "can't write to standard output");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "keypad: %s\n", error.what());
    return 2;
  }
}
