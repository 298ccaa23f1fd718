#include "tools/run_tiled.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>

#include "engine/checked.h"
#include "engine/cuda_runtime.h"
#include "engine/error.h"
#include "graphs/signal.h"
#include "tools/table.h"

namespace strand::tools {

namespace {

// Files hold float32; a window may be of another type.
void read_piece(SignalReader& file, int64_t begin, const TensorView& target) {
  if (target.type.dtype == DType::kFloat32) return file.read(begin, target);
  TensorType type = target.type;
  type.dtype = DType::kFloat32;
  const Tensor floats(type);
  file.read(begin, floats.view());
  convert(floats.view(), target);
}

// Threads, buffers of files and code that is yet to be paged in.
constexpr int64_t kMargin = int64_t{4} << 20;
// What cuBLAS's finalizers page in as the process ends, when the activations are gone: 58 MB with CUDA 13.
constexpr int64_t kLeaving = int64_t{64} << 20;

// A line of /proc/self/status, such as VmRSS, in bytes; 0 where there is none.
int64_t process_bytes(std::string_view key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::strtoll(line.c_str() + key.size(), nullptr, 10) * 1024;
  }
  return 0;
}

// What reading and writing copies of a window: an audio file's frames, and other types on their way to and from float32
// and the ranges' float64.
int64_t copied_bytes(const Plan& window) {
  int64_t bytes = 0;
  for (size_t i = 0; i < window.inputs.size(); ++i) {
    const TensorType& type = window.input_type(i);
    const int64_t floats = checked_mul(type.shape.elements(), size_of(DType::kFloat32));
    bytes = checked_add(bytes, checked_mul(floats, type.dtype == DType::kFloat32 ? 1 : 2));
  }
  for (size_t i = 0; i < window.outputs.size(); ++i) {
    const TensorType& type = window.output_type(i);
    if (type.dtype == DType::kFloat32) continue;
    bytes = checked_add(bytes, checked_add(type.bytes(), checked_mul(type.shape.elements(), size_of(DType::kFloat64))));
  }
  return bytes;
}

}  // namespace

// Bytes, of "2GiB", "500MB" or a plain number.
int64_t parse_bytes(const std::string& text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const auto* found = std::ranges::find(kUnits, unit, &std::pair<std::string_view, double>::first);
  if (error != std::errc() || found == std::end(kUnits) || !(number > 0) || number * found->second > 0x1p62) {
    throw Error(ErrorCategory::kSchema, fmt::format("--max-memory {}: expected bytes, such as 2GiB or 500MB", text));
  }
  return static_cast<int64_t>(number * found->second);
}

int64_t choose_tile(const graphs::Network& network, const graphs::CompileOptions& options, int64_t bytes,
                    const Plan& whole, const OutputFiles& files) {
  if (!options.device.is_cpu()) return graphs::tile_for_memory(network, options, bytes);
  const int64_t leaving = cuda::built_with_cuda() ? kLeaving : 0;
  int64_t archived = 0;
  for (size_t i = 0; i < whole.outputs.size(); ++i) {
    if (!files.in_archive(whole.outputs[i].name)) continue;
    archived = checked_add(archived, checked_mul(whole.output_type(i).bytes(), 2));  // and a copy while it is written
  }
  return graphs::tile_for_memory(network, options, bytes, [&](const Plan& window) {
    const int64_t now = round_up(process_bytes("VmRSS:") + kMargin, int64_t{1} << 20);
    const int64_t grows = checked_add(checked_add(graphs::window_bytes(window), copied_bytes(window)), archived);
    return std::max(process_bytes("VmHWM:"), checked_add(now, std::max(grows, leaving)));
  });
}

RunResult compute_tiled(graphs::TiledSession& session, const Inputs& inputs, const OutputFiles& files, int rate,
                        Progress& progress) {
  const Plan& plan = session.plan();
  RunResult result;
  std::vector<std::vector<std::unique_ptr<SignalWriter>>> writers;  // by output
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const std::string& name = plan.outputs[i].name;
    result.types.emplace(name, session.output_type(i));
    writers.push_back(files.writers(name, session.output_type(i), rate));
    if (files.in_archive(name)) result.outputs.emplace(name, Tensor(session.output_type(i)));
  }
  const graphs::Tiling& tiling = session.tiling();
  const auto start = std::chrono::steady_clock::now();
  session.run(
      [&](size_t input, int64_t begin, const TensorView& target) {
        progress.say(fmt::format("sample {} of {}", begin, tiling.length));
        const std::string& name = plan.inputs[input].name;
        const auto file = inputs.files.find(name);
        if (file != inputs.files.end()) return read_piece(*file->second, begin, target);
        TensorView whole = inputs.tensors.find(name)->second.view();
        whole.type.time_axis = target.type.time_axis;
        if (whole.type.time_axis == TensorType::kNoTime) return convert(whole, target);
        if (whole.type.dtype == target.type.dtype) return graphs::cut_times(whole, begin, target);
        convert(graphs::cut_times(whole, begin, begin + tiling.window).view(), target);
      },
      [&](size_t output, int64_t begin, const TensorView& stretch) {
        const std::string& name = plan.outputs[output].name;
        result.ranges[name].add(stretch);
        for (const auto& writer : writers[output]) writer->write(begin, stretch);
        const auto whole = result.outputs.find(name);
        if (whole != result.outputs.end()) graphs::put_times(stretch, whole->second.view(), begin);
      });
  result.run_ms = milliseconds_since(start);
  progress.say("writing");
  files.write_archives(result.outputs);
  for (const auto& of_output : writers) {
    for (const auto& writer : of_output) writer->commit();
  }
  result.tiles = fmt::format("{} of {} samples, read in windows of {}; {} of activations", format_count(tiling.count),
                             format_count(tiling.tile), format_count(tiling.window), format_bytes(session.bytes()));
  if (const int64_t peak = process_bytes("VmHWM:"); peak > 0) {
    result.tiles += fmt::format("; {} resident at most", format_bytes(peak));
  }
  return result;
}

}  // namespace strand::tools
