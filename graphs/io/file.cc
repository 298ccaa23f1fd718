#include "graphs/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "graphs/io/utf8.h"

namespace strand {
namespace {

Error io_error(const std::filesystem::path& path, const std::string& message) {
  return {ErrorCategory::kIo, path.string() + ": " + message};
}

std::string reason(int error) { return std::generic_category().message(error); }

std::string kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "something else";
}

}  // namespace

Descriptor::~Descriptor() {
  if (value_ >= 0) ::close(value_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

struct File::Opened {
  Descriptor descriptor;
  int64_t size;
  int64_t link_count;
};

File::Opened File::open(const std::filesystem::path& path, Links links) {
  if (path.native().find('\0') != std::string::npos) {
    throw Error(ErrorCategory::kIo, in_quotes(path.native()) + ": a NUL byte in a file's path");
  }
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (links == Links::kRefuse ? O_NOFOLLOW : 0);
  Descriptor descriptor(::open(path.c_str(), flags));
  if (descriptor.get() < 0) throw io_error(path, "can't be opened: " + reason(errno));
  struct stat status = {};
  if (::fstat(descriptor.get(), &status) != 0) throw io_error(path, "can't be read: " + reason(errno));
  if (!S_ISREG(status.st_mode)) throw io_error(path, "is " + kind_of(status.st_mode) + ", not a regular file");
  return {std::move(descriptor), status.st_size, static_cast<int64_t>(status.st_nlink)};
}

File::File(const std::filesystem::path& path, Links links) : File(path, open(path, links)) {}

File::File(const std::filesystem::path& path, Opened opened)
    : ByteSource(path.string(), opened.size),
      descriptor_(std::move(opened.descriptor)),
      link_count_(opened.link_count) {}

void File::fill(int64_t offset, std::span<std::byte> target) const {
  while (!target.empty()) {
    const ssize_t count = ::pread(descriptor_.get(), target.data(), target.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw error(ErrorCategory::kIo, "can't be read: " + reason(errno));
    if (count == 0) throw error(ErrorCategory::kIo, "shrank to " + std::to_string(offset) + " bytes while it was read");
    target = target.subspan(static_cast<size_t>(count));
    offset += count;
  }
}

std::string read_file(const std::filesystem::path& path, int64_t max_bytes) {
  const File file(path);
  if (file.size() > max_bytes) {
    throw file.error(ErrorCategory::kLimit,
                     "has " + std::to_string(file.size()) + " bytes; the limit is " + std::to_string(max_bytes));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace strand
