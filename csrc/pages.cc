#include "pages.h"

#include "core.h"

#include <algorithm>
#include <set>
#include <string>

namespace duologue {

constexpr int64_t kSlabBytes = static_cast<int64_t>(kHugePage);

PagePool::PagePool(int64_t page_bytes, int64_t limit_bytes)
    : page_bytes_(page_bytes), limit_pages_(page_bytes > 0 ? limit_bytes / page_bytes : 0) {
  if (limit_pages_ < 1) {
    throw std::invalid_argument("a cache of " + std::to_string(limit_bytes) +
                                " bytes does not hold one page of " + std::to_string(page_bytes));
  }
}

PagePool::~PagePool() {
  for (const Slab& slab : slabs_) {
    allow(slab.start, static_cast<size_t>(slab.pages * page_bytes_));
    free_huge(slab.start, static_cast<size_t>(slab.pages * page_bytes_));
  }
}

int64_t PagePool::used_bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return num_used_ * page_bytes_;
}

void PagePool::add_slab(int64_t pages) {
  const size_t bytes = static_cast<size_t>(pages * page_bytes_);
  slabs_.reserve(slabs_.size() + 1);
  free_.reserve(static_cast<size_t>(num_pages_ + pages));
  std::byte* start = static_cast<std::byte*>(allocate_huge(bytes));
  slabs_.push_back({start, pages});
  forbid(start, bytes);
  for (int64_t page = pages - 1; page >= 0; --page) free_.push_back(start + page * page_bytes_);
  num_pages_ += pages;
}

std::vector<std::byte*> PagePool::take(int64_t count) {
  if (count < 0) throw std::invalid_argument("a number of pages cannot be negative");
  std::lock_guard<std::mutex> lock(mutex_);
  if (num_used_ + count > limit_pages_) {
    throw CacheFullError("the cache is full: " + std::to_string(count * page_bytes_) +
                        " bytes are needed, " + std::to_string(num_used_ * page_bytes_) + " of " +
                        std::to_string(limit_pages_ * page_bytes_) + " are in use");
  }
  const int64_t missing = count - static_cast<int64_t>(free_.size());
  // A slab is whole huge pages: they are there from the first touch on, used or not.
  if (missing > 0) {
    const int64_t bytes = round_up(missing * page_bytes_, kSlabBytes);
    add_slab(std::min(bytes / page_bytes_, limit_pages_ - num_pages_));
  }
  std::vector<std::byte*> pages(free_.end() - count, free_.end());
  free_.resize(free_.size() - static_cast<size_t>(count));
  num_used_ += count;
  for (std::byte* page : pages) allow(page, static_cast<size_t>(page_bytes_));
  return pages;
}

void PagePool::give_back(const std::vector<std::byte*>& pages) {
  std::lock_guard<std::mutex> lock(mutex_);
  free_.insert(free_.end(), pages.begin(), pages.end());
  num_used_ -= static_cast<int64_t>(pages.size());
  for (std::byte* page : pages) forbid(page, static_cast<size_t>(page_bytes_));
}

void PagePool::check() const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto require = [](bool condition, const char* problem) {
    if (!condition) throw std::logic_error(problem);
  };
  const int64_t num_free = static_cast<int64_t>(free_.size());
  require(num_used_ >= 0 && num_used_ + num_free == num_pages_, "pages of the cache are lost");
  require(num_pages_ <= limit_pages_, "the cache has grown past its limit");
  require(static_cast<int64_t>(std::set<std::byte*>(free_.begin(), free_.end()).size()) == num_free,
          "a page of the cache is free twice");
  for (std::byte* page : free_) {
    const bool is_ours = std::any_of(slabs_.begin(), slabs_.end(), [&](const Slab& slab) {
      const int64_t offset = page - slab.start;
      return 0 <= offset && offset < slab.pages * page_bytes_ && offset % page_bytes_ == 0;
    });
    require(is_ours, "a free page is not of this cache");
  }
}

}  // namespace duologue
