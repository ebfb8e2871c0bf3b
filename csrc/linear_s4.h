// The product of a panel of 4-bit weights, for the instruction set of the including file.
//
// A byte holds two weights, 0 to 15, of inputs that are 4 apart. Each half meets the activations' bytes
// as they are; that 8 was added to every weight makes the sum of a group too large by 8 times the sum of
// its activations, from which each sum starts.
#pragma once

#include "linear_f32.h"

namespace duologue {
namespace DUOLOGUE_ISA {

constexpr int64_t kVectorsS4 = 4;
constexpr int64_t kPanelS4 = kVectorsS4 * kLanes;

typedef uint8_t Bytes __attribute__((vector_size(4 * kLanes)));
typedef uint8_t LooseBytes __attribute__((vector_size(4 * kLanes), aligned(1), may_alias));

// total[o] += sum_k w[4 o + k] * four[k], the bytes of w at most 15, those of four signed.
static inline IntLanes dot_small(IntLanes total, Bytes w, int32_t four) {
#if defined(__AVX512VNNI__)
  return (IntLanes)_mm512_dpbusd_epi32((__m512i)total, (__m512i)w, _mm512_set1_epi32(four));
#elif defined(__AVXVNNI__)
  return (IntLanes)_mm256_dpbusd_avx_epi32((__m256i)total, (__m256i)w, _mm256_set1_epi32(four));
#elif defined(__AVX2__)
  const __m256i pairs = _mm256_maddubs_epi16((__m256i)w, _mm256_set1_epi32(four));
  return total + (IntLanes)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
  return (IntLanes)vdotq_s32((int32x4_t)total, (int8x16_t)w, vreinterpretq_s8_s32(vdupq_n_s32(four)));
#else
  int8_t x[4];
  std::memcpy(x, &four, 4);
  for (int64_t o = 0; o < kLanes; ++o) {
    for (int64_t k = 0; k < 4; ++k) total[o] += int32_t{w[4 * o + k]} * int32_t{x[k]};
  }
  return total;
#endif
}

template <int64_t ROWS>
static void pass_s4(const LinearTask& task, int64_t panel, int64_t row) {
  constexpr int64_t kSteps = kGroup / 8;
  const int64_t groups = (task.w.in + kGroup - 1) / kGroup, x_groups = task.s8_stride / kGroup;
  const uint8_t* w = static_cast<const uint8_t*>(task.w.data) + panel * groups * kSteps * 4 * kPanelS4;
  const float* scale = task.w.scale + panel * groups * kPanelS4;
  const int8_t* x = task.x_s8 + row * task.s8_stride;
  Lanes total[ROWS][kVectorsS4] = {};
  for (int64_t g = 0; g < groups; ++g, scale += kPanelS4) {
    IntLanes sum[ROWS][kVectorsS4];           // of the lower halves
    IntLanes upper[ROWS][kVectorsS4] = {};    // apart, because a sum must wait for the one before
    DUOLOGUE_UNROLL
    for (int64_t r = 0; r < ROWS; ++r) {
      const int32_t start = -8 * task.x_groups[(row + r) * x_groups + g];
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < kVectorsS4; ++v) sum[r][v] = start - IntLanes{};
    }
    for (int64_t step = 0; step < kSteps; ++step, w += 4 * kPanelS4) {
      int32_t four[ROWS][2];
      DUOLOGUE_UNROLL
      for (int64_t r = 0; r < ROWS; ++r) {
        std::memcpy(four[r], x + r * task.s8_stride + g * kGroup + step * 8, 8);
      }
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < kVectorsS4; ++v) {
        const Bytes both = *reinterpret_cast<const LooseBytes*>(w + v * 4 * kLanes);
        const Bytes low = both & uint8_t{15}, high = both >> 4;
        DUOLOGUE_UNROLL
        for (int64_t r = 0; r < ROWS; ++r) {
          sum[r][v] = dot_small(sum[r][v], low, four[r][0]);
          upper[r][v] = dot_small(upper[r][v], high, four[r][1]);
        }
      }
    }
    DUOLOGUE_UNROLL
    for (int64_t r = 0; r < ROWS; ++r) {
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < kVectorsS4; ++v) {
        const Lanes part = __builtin_convertvector(sum[r][v] + upper[r][v], Lanes);
        total[r][v] = fma(part, load(scale + v * kLanes), total[r][v]);
      }
    }
  }
  const int64_t first = panel * kPanelS4;
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    float* y = task.y + (row + r) * task.w.out + first;
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kVectorsS4; ++v) {
      put(y + v * kLanes, total[r][v] * task.x_rows[row + r].scale,
          task.w.out - first - v * kLanes, task.is_added);
    }
  }
}

void linear_s4(const LinearTask& task, const Tile& tile) {
#if defined(__AVX512F__)
  constexpr Pass kPasses[] = {pass_s4<1>, pass_s4<2>, pass_s4<3>};
  run_passes(kPasses, 3, task, tile);
#else
  constexpr Pass kPasses[] = {pass_s4<1>};
  run_passes(kPasses, 1, task, tile);
#endif
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
