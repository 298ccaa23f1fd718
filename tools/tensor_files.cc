#include "tools/tensor_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "engine/error.h"
#include "graphs/io/file.h"
#include "graphs/io/npy.h"
#include "graphs/io/npz.h"
#include "graphs/io/safetensors.h"
#include "graphs/io/wav.h"
#include "graphs/normal.h"

namespace strand::tools {
namespace {

enum class Format : uint8_t { kNpy, kNpz, kSafetensors, kAudio };

Format format_of(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (extension == ".npy") return Format::kNpy;
  if (extension == ".npz") return Format::kNpz;
  if (extension == ".safetensors") return Format::kSafetensors;
  for (const char* audio : {".wav", ".flac", ".ogg", ".aiff", ".aif"}) {
    if (extension == audio) return Format::kAudio;
  }
  throw Error(ErrorCategory::kUnsupported, path + ": expected a file named .npy, .npz, .safetensors or .wav");
}

bool holds_one(const std::string& path) {
  const Format format = format_of(path);
  return format == Format::kNpy || format == Format::kAudio;
}

std::vector<std::string> input_names(const graphs::Graph& graph) {
  std::vector<std::string> names;
  for (const graphs::GraphInput& input : graph.inputs) names.push_back(input.description.name);
  return names;
}

Tensor to_float(Tensor tensor, const std::string& path) {
  const DType dtype = tensor.type().dtype;
  if (dtype == DType::kFloat32) return tensor;
  if (is_floating_point(dtype)) return tensor.to(DType::kFloat32);
  throw Error(ErrorCategory::kShape, fmt::format("{}: is {}, expected a floating point type", path, to_string(dtype)));
}

// As [1, 1, L] or [1, C, L], where an input of rank 3 was given less.
Shape with_rank(const Shape& given, size_t rank) {
  if (rank != 3 || given.rank() == 0 || given.rank() >= 3) return given;
  Shape shape;
  while (shape.rank() + given.rank() < 3) shape.append(1);
  for (const int64_t size : given.sizes()) shape.append(size);
  return shape;
}

// The file, where it can be read piece by piece.
std::unique_ptr<SignalReader> open_signal(const std::string& path) {
  switch (format_of(path)) {
    case Format::kNpy:
      return open_npy_signal(path);
    case Format::kAudio:
      return open_wav_signal(path);
    default:
      return nullptr;
  }
}

class InputReader {
 public:
  InputReader(const graphs::Graph& graph, Reading reading, Inputs& inputs)
      : graph_(graph), reading_(reading), inputs_(inputs) {}

  void read(const std::string& text) {
    const FileArgument argument = split_argument(text, input_names(graph_), "input");
    if (reading_ == Reading::kPieces) {
      if (std::unique_ptr<SignalReader> file = open_signal(argument.path)) {
        const std::string name = argument.name.empty() ? only_input(argument.path) : argument.name;
        enter(name, file->type(), argument.path, file->rate());
        inputs_.files[name] = std::move(file);
        return;
      }
    }
    int rate = 0;
    TensorMap tensors = read_tensors(argument.path, &rate);
    if (!argument.name.empty()) {
      take(argument.name, pick(tensors, argument), argument.path, rate);
    } else if (holds_one(argument.path)) {
      take(only_input(argument.path), std::move(tensors.begin()->second), argument.path, rate);
    } else {
      for (auto& [name, tensor] : tensors) take(name, std::move(tensor), argument.path, rate);
    }
  }

 private:
  // The one that a file of one array is for where nobody says.
  std::string only_input(const std::string& path) const {
    if (graph_.inputs.size() == 1) return graph_.inputs[0].description.name;
    throw Error(ErrorCategory::kSchema, fmt::format("--input {}: say for which input, as NAME={}; there is {}", path,
                                                    path, join(input_names(graph_))));
  }

  // An archive's only array, or the one of the input's name.
  static Tensor pick(TensorMap& tensors, const FileArgument& argument) {
    const auto found = tensors.size() == 1 ? tensors.begin() : tensors.find(argument.name);
    if (found != tensors.end()) return std::move(found->second);
    throw Error(ErrorCategory::kSchema, argument.path + ": has no array '" + argument.name + "'");
  }

