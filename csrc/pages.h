// Where keys and values live: pages of one size, from one pool that never grows past its limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "arena.h"

namespace duologue {

// There are not as many pages as were asked for.
class CacheFullError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Pages of `page_bytes` bytes, at most limit_bytes in all. Memory is taken from the system in slabs, as
// it is needed, and kept for the next use. Any thread may call anything.
class PagePool {
 public:
  // Throws std::invalid_argument for a limit below one page.
  PagePool(int64_t page_bytes, int64_t limit_bytes);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  int64_t page_bytes() const { return page_bytes_; }
  int64_t limit_bytes() const { return limit_pages_ * page_bytes_; }
  int64_t used_bytes() const;

  // `count` pages that begin at cache lines, with anything in them. Throws CacheFullError, and takes
  // none, if there are fewer.
  std::vector<std::byte*> take(int64_t count);
  void give_back(const std::vector<std::byte*>& pages);

  // Throws std::logic_error if a page is lost, free twice, or not of this pool.
  void check() const;

 private:
  void add_slab(int64_t pages);

  const int64_t page_bytes_;
  const int64_t limit_pages_;
  mutable std::mutex mutex_;
  struct Slab {
    std::byte* start;
    int64_t pages;
  };
  std::vector<Slab> slabs_;
  std::vector<std::byte*> free_;
  int64_t num_pages_ = 0;  // in all slabs
  int64_t num_used_ = 0;
};

// Pages that go back to their pool together.
class Pages {
 public:
  Pages() = default;
  Pages(std::shared_ptr<PagePool> pool, int64_t count)
      : pool_(std::move(pool)), pages_(pool_->take(count)) {}
  ~Pages() { release(); }
  Pages(Pages&& other) noexcept : pool_(std::move(other.pool_)), pages_(std::move(other.pages_)) {
    other.pages_.clear();
  }
  Pages& operator=(Pages&& other) noexcept {
    release();
    pool_ = std::move(other.pool_);
    pages_ = std::move(other.pages_);
    other.pages_.clear();
    return *this;
  }

  int64_t count() const { return static_cast<int64_t>(pages_.size()); }
  int64_t num_bytes() const { return pages_.empty() ? 0 : count() * pool_->page_bytes(); }
  std::byte* operator[](int64_t index) const { return pages_[static_cast<size_t>(index)]; }

 private:
  void release() {
    if (!pages_.empty()) pool_->give_back(pages_);
    pages_.clear();
  }

  std::shared_ptr<PagePool> pool_;
  std::vector<std::byte*> pages_;
};

}  // namespace duologue
