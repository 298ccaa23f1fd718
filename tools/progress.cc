#include "tools/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

namespace strand::tools {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);
constexpr auto kPeriod = std::chrono::milliseconds(500);
constexpr const char* kWipe = "\r\033[K";  // to the line's start, and clear it

}  // namespace

Progress::Progress(std::string what) : what_(std::move(what)) {
  if (isatty(STDERR_FILENO) != 0) thread_ = std::thread([this] { show(); });
}

Progress::~Progress() { finish(); }

void Progress::finish() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Progress::say(std::string_view detail) {
  const std::lock_guard lock(mutex_);
  detail_ = detail;
}

void Progress::show() {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  if (wake_.wait_for(lock, kPatience, [this] { return stop_; })) return;
  do {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start);
    fmt::print(stderr, "{}{} {} ({} s)", kWipe, what_, detail_, seconds.count());
    std::fflush(stderr);
  } while (!wake_.wait_for(lock, kPeriod, [this] { return stop_; }));
  std::fputs(kWipe, stderr);
}

}  // namespace strand::tools
