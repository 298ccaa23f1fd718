#include "graphs/io/file.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>

#include "graphs/io/npy.h"
#include "graphs/io/npz.h"
#include "graphs/io/safetensors.h"
#include "graphs/io/wav.h"
#include "tests/io_support.h"

namespace strand::testing {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// No file may grow past `bytes` while this lives: a full disk, as far as a writer can tell.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit = {bytes, old_limit_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  void (*old_handler_)(int);
  rlimit old_limit_ = {};
};

TEST_CASE("File: what is not a regular file is refused without waiting for it") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(holds(error_text([&] { File f(folder / "none"); }), "IO " + (folder / "none").string()));
  CHECK(holds(error_text([&] { File f(folder.path()); }), "is a directory"));
  CHECK(holds(error_text([&] { File f(folder / "fifo"); }), "is a FIFO"));
  CHECK(holds(error_text([&] { File f("/dev/zero"); }), "is a device"));
  CHECK(error_text([&] { File f(""); }).starts_with("IO"));
  CHECK(holds(error_text([&] { File f(std::string("a\0b", 3)); }), "NUL"));
}

TEST_CASE("File: reads stay inside, links are followed only where they may be") {
  const TemporaryFolder folder;
  put(folder / "a", "0123456789");
  fs::create_symlink("a", folder / "link");
  const File file(folder / "link");
  CHECK(file.size() == 10);
  std::array<std::byte, 4> bytes = {};
  file.read_at(6, bytes);
  CHECK(static_cast<char>(bytes[3]) == '9');
  for (const int64_t offset : {int64_t{7}, int64_t{11}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
    CAPTURE(offset);
    CHECK(error_text([&] { file.read_at(offset, bytes); }).starts_with("PARSE"));
  }
  file.read_at(10, {});
  CHECK(error_text([&] { File f(folder / "link", Links::kRefuse); }).starts_with("IO"));
  CHECK(File(folder / "a", Links::kRefuse).size() == 10);
}

TEST_CASE("File: one that shrinks after it was opened is an Error") {
  const TemporaryFolder folder;
  put(folder / "a", "0123456789");
  const File file(folder / "a");
  fs::resize_file(folder / "a", 4);
  std::array<std::byte, 8> bytes = {};
  CHECK(holds(error_text([&] { file.read_at(0, bytes); }), "shrank to 4 bytes"));
}

TEST_CASE("read_file: bytes as they are, up to the limit") {
  const TemporaryFolder folder;
  const std::string text("a\0b\r\n\xff", 6);
  put(folder / "a", text);
  put(folder / "empty", "");
  CHECK(read_file(folder / "a", 6) == text);
  CHECK(read_file(folder / "empty", 0).empty());
  CHECK(error_text([&] { read_file(folder / "a", 5); }).starts_with("LIMIT"));
}

TEST_CASE("resolve_inside: paths that stay in the folder") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "net/sub");
  put(folder / "net/w", "1");
  put(folder / "net/sub/w", "2");
  put(folder / "net/..w", "3");
  put(folder / "net/100%", "4");
  fs::create_symlink("sub/w", folder / "net/link");
  fs::create_symlink(folder / "net", folder / "other");
  const fs::path root = fs::canonical(folder / "net");
  for (const fs::path& base : {folder / "net", folder / "other", folder / "net/sub/.."}) {
    CHECK(resolve_inside(base, "w") == root / "w");
    CHECK(resolve_inside(base, "./sub//w") == root / "sub/w");
    CHECK(resolve_inside(base, "sub/../w") == root / "w");
    CHECK(resolve_inside(base, "link") == root / "sub/w");
    CHECK(resolve_inside(base, "..w") == root / "..w");
    CHECK(resolve_inside(base, "100%") == root / "100%");
    CHECK(open_inside(base, "link").size() == 1);
  }
}

TEST_CASE("resolve_inside: paths that lead out are refused") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "net/sub");
  fs::create_directories(folder / "net-2");
  put(folder / "secret", "s");
  put(folder / "net-2/w", "s");
  fs::create_symlink("../secret", folder / "net/file_link");
  fs::create_symlink("..", folder / "net/folder_link");
  fs::create_symlink("/etc", folder / "net/etc");
  const std::vector<std::string> paths = {"",
                                          "..",
                                          "../secret",
                                          "sub/../../secret",
                                          "../net-2/w",
                                          "../net/../secret",
                                          "../nothing",
                                          (folder / "secret").string(),
                                          "/etc/passwd",
                                          "~/w",
                                          "~root/w",
                                          std::string("w\0.safetensors", 14),
                                          "%2e%2e/secret",
                                          "..%2Fsecret",
                                          "%2E%2E%2Fsecret",
                                          "w%00",
                                          "%252e%252e",
                                          "..\\secret",
                                          "C:\\w",
                                          "file_link",
                                          "folder_link/secret",
                                          "folder_link",
                                          "etc/passwd"};
  for (const std::string& path : paths) {
    CAPTURE(path);
    const std::string text = error_text([&] { resolve_inside(folder / "net", path); });
    CHECK(text.starts_with("IO "));
    CHECK(holds(text, "outside the network's folder"));
    CHECK(error_text([&] { open_inside(folder / "net", path); }).starts_with("IO "));
  }
  CHECK(holds(error_text([&] { resolve_inside(folder / "net", "missing"); }), "can't be opened"));
  CHECK(holds(error_text([&] { resolve_inside(folder / "none", "w"); }), "no such folder"));
  CHECK(holds(error_text([&] { resolve_inside(folder / "net", "."); }), "is a directory"));
}

