#include "threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace duologue {

// Tells the processor that this is a waiting loop; after a while lets other threads have the core.
static void wait_a_moment(int64_t turn) {
  constexpr int64_t kTurnsBeforeYield = 2000;
  if (turn > kTurnsBeforeYield) {
    std::this_thread::yield();
    return;
  }
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

ThreadPool::ThreadPool(int64_t threads) {
  for (int64_t thread = 1; thread < threads; ++thread) {
    workers_.emplace_back([this, thread] { work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::set_awake(bool is_awake) {
  if (workers_.empty()) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_awake_.store(is_awake, std::memory_order_relaxed);
  }
  if (is_awake) wake_.notify_all();
}

bool ThreadPool::claim_and_run(int64_t thread) {
  int64_t left = unclaimed_.load(std::memory_order_relaxed);
  do {
    if (left == 0) return false;
  } while (!unclaimed_.compare_exchange_weak(left, left - 1, std::memory_order_acquire,
                                             std::memory_order_relaxed));
  call_(context_, left - 1, thread);
  finished_.fetch_add(1, std::memory_order_release);
  return true;
}

void ThreadPool::run(Call call, const void* context, int64_t pieces) {
  call_ = call;
  context_ = context;
  finished_.store(0, std::memory_order_relaxed);
  unclaimed_.store(pieces, std::memory_order_release);
  while (claim_and_run(0)) {
  }
  for (int64_t turn = 0; finished_.load(std::memory_order_acquire) != pieces; ++turn) {
    wait_a_moment(turn);
  }
}

void ThreadPool::work(int64_t thread) {
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return is_awake_.load() || is_stopping_; });
      if (is_stopping_) return;
    }
    int64_t turn = 0;
    while (is_awake_.load(std::memory_order_relaxed)) {
      turn = claim_and_run(thread) ? 0 : turn + 1;
      if (turn > 0) wait_a_moment(turn);
    }
  }
}

}  // namespace duologue
