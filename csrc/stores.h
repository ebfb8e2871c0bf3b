// Stored keys and values as attention reads them: StoreF32 and StoreBf16, for the instruction set of
// the including file. Layouts are in core.h.
//
//   Element       what a page is an array of: one float, or a pair of bf16
//   Loaded        a vector of elements; Factor: what one of them is multiplied by
//   keys          where they lie in a page; values follow, see mix()
//   kPageSteps    steps of a full page; kPageWeights: the weights that belong to them
//   key           one key dimension of kLanes tokens
//   queries       the queries as factors; weights: the attention weights likewise. bf16 keeps them as
//                 pairs behind the scores, where the processor has a product for pairs
//
// A step is one element: one key dimension or token in f32, two in bf16.
#pragma once

#include "kernels.h"
#include "lanes.h"

namespace duologue {
namespace DUOLOGUE_ISA {

constexpr int64_t kBlockVectors = kBlock / kLanes;

// Queries and weights that are factors as they are.
struct PlainFactors {
  using Query = float;
  using Weight = float;
  static constexpr int64_t kPageWeights = kBlock;

  template <int64_t ROWS>
  static const float* queries(const float* q, int64_t*, int64_t, float*, int64_t) {
    return q;
  }
  template <int64_t ROWS>
  static const float* weights(const float* scores, int64_t*) {
    return scores;
  }
};

struct StoreF32 : PlainFactors {
  using Element = float;
  using Loaded = Lanes;
  using Factor = Lanes;
  static constexpr int64_t kPageSteps = kBlock;

  static const float* keys(const void* page) { return static_cast<const float*>(page); }
  static int64_t steps(int64_t tokens) { return tokens; }
  static int64_t key_steps(int64_t head_dim) { return head_dim; }
  static Lanes load(const float* p) { return duologue::DUOLOGUE_ISA::load(p); }
  static Lanes key(const void* page, int64_t dimension, int64_t lane) {
    return load(keys(page) + dimension * kBlock + lane);
  }
  static Lanes factor(const float* q, int64_t step) { return fill(q[step]); }
  static Lanes weight(const float* weights, int64_t step) { return fill(weights[step]); }
  static Lanes add_product(Lanes total, Lanes loaded, Lanes factor) {
    return fma(factor, loaded, total);
  }
  static float product(const float* values, const float* weights, int64_t step) {
    return values[0] * weights[step];
  }
};

#if defined(__AVX512BF16__)
struct StoreBf16 {
#else
struct StoreBf16 : PlainFactors {
#endif
  using Element = uint32_t;
  using Loaded = IntLanes;
  static constexpr int64_t kPageSteps = kBlock / 2;

