#pragma once
// The one exception type of the project, and the path and line that it speaks of.
// Thrown before anything is computed or written; safe to throw from any thread.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace strand {

enum class ErrorCategory {
  kIo,           // a file or device file that can't be read or written
  kParse,        // text that is not the format it claims to be
  kSchema,       // a description that breaks the rules of its format
  kShape,        // tensors that do not fit a layer or each other
  kWeights,      // missing, unused or unsuitable weights
  kLimit,        // past a stated limit, or out of memory
  kUnsupported,  // understood, but not provided here
  kDevice,       // no such device, or a device that failed
  kNumeric,      // values that can't be computed with
};

std::string_view to_string(ErrorCategory category);

class Error : public std::runtime_error {
 public:
  Error(ErrorCategory category, const std::string& message) : std::runtime_error(message), category_(category) {}
  ErrorCategory category() const { return category_; }

  // The same error with `where` and ": " before its message, for callers who know the file, line or layer.
  Error at(std::string_view where) const { return {category_, std::string(where) + ": " + what()}; }

 private:
  ErrorCategory category_;
};

}  // namespace strand
