#include "engine/thread_pool.h"

#include <string>
#include <system_error>

#include "engine/error.h"

namespace strand {

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(static_cast<size_t>(threads > 1 ? threads - 1 : 0));
  try {
    for (int part = 1; part < threads; ++part) workers_.emplace_back([this, part] { work(part); });
  } catch (const std::system_error& error) {
    const size_t made = workers_.size() + 1;
    stop();
    throw Error(ErrorCategory::kLimit, "the system gives " + std::to_string(made) + " of " + std::to_string(threads) +
                                           " threads: " + error.what());
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Body body, void* closure) {
  {
    const std::lock_guard lock(mutex_);
    body_ = body;
    closure_ = closure;
    running_ = static_cast<int>(workers_.size());
    ++round_;
  }
  start_.notify_all();
  body(closure, 0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return running_ == 0; });
}

void ThreadPool::work(int part) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    start_.wait(lock, [&] { return stop_ || round_ != seen; });
    if (stop_) return;
    seen = round_;
    const Body body = body_;
    void* const closure = closure_;
    lock.unlock();
    body(closure, part);
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

}  // namespace strand
