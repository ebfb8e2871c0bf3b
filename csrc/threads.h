// A pool of threads that share the loops of one forward pass.
//
// Between passes the workers sleep. Inside a pass they spin, because the next loop follows within
// microseconds and waking a thread costs more than that. Work is claimed piece by piece: a worker that
// the system has taken off its core delays at most the piece it holds.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace duologue {

class ThreadPool {
 public:
  // `threads` counts the caller: 1 creates no thread.
  explicit ThreadPool(int64_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int64_t num_threads() const { return static_cast<int64_t>(workers_.size()) + 1; }

  // While one lives, the workers are awake. At most one pass and one loop at a time.
  class Pass {
   public:
    explicit Pass(ThreadPool& pool) : pool_(pool) { pool_.set_awake(true); }
    ~Pass() { pool_.set_awake(false); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    ThreadPool& pool_;
  };

  // Calls body(piece, thread) for each piece in [0, pieces), each once, in any order; returns when all
  // are done. 0 <= thread < num_threads(), and no two pieces run under one number at a time.
  // `body` must not throw.
  template <class Body>
  void parallel_for(int64_t pieces, const Body& body) {
    if (pieces == 1 || workers_.empty()) {
      for (int64_t piece = 0; piece < pieces; ++piece) body(piece, int64_t{0});
    } else if (pieces > 1) {
      run([](const void* context, int64_t piece, int64_t thread) {
            (*static_cast<const Body*>(context))(piece, thread);
          }, &body, pieces);
    }
  }

 private:
  using Call = void (*)(const void* context, int64_t piece, int64_t thread);

  void run(Call call, const void* context, int64_t pieces);
  bool claim_and_run(int64_t thread);
  void work(int64_t thread);
  void set_awake(bool is_awake);

  // How many pieces of the current loop are not claimed yet. A piece is claimed by counting down, so
  // that a worker that comes late finds 0 and never touches call_ and context_ of a loop that is over.
  std::atomic<int64_t> unclaimed_{0};
  std::atomic<int64_t> finished_{0};
  Call call_ = nullptr;
  const void* context_ = nullptr;

  std::atomic<bool> is_awake_{false};
  bool is_stopping_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace duologue
