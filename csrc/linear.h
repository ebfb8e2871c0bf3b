// Packed weight matrices, and y = x W^T over the threads of a pool.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "arena.h"
#include "core.h"
#include "threads.h"

namespace duologue {

// An array that starts at a cache line. Grows only; growing loses what was in it.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) { reserve(size); }

  // At least `size` values of room; returns where they are. New room is filled with zeros.
  T* reserve(int64_t size) {
    if (size > size_) {
      const size_t bytes = static_cast<size_t>(size) * sizeof(T);
      data_.reset(static_cast<T*>(::operator new(bytes, kAlignment)));
      std::memset(data_.get(), 0, bytes);
      size_ = size;
    }
    return data_.get();
  }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t size_ = 0;
};

// A weight as the caller holds it, row-major. One of:
//   f32    float32
//   bf16   the upper 16 bits of float32
//   s8     bytes, with a scale [out]
//   s4     two values of 4 bits in a byte [out, in/2], the first of each pair in the lower half, 8 added;
//          with a scale [out, ceil(in/kGroup)]
// shape is [out, in], or [size] of a vector.
struct WeightView {
  const float* f32 = nullptr;
  const uint16_t* bf16 = nullptr;
  const int8_t* s8 = nullptr;
  const uint8_t* s4 = nullptr;
  const float* scale = nullptr;
  std::vector<int64_t> shape;
};

// A weight matrix [out, in], packed once for the instruction set in use (layouts: core.h).
class Linear {
 public:
  Linear() = default;
  // The packed weight lies in `arena`. Throws std::invalid_argument when `in` is so large that a sum of
  // bytes could overflow.
  Linear(const Kernels& kernels, const WeightView& weight, Arena& arena);

  Format format() const { return packed_.format; }
  int64_t in() const { return packed_.in; }
  int64_t out() const { return packed_.out; }
  int64_t panel() const { return panel_; }
  const PackedWeight& packed() const { return packed_; }

  // y [in] = factor * row `row` of the matrix: the way to look up an embedding.
  void read_row(int64_t row, float factor, float* y) const;

 private:
  void pack_f32(const WeightView& weight, Arena& arena);
  void pack_bf16(const WeightView& weight, Arena& arena);
  void pack_s8(const WeightView& weight, Arena& arena);
  void pack_s4(const WeightView& weight, Arena& arena);

  PackedWeight packed_ = {};
  int64_t panel_ = 1;
  uint8_t weight_offset_ = 0;
};

// What every step of a forward pass works with.
struct Runtime {
  Runtime(const Kernels& chosen, int64_t threads) : kernels(chosen), pool(threads) {}

  const Kernels& kernels;
  ThreadPool pool;
  Buffer<int8_t> quantized;  // activations of the product in progress
  Buffer<QuantizedRow> quantized_rows;
  Buffer<int32_t> groups;
  Buffer<uint32_t> pairs;
};

// y [rows, out] = x [rows, in] W^T, or += when is_added. x and y must not overlap.
void linear(Runtime& runtime, const Linear& weight, const float* x, float* y, int64_t rows,
            bool is_added = false);

// The same for some panels of an int8 weight alone, on the bytes that the last product left of x.
void linear_panels(Runtime& runtime, const Linear& weight, float* y, int64_t rows,
                   const std::vector<int64_t>& panels);

// Calls body(row) for each row, over the threads when there are many rows.
template <class Body>
void for_rows(Runtime& runtime, int64_t rows, const Body& body) {
  // Waking up for one row costs as much as computing it.
  constexpr int64_t kRowsPerPiece = 8;
  const int64_t pieces = (rows + kRowsPerPiece - 1) / kRowsPerPiece;
  runtime.pool.parallel_for(pieces, [&](int64_t piece, int64_t) {
    const int64_t begin = piece * kRowsPerPiece;
    const int64_t end = begin + kRowsPerPiece < rows ? begin + kRowsPerPiece : rows;
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

}  // namespace duologue
