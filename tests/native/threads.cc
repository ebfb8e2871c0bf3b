// The pool of threads, the pool of pages, and a model that several threads use at once.
#include <atomic>
#include <thread>

#include "tiny_model.h"

namespace duologue {

// Runs body(n) in `count` threads at once.
static void in_threads(int64_t count, const std::function<void(int64_t)>& body) {
  std::vector<std::thread> threads;
  for (int64_t n = 0; n < count; ++n) {
    threads.emplace_back([&body, n] {
      try {
        body(n);
      } catch (const std::exception& error) {
        check(false, std::string("unexpected exception: ") + error.what(), __FILE__, __LINE__);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Plain arrays on purpose: that each piece is run by one thread, before parallel_for returns, is what
// ThreadSanitizer sees here.
static void every_piece_runs_once() {
  for (int64_t threads = 1; threads <= 4; ++threads) {
    set_case("threads " + std::to_string(threads));
    ThreadPool pool(threads);
    CHECK(pool.num_threads() == threads);
    std::vector<int64_t> per_thread(static_cast<size_t>(threads));
    int64_t expected = 0;
    bool is_once = true;
    for (int64_t pass = 0; pass < 60; ++pass) {
      ThreadPool::Pass awake(pool);
      for (int64_t loop = 0; loop < 40; ++loop) {
        const int64_t pieces = (pass + loop) % 9;
        std::vector<int64_t> runs(static_cast<size_t>(pieces));
        pool.parallel_for(pieces, [&](int64_t piece, int64_t thread) {
          ++runs[piece];
          ++per_thread[thread];
        });
        is_once &= runs == std::vector<int64_t>(runs.size(), 1);
        expected += pieces;
      }
    }
    int64_t total = 0;
    for (const int64_t count : per_thread) total += count;
    CHECK(is_once);
    CHECK(total == expected);
  }
}

static void a_pool_ends_while_its_threads_sleep_or_spin() {
  for (int64_t turn = 0; turn < 50; ++turn) {
    ThreadPool pool(3);
    std::atomic<int64_t> runs{0};
    if (turn % 2 == 0) {
      ThreadPool::Pass awake(pool);
      pool.parallel_for(turn, [&](int64_t, int64_t) { ++runs; });
      CHECK(runs == turn);
    }
  }
}

// A loop without a pass: the caller does all of it.
static void a_loop_needs_no_helpers() {
  ThreadPool pool(3);
  std::atomic<int64_t> runs{0};
  pool.parallel_for(100, [&](int64_t, int64_t) { ++runs; });
  CHECK(runs == 100);
}

static void a_page_pool_keeps_its_limit() {
  const int64_t bytes = page_bytes(Store::kF32, 4);
  PagePool pool(bytes, 5 * bytes + 1);
  CHECK(pool.limit_bytes() == 5 * bytes);
  const std::vector<std::byte*> first = pool.take(3);
  CHECK_THROWS(CacheFullError, "the cache is full", pool.take(3));
  CHECK_THROWS(std::invalid_argument, "pages", pool.take(-1));
  CHECK(pool.used_bytes() == 3 * bytes);
  const std::vector<std::byte*> second = pool.take(2);
  CHECK(pool.take(0).empty());
  for (const std::byte* page : first) CHECK(reinterpret_cast<uintptr_t>(page) % 64 == 0);
  pool.check();
  pool.give_back(first);
  pool.give_back(second);
  CHECK(pool.used_bytes() == 0);
  pool.check();
  CHECK_THROWS(std::invalid_argument, "does not hold one page", PagePool(bytes, bytes - 1));
  CHECK_THROWS(std::invalid_argument, "does not hold one page", PagePool(0, 100));
}

// Past the first slab, too.
static void a_page_pool_grows_to_its_limit() {
  const int64_t bytes = page_bytes(Store::kF32, 1024), pages = 40;
  PagePool pool(bytes, pages * bytes);
  std::vector<std::vector<std::byte*>> taken;
  for (int64_t i = 0; i < pages; ++i) {
    taken.push_back(pool.take(1));
    std::memset(taken.back()[0], 0x5A, static_cast<size_t>(bytes));
    pool.check();
  }
  CHECK_THROWS(CacheFullError, "the cache is full", pool.take(1));
  for (const auto& page : taken) pool.give_back(page);
  pool.check();
}

static void a_page_pool_notices_what_is_wrong() {
  const int64_t bytes = page_bytes(Store::kF32, 4);
  {
    PagePool pool(bytes, 5 * bytes);
    const std::vector<std::byte*> pages = pool.take(2);
    pool.give_back({pages[0]});
    pool.give_back({pages[0]});
    CHECK_THROWS(std::logic_error, "free twice", pool.check());
  }
  PagePool pool(bytes, 5 * bytes), other(bytes, 5 * bytes);
  const std::vector<std::byte*> pages = pool.take(1);
  pool.give_back(other.take(1));
  CHECK_THROWS(std::logic_error, "not of this cache", pool.check());
  pool.give_back(pages);
  CHECK_THROWS(std::logic_error, "lost", pool.check());
}

static void threads_share_a_page_pool() {
  const int64_t bytes = page_bytes(Store::kF32, 4);
  const auto pool = std::make_shared<PagePool>(bytes, 20 * bytes);
  std::atomic<int64_t> num_full{0};
  in_threads(4, [&](int64_t n) {
    Random random(static_cast<uint64_t>(n));
    std::vector<Pages> held;
    for (int64_t turn = 0; turn < 300; ++turn) {
      try {
        held.emplace_back(pool, random.integer(1, 6));
        // Nobody else may have these pages.
        for (int64_t i = 0; i < held.back().count(); ++i) {
          std::memset(held.back()[i], static_cast<int>(n), static_cast<size_t>(bytes));
        }
      } catch (const CacheFullError&) {
        ++num_full;
        held.clear();
      }
      if (held.size() > 3) held.erase(held.begin());
      pool->check();
    }
  });
  CHECK(pool->used_bytes() == 0);
  CHECK(num_full > 0);
  pool->check();
}

// What one client does with a model: reads, forks, decodes.
static std::vector<float> converse(const std::shared_ptr<Model>& model, size_t num_parts) {
  const auto memory = encode_parts(model, tiny_parts(*model), num_parts);
  const StatePtr state = std::make_shared<DecoderState>(model, memory, true);
  std::vector<float> all;
  for (int64_t t = 0; t < 18; ++t) {
    const StatePtr fork = state->fork();
    const std::vector<float> logits = step(*model, {state, fork}, {t, t + 1});
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

static void threads_share_a_model() {
  for (const Shape shape : kOurs) {
    for (const Precision precision : {Precision::kF32, Precision::kS8}) {
      const auto model = tiny_model(shape, precision, "", 2);
      std::vector<std::vector<float>> expected, results(3);
      for (size_t n = 0; n < results.size(); ++n) expected.push_back(converse(model, n + 1));
      in_threads(3, [&](int64_t n) { results[n] = converse(model, static_cast<size_t>(n) + 1); });
      for (size_t n = 0; n < results.size(); ++n) CHECK(is_same(results[n], expected[n]));
      CHECK(model->pool->used_bytes() == 0);
      model->pool->check();
    }
  }
}

std::vector<Test> thread_tests() {
  return {
      {"threads: every piece runs once", every_piece_runs_once},
      {"threads: a pool ends while its threads sleep or spin", a_pool_ends_while_its_threads_sleep_or_spin},
      {"threads: a loop needs no helpers", a_loop_needs_no_helpers},
      {"pool: pages keep their limit", a_page_pool_keeps_its_limit},
      {"pool: pages grow to their limit", a_page_pool_grows_to_its_limit},
      {"pool: check notices what is wrong", a_page_pool_notices_what_is_wrong},
      {"pool: threads share the pages", threads_share_a_page_pool},
      {"models: threads share one", threads_share_a_model},
  };
}

}  // namespace duologue
