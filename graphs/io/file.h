#pragma once
// Files as strand reads and writes them: regular ones only, sizes known before memory is taken, results written beside
// their target and renamed, so that nobody ever sees half of one. Objects own their descriptors; one thread each.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "graphs/io/byte_source.h"

namespace strand {

enum class Links : uint8_t { kFollow, kRefuse };  // what to do where the last part of a path is a symbolic link

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

// A regular file, open for reading. Reads name their offset, so several threads may share one. The file is not mapped:
// one that shrinks while it is read is an Error(kIo), not a signal.
class File final : public ByteSource {
 public:
  // Error(kIo) where it can't be opened or is a directory, FIFO or device; never waits for the other end of a FIFO.
  explicit File(const std::filesystem::path& path, Links links = Links::kFollow);

  int64_t link_count() const { return link_count_; }  // how many names the file has

 private:
  struct Opened;
  File(const std::filesystem::path& path, Opened opened);
  static Opened open(const std::filesystem::path& path, Links links);
  void fill(int64_t offset, std::span<std::byte> target) const override;

  Descriptor descriptor_;
  int64_t link_count_ = 0;
};

// A whole file. Error(kIo) as above, Error(kLimit) past `max_bytes`.
std::string read_file(const std::filesystem::path& path, int64_t max_bytes);

// Where `relative`, a path that a file in `folder` names, leads: canonical, existing, and inside `folder`. Error(kIo)
// for an absolute path, `~`, NUL bytes, backslashes, %-encoded separators or dots, `..` or symbolic links that lead
// out. Hard links can't be told by their path, so a file with a second name anywhere is refused too: copy it, or name
// it where the user decides (`--weights`), which does not come through here.
std::filesystem::path resolve_inside(const std::filesystem::path& folder, std::string_view relative);
// The same, opened; a link or a second name put there since is refused.
File open_inside(const std::filesystem::path& folder, std::string_view relative);

// Error(kIo) where an OutputFile for `target` could not be made: a missing or read-only folder, or a target that is a
// directory, a device or read-only. Called before anything is computed; leaves nothing behind.
void check_writable(const std::filesystem::path& target);

// A file in the making. What is written lies in a temporary file in the target's folder until commit() renames it;
// without a commit the destructor removes it. A link to a regular file is followed.
class OutputFile {
 public:
  // Error(kIo) as check_writable.
  explicit OutputFile(const std::filesystem::path& target);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Error(kIo) where not all of it can be written (a full disk).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  // The same at an offset, whatever was written before; what is skipped reads as zeros.
  void write_at(int64_t offset, std::span<const std::byte> bytes);
  // For libraries that write for themselves: the descriptor, or the path, whose file they may replace.
  int descriptor() const { return descriptor_.get(); }
  const std::filesystem::path& temporary_path() const { return temporary_; }
  const std::filesystem::path& target() const { return target_; }

  // Puts the file in the target's place. Error(kIo) leaves the target as it was.
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty once committed
  Descriptor descriptor_;
};

}  // namespace strand
