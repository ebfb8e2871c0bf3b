#include "arena.h"

#include <algorithm>

#if defined(__linux__)
#include <sys/mman.h>
#else
#include <cstring>
#endif

namespace duologue {

// What nobody touches of a chunk takes no memory.
constexpr size_t kChunkBytes = size_t{32} << 20;
constexpr size_t kCacheLine = 64;

static size_t round_to(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

void* allocate_huge(size_t bytes) {
#if defined(__linux__)
  // Mappings start at small pages: ask for one huge page more and give back what is over.
  bytes = round_to(bytes, kHugePage);
  void* mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  const size_t before = round_to(address, kHugePage) - address;
  std::byte* start = static_cast<std::byte*>(mapped) + before;
  if (before > 0) munmap(mapped, before);
  munmap(start + bytes, kHugePage - before);
  madvise(start, bytes, MADV_HUGEPAGE);  // advice: nothing is lost where it is refused
  return start;
#else
  void* memory = ::operator new(bytes, std::align_val_t{kHugePage});
  std::memset(memory, 0, bytes);
  return memory;
#endif
}

void free_huge(void* memory, size_t bytes) {
#if defined(__linux__)
  munmap(memory, round_to(bytes, kHugePage));
#else
  (void)bytes;
  ::operator delete(memory, std::align_val_t{kHugePage});
#endif
}

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) {
    allow(chunk.start, chunk.bytes);
    free_huge(chunk.start, chunk.bytes);
  }
}

void* Arena::take_bytes(size_t wanted) {
  const size_t bytes = round_to(wanted, kCacheLine);
  if (chunks_.empty() || used_ + bytes > chunks_.back().bytes) {
    const size_t chunk = std::max(bytes, kChunkBytes);
    chunks_.reserve(chunks_.size() + 1);
    chunks_.push_back({static_cast<std::byte*>(allocate_huge(chunk)), chunk});
    forbid(chunks_.back().start, chunk);
    used_ = 0;
  }
  std::byte* start = chunks_.back().start + used_;
  used_ += bytes;
  num_bytes_ += bytes;
  allow(start, wanted);
  return start;
}

}  // namespace duologue
