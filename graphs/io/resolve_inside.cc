#include <algorithm>
#include <array>
#include <system_error>

#include "graphs/io/file.h"
#include "graphs/io/utf8.h"

namespace strand {
namespace {

namespace fs = std::filesystem;

Error outside(std::string_view relative, const fs::path& folder, const std::string& why) {
  return {ErrorCategory::kIo,
          "path " + in_quotes(relative) + " leads outside the network's folder " + folder.string() + ": " + why};
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

// What can be told without a look at the disk.
void check_spelling(const fs::path& folder, std::string_view relative) {
  constexpr std::array<std::string_view, 5> kEncoded = {"%00", "%2e", "%2f", "%5c", "%25"};  // NUL . / backslash %
  if (relative.empty()) throw outside(relative, folder, "it is empty");
  if (relative.find('\0') != std::string_view::npos) throw outside(relative, folder, "it holds a NUL byte");
  if (relative.find('\\') != std::string_view::npos) throw outside(relative, folder, "it holds a backslash");
  if (relative.front() == '/') throw outside(relative, folder, "it is absolute");
  if (relative.front() == '~') throw outside(relative, folder, "it begins with ~");
  const std::string lowered = lower(relative);
  for (const std::string_view code : kEncoded) {
    if (lowered.find(code) != std::string::npos) throw outside(relative, folder, "it holds " + std::string(code));
  }
  const fs::path normal = fs::path(relative).lexically_normal();
  if (*normal.begin() == "..") throw outside(relative, folder, "it climbs out with ..");
}

bool is_inside(const fs::path& folder, const fs::path& path) {
  const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end() && rest != path.end();
}

}  // namespace

fs::path resolve_inside(const fs::path& folder, std::string_view relative) {
  check_spelling(folder, relative);
  std::error_code error;
  const fs::path root = fs::canonical(folder.empty() ? fs::path(".") : folder, error);
  if (error) throw Error(ErrorCategory::kIo, folder.string() + ": no such folder: " + error.message());
  const fs::path path = fs::canonical(root / relative, error);
  if (error) throw Error(ErrorCategory::kIo, (folder / relative).string() + ": can't be opened: " + error.message());
  if (path == root) throw Error(ErrorCategory::kIo, (folder / relative).string() + ": is a directory");
  if (!is_inside(root, path)) throw outside(relative, folder, "it is or passes a link to " + path.string());
  const auto names = fs::is_regular_file(path, error) ? fs::hard_link_count(path, error) : 1;
  if (!error && names > 1) {
    throw outside(relative, folder,
                  "or may do so: the file has " + std::to_string(names) + " names (hard links), so copy it");
  }
  return path;
}

File open_inside(const fs::path& folder, std::string_view relative) {
  File file(resolve_inside(folder, relative), Links::kRefuse);
  if (file.link_count() > 1) throw outside(relative, folder, "a second name (hard link) has just appeared");
  return file;
}

}  // namespace strand
