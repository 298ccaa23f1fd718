#include "engine/error.h"

namespace strand {

std::string_view to_string(ErrorCategory category) {
  switch (category) {
    case ErrorCategory::kIo:
      return "IO";
    case ErrorCategory::kParse:
      return "PARSE";
    case ErrorCategory::kSchema:
      return "SCHEMA";
    case ErrorCategory::kShape:
      return "SHAPE";
    case ErrorCategory::kWeights:
      return "WEIGHTS";
    case ErrorCategory::kLimit:
      return "LIMIT";
    case ErrorCategory::kUnsupported:
      return "UNSUPPORTED";
    case ErrorCategory::kDevice:
      return "DEVICE";
    case ErrorCategory::kNumeric:
      return "NUMERIC";
  }
  return "UNKNOWN";
}

}  // namespace strand
