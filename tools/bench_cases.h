#pragma once
// Conv1d cases from a text file: a row a case, with columns
//   name N Cin Cout L K s d pad groups
// and any figures after those (reference times, say), named by the last comment line above the first row that begins
// with "name". Plain values.

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tools/conv_sizes.h"

namespace strand::tools {

struct ConvCase {
  std::string name;
  ConvSizes sizes;
  std::vector<std::pair<std::string, double>> figures;  // by column
  std::string shortened = {};                           // how, where --max-multiply-adds asked for it
};

// Error(kParse) with file and line for a row that is not as above, Error(kShape) for sizes that make no output.
std::vector<ConvCase> read_cases(const std::filesystem::path& path);

// The same with a signal so much longer that its rows of outputs, if they are a multiple of 8 long, are not (3 more),
// and if they are not, are. `name~` and the new length of the rows names it.
ConvCase other_alignment(const ConvCase& conv_case);

// That many problems from all that Conv1d promises: stride up to 16, dilation up to 4096, kernel_size up to 256, groups
// of 16 channels or more, or depthwise with a multiplier, any length. Each takes at most `most` multiply-adds and
// memory in proportion. The same for the same seed.
std::vector<ConvCase> random_cases(int count, uint64_t seed, double most);

// Problems that grow from small to large along one size, "L=256", "L=512", ..., then Cin, K and d; behind each one, one
// that is 1 % larger. None past `most` multiply-adds; 0: all.
std::vector<ConvCase> sweep_cases(double most);

// The same with a smaller batch, then a smaller length, so that it takes at most about `most` multiply-adds.
void shorten(ConvCase& conv_case, double most);

std::string to_string(const ConvSizes& sizes);  // "16 x 64 -> 128, L 1000, k3 s1 d1 p0 g1"

}  // namespace strand::tools
