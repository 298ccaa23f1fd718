#pragma once
// Named bytes of a known size that the readers of this folder take apart: a file, a span, a member of an archive.
// Every read is held against the size first. Safe to read from several threads unless a subclass says otherwise.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "engine/error.h"

namespace strand {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  const std::string& name() const { return name_; }  // how messages call it, usually the path
  int64_t size() const { return size_; }             // bytes
  // Fills `target` from `offset` on. Error(kParse) where that lies outside, Error(kIo) where the bytes can't be had.
  void read_at(int64_t offset, std::span<std::byte> target) const;
  // An Error that opens with the name.
  Error error(ErrorCategory category, const std::string& message) const { return {category, name_ + ": " + message}; }

 protected:
  ByteSource() = default;
  ByteSource(std::string name, int64_t size) : name_(std::move(name)), size_(size) {}
  ByteSource(const ByteSource&) = default;
  ByteSource(ByteSource&&) = default;
  ByteSource& operator=(const ByteSource&) = default;
  ByteSource& operator=(ByteSource&&) = default;

 private:
  // `offset` and `target` lie inside.
  virtual void fill(int64_t offset, std::span<std::byte> target) const = 0;

  std::string name_;
  int64_t size_ = 0;
};

// Bytes in memory that the caller keeps alive.
class MemorySource final : public ByteSource {
 public:
  MemorySource(std::span<const std::byte> bytes, std::string_view name)
      : ByteSource(std::string(name), static_cast<int64_t>(bytes.size())), bytes_(bytes) {}

 private:
  void fill(int64_t offset, std::span<std::byte> target) const override;

  std::span<const std::byte> bytes_;
};

}  // namespace strand
