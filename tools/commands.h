#pragma once
// The subcommands of `strand`. Each adds itself to the command line, and when chosen runs while that is parsed and sets
// `exit_code`: 0, or 1 where a comparison failed. What stops it is thrown as strand::Error.

#include <CLI/App.hpp>

namespace strand::tools {

void add_run(CLI::App& app, int& exit_code);
void add_stream(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_compare(CLI::App& app, int& exit_code);
void add_verify(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_tune(CLI::App& app, int& exit_code);
void add_layers(CLI::App& app, int& exit_code);

}  // namespace strand::tools