  void take(const std::string& name, Tensor tensor, const std::string& path, int rate) {
    Tensor floats = to_float(std::move(tensor), path);
    const TensorType type = enter(name, floats.type(), path, rate);
    if (type.shape != floats.shape()) floats = Tensor(type.shape, floats.as<const float>());
    inputs_.tensors.emplace(name, std::move(floats));
  }

  // Checks an input that `path` has and notes it; returns what the network takes it for.
  TensorType enter(const std::string& name, const TensorType& found, const std::string& path, int rate) {
    const auto input =
        std::ranges::find(graph_.inputs, name, [](const graphs::GraphInput& i) { return i.description.name; });
    if (input == graph_.inputs.end()) {
      throw Error(ErrorCategory::kSchema, fmt::format("{}: its array '{}' is no input of {}; there is {}", path, name,
                                                      graph_.file, join(input_names(graph_))));
    }
    const graphs::InputDescription& description = input->description;
    if (rate != 0 && description.rate != 0 && rate != description.rate) {
      throw Error(ErrorCategory::kShape, fmt::format("{}: has a rate of {} Hz, but input '{}' of {} expects {} Hz",
                                                     path, rate, name, graph_.file, description.rate));
    }
    TensorType type = found;
    type.shape = with_rank(found.shape, description.shape.size());
    std::string origin = path;
    if (rate != 0) origin += fmt::format(", {} Hz", rate);
    if (type.shape != found.shape) origin += fmt::format(", taken from {}", to_string(found.shape));
    if (!inputs_.types.emplace(name, type).second) {
      throw Error(ErrorCategory::kSchema, fmt::format("{}: input '{}' was given before", path, name));
    }
    inputs_.origins[name] = origin;
    if (rate != 0) inputs_.rate = rate;
    return type;
  }

  const graphs::Graph& graph_;
  Reading reading_;
  Inputs& inputs_;
};

}  // namespace

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

FileArgument split_argument(const std::string& text, const std::vector<std::string>& names, const char* what) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || text.find_first_of("/\\") < equals) return {"", text};
  const std::string name = text.substr(0, equals);
  if (std::ranges::count(names, name) == 0) {
    throw Error(ErrorCategory::kSchema, fmt::format("{}: no {} '{}'; there is {}", text, what, name, join(names)));
  }
  return {name, text.substr(equals + 1)};
}

std::vector<std::string> output_names(const graphs::Graph& graph) {
  std::vector<std::string> names;
  for (const graphs::GraphOutput& output : graph.outputs) names.push_back(output.name);
  return names;
}

TensorMap read_tensors(const std::string& path, int* rate) {
  TensorMap tensors;
  switch (format_of(path)) {
    case Format::kNpz:
      return read_npz(path);
    case Format::kSafetensors:
      return read_safetensors(path);
    case Format::kNpy:
      tensors.emplace("", read_npy(path));
      break;
    case Format::kAudio: {
      Audio audio = read_wav(path);
      if (rate != nullptr) *rate = audio.rate;
      tensors.emplace("", std::move(audio.samples));
      break;
    }
  }
  return tensors;
}

std::map<std::string, Shape> Inputs::shapes() const {
  std::map<std::string, Shape> result;
  for (const auto& [name, tensor] : tensors) result.emplace(name, tensor.shape());
  for (const auto& [name, type] : types) result.emplace(name, type.shape);  // of those in files too
  return result;
}

Inputs read_inputs(const graphs::Graph& graph, const std::vector<std::string>& arguments, Reading reading) {
  Inputs inputs;
  InputReader reader(graph, reading, inputs);
  for (const std::string& argument : arguments) reader.read(argument);
  return inputs;
}

void require_all(const graphs::Graph& graph, const Inputs& inputs) {
  for (const std::string& name : input_names(graph)) {
    if (inputs.tensors.contains(name) || inputs.files.contains(name)) continue;
    throw Error(ErrorCategory::kSchema,
                fmt::format("{}: input '{}' was not given: --input {}=FILE, or --random", graph.file, name, name));
  }
}

void fill_missing(const graphs::Graph& graph, const graphs::Dimensions& sizes, uint64_t seed, Inputs& inputs) {
  const std::vector<TensorType> types = graphs::infer_types(graph, sizes, DType::kFloat32);
  for (const graphs::GraphInput& input : graph.inputs) {
    const std::string& name = input.description.name;
    if (inputs.tensors.contains(name) || inputs.files.contains(name)) continue;
    try {
      Tensor tensor(types[static_cast<size_t>(input.value)]);
      graphs::fill_normal(tensor.as<float>(), seed++);
      inputs.types.emplace(name, tensor.type());
      inputs.tensors.emplace(name, std::move(tensor));
    } catch (const Error& error) {
      throw error.at(fmt::format("input '{}'", name));
    }
    inputs.origins[name] = fmt::format("random N(0, 1), seed {}", seed - 1);
  }
}

