// One vector of floats as wide as the instruction set this file is compiled for, and what is done
// with it. Written with the vector types of GCC and Clang: the same source is SSE2, AVX2, AVX-512 or
// NEON. Multiplications and additions are fused only where fma() says so (the build turns automatic
// fusing off), so that quantised integers are the same everywhere.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// Before each loop over an array of vectors that has a fixed number of turns: only when every index is
// a constant do compilers keep the array in registers.
#if defined(__clang__)
#define DUOLOGUE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define DUOLOGUE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace duologue {
namespace DUOLOGUE_ISA {

#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
#elif defined(__AVX2__)
constexpr int64_t kLanes = 8;
#else
constexpr int64_t kLanes = 4;
#endif

typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntLanes __attribute__((vector_size(4 * kLanes)));
typedef int8_t ByteLanes __attribute__((vector_size(kLanes)));
typedef float LooseLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

static inline Lanes load(const float* p) { return *reinterpret_cast<const LooseLanes*>(p); }
static inline void store(float* p, Lanes x) { *reinterpret_cast<LooseLanes*>(p) = x; }
static inline Lanes fill(float x) { return x - Lanes{}; }

// The first `count` < kLanes values; the other lanes are `rest`.
static inline Lanes load_part(const float* p, int64_t count, float rest = 0.0f) {
  Lanes x = fill(rest);
  for (int64_t i = 0; i < count; ++i) x[i] = p[i];
  return x;
}
static inline void store_part(float* p, Lanes x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = x[i];
}

// Writes the first `count` values (none if negative, all from kLanes on), or adds them.
static inline void put(float* p, Lanes x, int64_t count, bool is_added) {
  if (count >= kLanes) {
    store(p, is_added ? load(p) + x : x);
  } else {
    for (int64_t i = 0; i < count; ++i) p[i] = is_added ? p[i] + x[i] : x[i];
  }
}

static inline Lanes fma(Lanes a, Lanes b, Lanes c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__ARM_NEON)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

static inline Lanes max(Lanes a, Lanes b) { return a > b ? a : b; }
static inline Lanes min(Lanes a, Lanes b) { return a < b ? a : b; }

static inline float sum_lanes(Lanes x) {
  float total = 0.0f;
  for (int64_t i = 0; i < kLanes; ++i) total += x[i];
  return total;
}
static inline float max_lanes(Lanes x) {
  float top = x[0];
  for (int64_t i = 1; i < kLanes; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

// Adding 1.5 * 2^23 leaves the nearest integer (ties to even) in the low bits of the float.
constexpr float kRoundMagic = 12582912.0f;
constexpr int32_t kRoundMagicBits = 0x4B400000;

static inline IntLanes bits(Lanes x) { return (IntLanes)x; }
static inline Lanes from_bits(IntLanes x) { return (Lanes)x; }

// Two bf16 values in one 32-bit lane: the first in the lower half.
static inline Lanes first_of_pair(IntLanes x) { return from_bits(x << 16); }
static inline Lanes second_of_pair(IntLanes x) { return from_bits(x & static_cast<int32_t>(0xFFFF0000)); }
typedef int32_t LooseIntLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
static inline IntLanes load_pairs(const void* p) { return *static_cast<const LooseIntLanes*>(p); }

// The upper half of a float32, rounded to the nearest (ties to even). What is no number stays none.
static inline uint32_t bf16_bits(float x) {
  uint32_t word;
  std::memcpy(&word, &x, 4);
  if ((word & 0x7FFFFFFFu) > 0x7F800000u) return (word >> 16) | 0x40u;
  return (word + 0x7FFFu + ((word >> 16) & 1u)) >> 16;
}
// The same for every lane; the lower halves are zero.
static inline IntLanes round_bf16(Lanes x) {
  const IntLanes word = bits(x);
  const IntLanes rounded = word + 0x7FFF + ((word >> 16) & 1);
  return (x == x ? rounded : word | 0x400000) & static_cast<int32_t>(0xFFFF0000);
}
static inline uint32_t bf16_pair(float first, float second) {
  return bf16_bits(first) | bf16_bits(second) << 16;
}

// e^x with a relative error below 2e-7 for x in [-87, 88]; outside it stays at the border's value.
// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2; e^r by its Taylor series.
static inline Lanes exp(Lanes x) {
  x = min(max(x, fill(-87.0f)), fill(88.0f));
  const Lanes shifted = x * 1.44269504f + kRoundMagic;
  const Lanes n = shifted - kRoundMagic;
  // ln 2 in two parts: the first has so few bits that n times it is exact.
  Lanes r = fma(n, fill(-0.693359375f), x);
  r = fma(n, fill(2.12194440e-4f), r);
  Lanes p = fill(1.0f / 5040.0f);
  p = fma(p, r, fill(1.0f / 720.0f));
  p = fma(p, r, fill(1.0f / 120.0f));
  p = fma(p, r, fill(1.0f / 24.0f));
  p = fma(p, r, fill(1.0f / 6.0f));
  p = fma(p, r, fill(0.5f));
  p = fma(p, r, fill(1.0f));
  p = fma(p, r, fill(1.0f));
  return from_bits(bits(p) + ((bits(shifted) - kRoundMagicBits) << 23));
}

static inline Lanes sigmoid(Lanes x) { return 1.0f / (1.0f + exp(-x)); }
static inline Lanes tanh(Lanes x) { return 1.0f - 2.0f / (1.0f + exp(2.0f * x)); }

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