TEST_CASE("resolve_inside: a file with a second name is refused, since that may lie anywhere") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "net");
  put(folder / "secret", "s");
  fs::create_hard_link(folder / "secret", folder / "net/w");
  CHECK(holds(error_text([&] { resolve_inside(folder / "net", "w"); }), "2 names (hard links)"));
  fs::remove(folder / "secret");
  CHECK(open_inside(folder / "net", "w").size() == 1);
}

TEST_CASE("OutputFile: nothing is seen before the commit, and nothing stays without one") {
  const TemporaryFolder folder;
  put(folder / "a", "old");
  {
    OutputFile file(folder / "a");
    file.write("new");
    CHECK(read_file(folder / "a", 100) == "old");
    CHECK(folder.files() == 2);
  }
  CHECK(folder.files() == 1);
  CHECK(read_file(folder / "a", 100) == "old");
  OutputFile file(folder / "a");
  file.write("new");
  file.commit();
  CHECK(read_file(folder / "a", 100) == "new");
  CHECK(folder.files() == 1);
}

TEST_CASE("OutputFile: a relative path, a link's file, and the modes of old and new files") {
  const TemporaryFolder folder;
  const fs::path here = fs::current_path();
  fs::current_path(folder.path());
  const mode_t mask = ::umask(022);
  write_npy("a.npy", Tensor(Shape{1}, std::vector<float>{1}).view());
  fs::create_symlink("a.npy", "link.npy");
  CHECK((fs::status("a.npy").permissions() & fs::perms::mask) == fs::perms(0644));
  fs::permissions("a.npy", fs::perms(0600));
  write_npy("link.npy", Tensor(Shape{2}, std::vector<float>{1, 2}).view());
  ::umask(mask);
  CHECK(fs::is_symlink("link.npy"));
  CHECK(read_npy("a.npy").shape() == Shape{2});
  CHECK((fs::status("a.npy").permissions() & fs::perms::mask) == fs::perms(0600));
  CHECK(folder.files() == 2);
  fs::current_path(here);
}

TEST_CASE("check_writable: targets that no file can replace are refused before any work") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "folder");
  fs::create_symlink("nowhere", folder / "dangling");
  fs::create_symlink("folder", folder / "folder_link");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  put(folder / "file", "");
  const std::vector<fs::path> targets = {folder / "folder",
                                         folder / "folder/",
                                         folder / "new/",
                                         folder / "none/new",
                                         folder / "file/new",
                                         folder / "dangling",
                                         folder / "fifo",
                                         folder / "folder_link",
                                         "/dev/null",
                                         "/dev/full",
                                         "",
                                         std::string("a\0b", 3)};
  for (const fs::path& target : targets) {
    CAPTURE(target);
    CHECK(error_text([&] { check_writable(target); }).starts_with("IO "));
    CHECK(error_text([&] { OutputFile file(target); }).starts_with("IO "));
  }
  check_writable(folder / "file");
  check_writable(folder / "new");
  CHECK(folder.files() == 5);
  if (::geteuid() == 0) {
    std::printf("SKIPPED: modes do not stop root\n");
    return;
  }
  fs::permissions(folder / "file", fs::perms(0400));
  CHECK(error_text([&] { check_writable(folder / "file"); }).starts_with("IO "));
  fs::permissions(folder / "folder", fs::perms(0500));
  CHECK(error_text([&] { check_writable(folder / "folder/new"); }).starts_with("IO "));
  fs::permissions(folder / "folder", fs::perms(0700));
}

TEST_CASE("OutputFile: a full disk is an Error, the old file stays and the temporary one goes") {
  const TemporaryFolder folder;
  const Tensor tensor(TensorType{DType::kFloat32, Shape{1, 2, 50000}});
  std::ranges::fill(tensor.as<float>(), 0.5F);
  TensorMap tensors;
  tensors.emplace("w", tensor.to(Device{}));
  struct Writer {
    std::string name;
    std::function<void(const fs::path&)> write;
  };
  std::vector<Writer> writers = {{"w.safetensors", [&](const fs::path& path) { write_safetensors(path, tensors); }},
                                 {"w.npy", [&](const fs::path& path) { write_npy(path, tensor.view()); }}};
  if (built_with_libzip()) writers.push_back({"w.npz", [&](const fs::path& path) { write_npz(path, tensors); }});
  if (built_with_sndfile())
    writers.push_back({"w.wav", [&](const fs::path& path) { write_wav(path, tensor.view(), 8000); }});
  for (const Writer& writer : writers) {
    const std::string& name = writer.name;
    CAPTURE(name);
    put(folder / name, "old");
    std::string text;
    {
      const FullDisk full(100'000);
      text = error_text([&] { writer.write(folder / name); });
    }
    CHECK(text.starts_with("IO "));
    CHECK(holds(text, name));
    CHECK(read_file(folder / name, 100) == "old");
    CHECK(folder.files() == 1);
    writer.write(folder / name);
    CHECK(fs::file_size(folder / name) >= 400'000);
    fs::remove(folder / name);
  }
}

}  // namespace
}  // namespace strand::testing
