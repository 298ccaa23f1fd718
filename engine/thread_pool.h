#pragma once
// Threads that split one loop at a time. One owner (a Context) and one caller at a time; run() allocates nothing.

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace strand {

class ThreadPool {
 public:
  using Body = void (*)(void* closure, int part);

  explicit ThreadPool(int threads);  // the caller is one of them; Error(kLimit) where the system gives fewer
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // Calls body(closure, part) for each part in [0, threads()), part 0 on the calling thread; returns when all are done.
  // The body must not throw.
  void run(Body body, void* closure);

 private:
  void work(int part);
  void stop();

  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  Body body_ = nullptr;
  void* closure_ = nullptr;
  uint64_t round_ = 0;
  int running_ = 0;
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace strand
