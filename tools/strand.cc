// The `strand` command. Exits 0 on success, 1 on a failed comparison and 2 on whatever stopped it, told in words on
// stderr; results go to stdout.

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <exception>
#include <new>

#include "engine/cuda_runtime.h"
#include "engine/error.h"
#include "tools/commands.h"

namespace strand::tools {
namespace {

constexpr int kStopped = 2;

constexpr const char* kExamples = R"(Examples:
  strand run net.yaml --input call.wav --output probabilities.npy
  strand stream net.yaml --chunk 160 --input call.wav --output out.wav
  strand inspect net.yaml --set length=16000
  strand compare net.yaml --devices cpu,cuda
  strand verify net.yaml
  strand bench net.yaml --device cuda
  strand layers Conv1d
`strand COMMAND --help` tells more.)";

std::string version() {
  return fmt::format("strand {} ({})", STRAND_VERSION, cuda::built_with_cuda() ? "with CUDA" : "without CUDA");
}

int run_command(int argc, char** argv) {
  CLI::App app("Runs 1-D convolutional networks described in YAML, on the CPU and on CUDA.", "strand");
  int exit_code = 0;
  app.require_subcommand(1);
  app.set_version_flag("--version", version());
  app.footer(kExamples);
  add_run(app, exit_code);
  add_stream(app, exit_code);
  add_inspect(app, exit_code);
  add_compare(app, exit_code);
  add_verify(app, exit_code);
  add_bench(app, exit_code);
  add_tune(app, exit_code);
  add_layers(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    fmt::print(stderr, "strand: {} (strand --help tells more)\n", error.what());
    return kStopped;
  }
  if (std::fflush(stdout) != 0) throw Error(ErrorCategory::kIo, "standard output can't be written");
  return exit_code;
}

}  // namespace
}  // namespace strand::tools

int main(int argc, char** argv) {
  try {
    return strand::tools::run_command(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("strand: out of memory; smaller sizes (--set) take less\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "strand: %s\n", error.what());
  }
  return strand::tools::kStopped;
}