OutputFiles::OutputFiles(const graphs::Graph& graph, const std::vector<std::string>& arguments) {
  const std::vector<std::string> names = output_names(graph);
  for (const std::string& text : arguments) {
    FileArgument argument = split_argument(text, names, "output");
    const Format format = format_of(argument.path);
    if (format == Format::kNpz && !built_with_libzip()) {
      throw Error(ErrorCategory::kUnsupported, argument.path + ": built without libzip, which .npz files need");
    }
    if (format == Format::kAudio) {
      if (!built_with_sndfile()) {
        throw Error(ErrorCategory::kUnsupported, argument.path + ": built without libsndfile, which audio files need");
      }
      if (!argument.path.ends_with(".wav")) {
        throw Error(ErrorCategory::kUnsupported, argument.path + ": audio is written as .wav only");
      }
    }
    if (argument.name.empty() && holds_one(argument.path)) {
      if (names.size() != 1) {
        throw Error(ErrorCategory::kSchema, fmt::format("--output {}: say which output, as NAME={}; there is {}",
                                                        argument.path, argument.path, join(names)));
      }
      argument.name = names[0];
    }
    if (std::ranges::count(files_, argument.path, &Entry::path) > 0) {
      throw Error(ErrorCategory::kSchema, "--output " + text + ": the file is named twice");
    }
    check_writable(argument.path);
    files_.push_back({argument.name, argument.path});
  }
}

bool OutputFiles::wants_rate() const {
  return std::ranges::any_of(files_, [](const Entry& entry) { return format_of(entry.path) == Format::kAudio; });
}

bool OutputFiles::wants_rate(const std::string& output) const {
  return std::ranges::any_of(files_, [&](const Entry& entry) {
    return (entry.output.empty() || entry.output == output) && format_of(entry.path) == Format::kAudio;
  });
}

std::string OutputFiles::target_of(const std::string& output) const {
  std::vector<std::string> targets;
  for (const Entry& entry : files_) {
    if (entry.output.empty() || entry.output == output) targets.push_back(entry.path);
  }
  return targets.empty() ? "" : join(targets);
}

void OutputFiles::write(const Entry& entry, const TensorMap& outputs, int rate) {
  TensorMap chosen;
  for (const auto& [name, tensor] : outputs) {
    if (entry.output.empty() || entry.output == name) chosen.emplace(name, copy_of(tensor.view()));
  }
  switch (format_of(entry.path)) {
    case Format::kNpz:
      write_npz(entry.path, chosen);
      break;
    case Format::kSafetensors:
      write_safetensors(entry.path, chosen);
      break;
    case Format::kNpy:
      write_npy(entry.path, chosen.begin()->second.view());
      break;
    case Format::kAudio:
      write_wav(entry.path, chosen.begin()->second.view(), rate);
      break;
  }
}

void OutputFiles::write(const TensorMap& outputs, int rate) const {
  for (const Entry& entry : files_) write(entry, outputs, rate);
}

bool OutputFiles::in_archive(const std::string& output) const {
  return std::ranges::any_of(files_, [&](const Entry& entry) {
    return (entry.output.empty() || entry.output == output) && !holds_one(entry.path);
  });
}

std::vector<std::unique_ptr<SignalWriter>> OutputFiles::writers(const std::string& output, const TensorType& type,
                                                                int rate) const {
  std::vector<std::unique_ptr<SignalWriter>> result;
  for (const Entry& entry : files_) {
    if (entry.output != output || !holds_one(entry.path)) continue;
    result.push_back(format_of(entry.path) == Format::kAudio ? make_wav_signal(entry.path, type, rate)
                                                             : make_npy_signal(entry.path, type));
  }
  return result;
}

void OutputFiles::write_archives(const TensorMap& outputs) const {
  for (const Entry& entry : files_) {
    if (!holds_one(entry.path)) write(entry, outputs, 0);
  }
}

}  // namespace strand::tools
