#pragma once
// A line on stderr that tells what takes so long: only on a terminal, only past two seconds, and wiped at the end.
// One owner; say() may come from any thread.

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace strand::tools {

class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void say(std::string_view detail);
  // Wipes the line; to be called before results are printed.
  void finish();

 private:
  void show();

  std::string what_;
  std::string detail_;
  bool stop_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::thread thread_;  // none where stderr is no terminal
};

}  // namespace strand::tools