  static const uint32_t* keys(const void* page) { return static_cast<const uint32_t*>(page); }
  static int64_t steps(int64_t tokens) { return (tokens + 1) / 2; }
  static int64_t key_steps(int64_t head_dim) { return head_dim / 2; }
  static IntLanes load(const uint32_t* p) { return load_pairs(p); }
  static Lanes key(const void* page, int64_t dimension, int64_t lane) {
    const IntLanes pair = load(keys(page) + dimension / 2 * kBlock + lane);
    return dimension % 2 == 0 ? first_of_pair(pair) : second_of_pair(pair);
  }
  static float product(const uint32_t* values, const float* weights, int64_t step) {
    const uint32_t low = values[0] << 16, high = values[0] & 0xFFFF0000u;
    float first, second;
    std::memcpy(&first, &low, 4);
    std::memcpy(&second, &high, 4);
    return first * weights[2 * step] + second * weights[2 * step + 1];
  }

#if defined(__AVX512BF16__)
  using Query = uint32_t;
  using Weight = uint32_t;
  using Factor = IntLanes;
  static constexpr int64_t kPageWeights = kBlock / 2;
  static IntLanes factor(const uint32_t* q, int64_t step) {
    return static_cast<int32_t>(q[step]) - IntLanes{};
  }
  static IntLanes weight(const uint32_t* weights, int64_t step) { return factor(weights, step); }
  static Lanes add_product(Lanes total, IntLanes loaded, IntLanes factor) {
    return _mm512_dpbf16_ps(total, (__m512bh)loaded, (__m512bh)factor);
  }
  template <int64_t ROWS>
  static const uint32_t* queries(const float* q, int64_t* q_stride, int64_t head_dim, float* scores,
                                 int64_t stride) {
    // Behind the weights of all queries and their pairs; see scores_size().
    uint32_t* pairs = reinterpret_cast<uint32_t*>(scores + kMaxQueries * 2 * stride);
    for (int64_t r = 0; r < ROWS; ++r) to_pairs(q + r * *q_stride, pairs + r * head_dim, head_dim);
    *q_stride = head_dim;
    return pairs;
  }
  template <int64_t ROWS>
  static const uint32_t* weights(float* scores, int64_t* stride) {
    uint32_t* pairs = reinterpret_cast<uint32_t*>(scores + kMaxQueries * *stride);
    for (int64_t r = 0; r < ROWS; ++r) to_pairs(scores + r * *stride, pairs + r * *stride, *stride);
    return pairs;
  }
#else
  struct Factor {
    Lanes first, second;
  };
  static Factor factor(const float* q, int64_t step) { return {fill(q[2 * step]), fill(q[2 * step + 1])}; }
  static Factor weight(const float* weights, int64_t step) { return factor(weights, step); }
  static Lanes add_product(Lanes total, IntLanes loaded, const Factor& factor) {
    return fma(second_of_pair(loaded), factor.second, fma(first_of_pair(loaded), factor.first, total));
  }
#endif
};

// Vectors of a head that are summed at once: as many as the registers hold for all queries.
constexpr int64_t kValueVectors = kLanes == 16 ? 4 : 2;

// out_r[0..VECTORS * kLanes) = sum over all tokens of weight_r[token] * value[token], for these columns
// of a head. One query alone sums even and odd steps apart, because a sum must wait for the one before.
template <class STORE, int64_t ROWS, int64_t VECTORS>
static void mix_values(const AttendTask& task, const typename STORE::Weight* weights,
                       int64_t stride, int64_t offset, int64_t head_dim, float* out) {
  constexpr int64_t kSums = ROWS == 1 ? 2 : 1;
  Lanes total[kSums][ROWS][VECTORS] = {};
  const auto add = [&](Lanes (*sums)[VECTORS], const typename STORE::Element* values, int64_t t) {
    typename STORE::Loaded loaded[VECTORS];
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < VECTORS; ++v) loaded[v] = STORE::load(values + t * head_dim + v * kLanes);
    DUOLOGUE_UNROLL
    for (int64_t r = 0; r < ROWS; ++r) {
      const typename STORE::Factor factor = STORE::weight(weights + r * stride, t);
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < VECTORS; ++v) {
        sums[r][v] = STORE::add_product(sums[r][v], loaded[v], factor);
      }
    }
  };
  for (int64_t s = 0; s < task.num_spans; ++s, weights += STORE::kPageWeights) {
    const typename STORE::Element* values = STORE::keys(task.spans[s].page) + offset;
    const int64_t steps = STORE::steps(task.spans[s].length);
    int64_t t = 0;
    for (; t + kSums <= steps; t += kSums) {
      DUOLOGUE_UNROLL
      for (int64_t i = 0; i < kSums; ++i) add(total[i], values, t + i);
    }
    if (t < steps) add(total[0], values, t);
  }
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < VECTORS; ++v) {
      const Lanes sum = kSums == 1 ? total[0][r][v] : total[0][r][v] + total[kSums - 1][r][v];
      store(out + r * task.out_stride + v * kLanes, sum);
    }
  }
}

// The same for the last few columns of a head that do not fill a vector; `scores` are the weights.
template <class STORE>
static void mix_rest(const AttendTask& task, const float* scores, int64_t offset, int64_t head_dim,
                     int64_t count, float* out) {
  float total[kLanes] = {};
  for (int64_t s = 0; s < task.num_spans; ++s, scores += kBlock) {
    const typename STORE::Element* values = STORE::keys(task.spans[s].page) + offset;
    for (int64_t t = 0; t < STORE::steps(task.spans[s].length); ++t, values += head_dim) {
      for (int64_t c = 0; c < count; ++c) total[c] += STORE::product(values + c, scores, t);
    }
  }
  for (int64_t c = 0; c < count; ++c) out[c] = total[c];
}

// out_r [count] = what the queries take of a head's values; all its columns, or one fewer if a gru's
// width is odd.
template <class STORE, int64_t ROWS>
static void mix(const AttendTask& task, const typename STORE::Weight* weights, int64_t stride,
                int64_t head, int64_t head_dim, int64_t count) {
  float* out = task.out + head * head_dim;
  const int64_t first =
      STORE::kPageSteps * (round_up(task.width, 2) + head / task.group * head_dim);
  int64_t c = 0;
  for (; c + kValueVectors * kLanes <= count; c += kValueVectors * kLanes) {
    mix_values<STORE, ROWS, kValueVectors>(task, weights, stride, first + c, head_dim, out + c);
  }
  for (; c + kLanes <= count; c += kLanes) {
    mix_values<STORE, ROWS, 1>(task, weights, stride, first + c, head_dim, out + c);
  }
  for (int64_t r = 0; c < count && r < ROWS; ++r) {
    mix_rest<STORE>(task, task.scores + r * task.num_spans * kBlock, first + c, head_dim, count - c,
                    out + r * task.out_stride + c);
  }
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
