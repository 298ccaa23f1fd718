#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <exception>
#include <memory>
#include <set>
#include <vector>

#include "engine/checked.h"
#include "graphs/io/file.h"
#include "graphs/io/npy.h"
#include "graphs/io/npz.h"
#include "graphs/io/utf8.h"

namespace strand {
namespace {

constexpr std::string_view kSuffix = ".npy";
// The end record alone: libzip would rather delete a file than leave it without members.
constexpr std::string_view kEmptyArchive("PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
using Archive = std::unique_ptr<zip_t, Discard>;

struct Close {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

// libzip's view of a ByteSource. Exceptions must not cross libzip, so the callback keeps them for later.
class ZipInput {
 public:
  explicit ZipInput(const ByteSource& source) : source_(source) { zip_error_init(&error_); }
  ~ZipInput() { zip_error_fini(&error_); }
  ZipInput(const ZipInput&) = delete;
  ZipInput& operator=(const ZipInput&) = delete;

  static zip_int64_t callback(void* self, void* data, zip_uint64_t bytes, zip_source_cmd_t command) {
    return static_cast<ZipInput*>(self)->handle(data, bytes, command);
  }
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  zip_int64_t handle(void* data, zip_uint64_t bytes, zip_source_cmd_t command);
  zip_int64_t read(void* data, zip_uint64_t bytes);

  const ByteSource& source_;
  int64_t at_ = 0;
  zip_error_t error_ = {};
  std::exception_ptr thrown_;
};

zip_int64_t ZipInput::read(void* data, zip_uint64_t bytes) {
  const auto left = static_cast<uint64_t>(source_.size() - at_);
  const auto count = static_cast<size_t>(std::min<uint64_t>(bytes, left));
  try {
    source_.read_at(at_, {static_cast<std::byte*>(data), count});
  } catch (...) {
    thrown_ = std::current_exception();
    zip_error_set(&error_, ZIP_ER_READ, EIO);
    return -1;
  }
  at_ += static_cast<int64_t>(count);
  return static_cast<zip_int64_t>(count);
}

zip_int64_t ZipInput::handle(void* data, zip_uint64_t bytes, zip_source_cmd_t command) {
  switch (command) {
    case ZIP_SOURCE_OPEN:
      at_ = 0;
      return 0;
    case ZIP_SOURCE_READ:
      return read(data, bytes);
    case ZIP_SOURCE_STAT: {
      auto* status = static_cast<zip_stat_t*>(data);
      zip_stat_init(status);
      status->size = static_cast<zip_uint64_t>(source_.size());
      status->valid |= ZIP_STAT_SIZE;
      return sizeof *status;
    }
    case ZIP_SOURCE_SEEK: {
      const auto size = static_cast<zip_uint64_t>(source_.size());
      const zip_int64_t at = zip_source_seek_compute_offset(static_cast<zip_uint64_t>(at_), size, data, bytes, &error_);
      if (at < 0) return -1;
      at_ = at;
      return 0;
    }
    case ZIP_SOURCE_TELL:
      return at_;
    case ZIP_SOURCE_ERROR:
      return zip_error_to_data(&error_, data, bytes);
    case ZIP_SOURCE_SUPPORTS:
      return ZIP_SOURCE_SUPPORTS_SEEKABLE;
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
      return 0;
    default:
      zip_error_set(&error_, ZIP_ER_OPNOTSUPP, 0);
      return -1;
  }
}

ErrorCategory category_of(const zip_error_t& error) {
  switch (zip_error_code_zip(&error)) {
    case ZIP_ER_COMPNOTSUPP:
    case ZIP_ER_ENCRNOTSUPP:
    case ZIP_ER_NOPASSWD:
    case ZIP_ER_MULTIDISK:
      return ErrorCategory::kUnsupported;
    case ZIP_ER_MEMORY:
      return ErrorCategory::kLimit;
    case ZIP_ER_READ:
    case ZIP_ER_OPEN:
    case ZIP_ER_SEEK:
      return ErrorCategory::kIo;
    default:
      return ErrorCategory::kParse;
  }
}

Error zip_failure(const std::string& name, zip_error_t& error, ErrorCategory category) {
  return {category, name + ": " + zip_error_strerror(&error)};
}

Archive open_archive(ZipInput& input, const std::string& name) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_function_create(&ZipInput::callback, &input, &error);
  Archive archive(source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error));
  if (archive == nullptr) {
    if (source != nullptr) zip_source_free(source);
    const Error failure = zip_failure(name, error, category_of(error));
    zip_error_fini(&error);
    input.rethrow();
    throw failure;
  }
  return archive;
}

// One member being inflated. Reads come in order, as parse_npy() makes them.
class Member final : public ByteSource {
 public:
  Member(zip_t* archive, zip_uint64_t index, const ZipInput& input, std::string name, int64_t size)
      : ByteSource(std::move(name), size), input_(input), file_(zip_fopen_index(archive, index, 0)) {
    if (file_ != nullptr) return;
    input_.rethrow();
    throw zip_failure(this->name(), *zip_get_error(archive), category_of(*zip_get_error(archive)));
  }
  // libzip compares size and CRC-32 where a read meets the end.
  void check_end() const {
    std::byte extra = {};
    if (next({&extra, 1}) != 0) throw error(ErrorCategory::kParse, "is longer than the archive's directory says");
  }

