// Memory for what lives as long as the model: weights lie one after another in the order of their use,
// in huge pages where the system has them, because a step reads all of them once and would otherwise
// wait for addresses to be looked up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#if defined(DUOLOGUE_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace duologue {

constexpr size_t kHugePage = size_t{1} << 21;

// Memory that starts at a huge page, filled with zeros as it is first touched. Free it with free_huge().
void* allocate_huge(size_t bytes);
void free_huge(void* memory, size_t bytes);

// Tells AddressSanitizer, which sees nothing of what huge pages hold, that nobody may touch these bytes,
// or that somebody may again.
inline void forbid([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#if defined(DUOLOGUE_ASAN)
  __asan_poison_memory_region(memory, bytes);
#endif
}
inline void allow([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#if defined(DUOLOGUE_ASAN)
  __asan_unpoison_memory_region(memory, bytes);
#endif
}

// Hands out arrays; all are freed together.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // `count` zeros that start at a cache line.
  template <class T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  // Of all arrays together.
  size_t num_bytes() const { return num_bytes_; }

 private:
  void* take_bytes(size_t wanted);

  struct Chunk {
    std::byte* start;
    size_t bytes;
  };
  std::vector<Chunk> chunks_;
  size_t used_ = 0;  // of the last chunk
  size_t num_bytes_ = 0;
};

}  // namespace duologue
