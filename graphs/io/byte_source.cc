#include "graphs/io/byte_source.h"

#include <algorithm>

namespace strand {

void ByteSource::read_at(int64_t offset, std::span<std::byte> target) const {
  const auto count = static_cast<int64_t>(target.size());
  if (offset < 0 || offset > size_ || count > size_ - offset) {
    throw error(ErrorCategory::kParse, "ends at byte " + std::to_string(size_) + ", but " + std::to_string(count) +
                                           " bytes are expected at byte " + std::to_string(offset));
  }
  if (count > 0) fill(offset, target);
}

void MemorySource::fill(int64_t offset, std::span<std::byte> target) const {
  std::ranges::copy(bytes_.subspan(static_cast<size_t>(offset), target.size()), target.begin());
}

}  // namespace strand