 private:
  size_t next(std::span<std::byte> target) const {
    const zip_int64_t count = zip_fread(file_.get(), target.data(), target.size());
    if (count >= 0) return static_cast<size_t>(count);
    input_.rethrow();
    throw zip_failure(name(), *zip_file_get_error(file_.get()), category_of(*zip_file_get_error(file_.get())));
  }
  void fill(int64_t offset, std::span<std::byte> target) const override {
    if (offset != at_) throw error(ErrorCategory::kIo, "an archive's member is read out of order");
    at_ += static_cast<int64_t>(target.size());
    while (!target.empty()) {
      const size_t count = next(target);
      if (count == 0) throw error(ErrorCategory::kParse, "is shorter than the archive's directory says");
      target = target.subspan(count);
    }
  }

  const ZipInput& input_;
  std::unique_ptr<zip_file_t, Close> file_;
  mutable int64_t at_ = 0;
};

// Why a member can't bear this name, or empty. Names are never used as paths; these would only mislead.
std::string why_bad_name(std::string_view name) {
  if (name.find_first_of("/\\") != std::string_view::npos) return "a slash or backslash in its name";
  if (name.find("..") != std::string_view::npos) return ".. in its name";
  if (name.find('\0') != std::string_view::npos) return "a NUL byte in its name";
  return is_valid_utf8(name) ? "" : "a name that is not UTF-8";
}

// Its size in bytes, with everything that can be told before inflating it.
int64_t check_member(const zip_stat_t& status, const ByteSource& source) {
  constexpr zip_uint64_t kMaxDeflateRatio = 1032;  // 258 bytes from two bits
  constexpr zip_uint32_t kNeeded =
      ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  const std::string name = "member " + in_quotes(status.name);
  if ((status.valid & kNeeded) != kNeeded) throw source.error(ErrorCategory::kParse, name + " lacks its sizes");
  const std::string bad = why_bad_name(status.name);
  if (!bad.empty()) throw source.error(ErrorCategory::kParse, name + " has " + bad);
  if (!std::string_view(status.name).ends_with(kSuffix)) {
    throw source.error(ErrorCategory::kParse, name + " is not an .npy file");
  }
  if (status.encryption_method != ZIP_EM_NONE) throw source.error(ErrorCategory::kUnsupported, name + " is encrypted");
  if (status.comp_method != ZIP_CM_STORE && status.comp_method != ZIP_CM_DEFLATE) {
    throw source.error(ErrorCategory::kUnsupported, name + " has compression method " +
                                                        std::to_string(status.comp_method) +
                                                        "; expected 0 (stored) or 8 (deflated)");
  }
  const auto file_bytes = static_cast<zip_uint64_t>(source.size());
  const zip_uint64_t ratio = status.comp_method == ZIP_CM_STORE ? 1 : kMaxDeflateRatio;
  if (status.comp_size > file_bytes || status.size > status.comp_size * ratio) {
    throw source.error(ErrorCategory::kParse, name + " promises " + std::to_string(status.size) + " bytes from " +
                                                  std::to_string(status.comp_size));
  }
  return static_cast<int64_t>(status.size);
}

int64_t inflated_limit(int64_t file_bytes) {
  constexpr int64_t kMiB = 1024 * 1024;
  const int64_t ratio_limit = file_bytes > 64 * kMiB ? 4096 * kMiB : 100 * file_bytes + 16 * kMiB;
  return checked_add(file_bytes, std::min(ratio_limit, 4096 * kMiB));
}

struct MemberInfo {
  std::string name;
  int64_t bytes;  // inflated
};

// All members in the archive's order, checked together before one is inflated.
std::vector<MemberInfo> checked_members(zip_t* archive, const ByteSource& source) {
  const int64_t limit = inflated_limit(source.size());
  const auto count = static_cast<zip_uint64_t>(zip_get_num_entries(archive, 0));
  int64_t total = 0;
  std::set<std::string> names;
  std::vector<MemberInfo> members;
  for (zip_uint64_t index = 0; index < count; ++index) {
    zip_stat_t status;
    if (zip_stat_index(archive, index, 0, &status) != 0) {
      throw zip_failure(source.name(), *zip_get_error(archive), ErrorCategory::kParse);
    }
    const int64_t bytes = check_member(status, source);
    total = checked_add(total, bytes);
    if (total > limit) {
      throw source.error(ErrorCategory::kLimit, "inflates to " + std::to_string(total) +
                                                    " bytes or more; the limit is " + std::to_string(limit));
    }
    if (!names.insert(status.name).second) {
      throw source.error(ErrorCategory::kParse, "duplicate member " + in_quotes(status.name));
    }
    members.push_back({status.name, bytes});
  }
  return members;
}

// One .npy header a tensor; nothing has been written yet.
std::vector<std::string> checked_headers(const std::filesystem::path& path, const TensorMap& tensors) {
  std::vector<std::string> headers;
  for (const auto& [name, tensor] : tensors) {
    const std::string bad = why_bad_name(name);
    const std::string where = path.string() + ": array " + in_quotes(name);
    if (!bad.empty()) throw Error(ErrorCategory::kSchema, where + " has " + bad);
    if (!tensor.view().present()) throw Error(ErrorCategory::kShape, where + " holds no tensor");
    headers.push_back(npy_header(tensor.type()));
  }
  return headers;
}

// False where libzip declines; `header` and `view` must live until the archive is closed.
bool add_member(zip_t* archive, const std::string& name, std::string_view header, const TensorView& view) {
  auto* data = view.ptr<zip_uint8_t>();
  // libzip only reads them.
  auto* text = reinterpret_cast<zip_uint8_t*>(const_cast<char*>(header.data()));
  const zip_buffer_fragment_t parts[] = {{text, header.size()}, {data, static_cast<zip_uint64_t>(view.type.bytes())}};
  zip_source_t* source = zip_source_buffer_fragment(archive, parts, 2, 0);
  if (source == nullptr) return false;
  const zip_int64_t index = zip_file_add(archive, (name + std::string(kSuffix)).c_str(), source, ZIP_FL_ENC_UTF_8);
  if (index < 0) {
    zip_source_free(source);
    return false;
  }
  constexpr zip_uint16_t kFirstDay = (1U << 5) | 1U;  // 1980-01-01: the same bytes whenever they are written
  const auto member = static_cast<zip_uint64_t>(index);
  return zip_set_file_compression(archive, member, ZIP_CM_STORE, 0) == 0 &&
         zip_file_set_dostime(archive, member, 0, kFirstDay, 0) == 0;
}

}  // namespace

bool built_with_libzip() { return true; }

TensorMap parse_npz(const ByteSource& source) {
  // libzip calls a file of no bytes an empty archive.
  if (source.size() < static_cast<int64_t>(kEmptyArchive.size())) {
    throw source.error(ErrorCategory::kParse, "too short for a zip archive");
  }
  ZipInput input(source);
  const Archive archive = open_archive(input, source.name());
  TensorMap tensors;
  zip_uint64_t index = 0;
  for (const auto& [name, bytes] : checked_members(archive.get(), source)) {
    const Member member(archive.get(), index++, input, source.name() + ": " + in_quotes(name), bytes);
    Tensor tensor = parse_npy(member);
    member.check_end();
    tensors.emplace(name.substr(0, name.size() - kSuffix.size()), std::move(tensor));
  }
  return tensors;
}

TensorMap parse_npz(std::span<const std::byte> bytes, std::string_view name) {
  return parse_npz(MemorySource(bytes, name));
}

TensorMap read_npz(const std::filesystem::path& path) { return parse_npz(File(path)); }

void write_npz(const std::filesystem::path& path, const TensorMap& tensors) {
  const std::vector<std::string> headers = checked_headers(path, tensors);
  std::vector<Tensor> copies;  // of what is not on the host, kept until the archive is closed
  OutputFile file(path);
  if (tensors.empty()) {
    file.write(kEmptyArchive);
    return file.commit();
  }
  int code = 0;
  Archive archive(zip_open(file.temporary_path().c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code));
  const auto failure = [&] {
    const std::string why = archive == nullptr ? "zip error " + std::to_string(code) : zip_strerror(archive.get());
    return Error(ErrorCategory::kIo, path.string() + ": can't be written: " + why);
  };
  if (archive == nullptr) throw failure();
  auto header = headers.begin();
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.device().is_cpu()) copies.push_back(tensor.to(Device{}));
    const TensorView view = tensor.device().is_cpu() ? tensor.view() : copies.back().view();
    if (!add_member(archive.get(), name, *header++, view)) throw failure();
  }
  if (zip_close(archive.get()) != 0) throw failure();
  (void)archive.release();
  file.commit();
}

}  // namespace strand
