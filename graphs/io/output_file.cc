#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>

#include "graphs/io/file.h"
#include "graphs/io/utf8.h"

namespace strand {
namespace {

namespace fs = std::filesystem;

Error write_error(const fs::path& target, const std::string& why) {
  return {ErrorCategory::kIo, target.string() + ": can't be written: " + why};
}

std::string reason(int error) { return std::generic_category().message(error); }

fs::path folder_of(const fs::path& target) { return target.has_parent_path() ? target.parent_path() : fs::path("."); }

// The place that a commit will replace: behind a link, what the link names. Checked.
fs::path place_of(const fs::path& target) {
  if (target.native().find('\0') != std::string::npos) {
    throw Error(ErrorCategory::kIo, in_quotes(target.native()) + ": a NUL byte in a file's path");
  }
  std::error_code error;
  const bool link = fs::is_symlink(target, error);
  const fs::path place = link ? fs::canonical(target, error) : target;
  if (link && error) throw write_error(target, "a link to nowhere: " + error.message());
  const fs::file_status status = fs::status(place, error);
  if (!fs::exists(status) && status.type() != fs::file_type::not_found) throw write_error(target, error.message());
  if (fs::is_directory(status)) throw write_error(target, "it is a directory");
  if (fs::exists(status) && !fs::is_regular_file(status)) throw write_error(target, "it is not a regular file");
  if (fs::exists(status) && ::access(place.c_str(), W_OK) != 0) throw write_error(target, reason(errno));
  if (!place.has_filename()) throw write_error(target, "it names no file");
  const fs::path folder = folder_of(place);
  if (!fs::is_directory(folder, error)) throw write_error(target, "there is no folder " + folder.string());
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    throw write_error(target, "folder " + folder.string() + ": " + reason(errno));
  }
  return place;
}

// A name beside the target that nobody else takes; hidden, and short whatever the target's length.
fs::path temporary_name(const fs::path& target) {
  std::random_device random;
  return folder_of(target) / (".strand-" + std::to_string(random()) + "-" + std::to_string(random()) + ".tmp");
}

}  // namespace

void check_writable(const fs::path& target) { place_of(target); }

OutputFile::OutputFile(const fs::path& target) : target_(place_of(target)) {
  constexpr int kAttempts = 16;
  struct stat old = {};
  // What replaces a private file is private too.
  const mode_t mode = ::stat(target_.c_str(), &old) == 0 ? old.st_mode & 0777U : 0666U;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const fs::path name = temporary_name(target_);
    descriptor_ = Descriptor(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (descriptor_.get() >= 0) {
      temporary_ = name;
      return;
    }
    if (errno != EEXIST) break;
  }
  throw write_error(target_, reason(errno));
}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw write_error(target_, reason(errno));
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

void OutputFile::write_at(int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor_.get(), bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw write_error(target_, reason(errno));
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += count;
  }
}

void OutputFile::commit() {
  // Some file systems report a full disk only here.
  if (::close(descriptor_.release()) != 0) throw write_error(target_, reason(errno));
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw write_error(target_, reason(errno));
  temporary_.clear();
}

}  // namespace strand
