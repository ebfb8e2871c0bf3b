// y = x W^T for bytes on AVX-512 with VNNI: four products are summed in one instruction.
//
// The instruction wants one side unsigned. Weights are packed with 128 added, so a sum comes out too
// large by 128 times the sum of the row's activations; that is what each accumulator starts from.
#pragma once

#include "linear_f32.h"

namespace duologue {
namespace DUOLOGUE_ISA {

constexpr int64_t kPanelS8 = 64;
constexpr int64_t kVectors = kPanelS8 / 16;

template <int64_t ROWS>
static void pass_s8(const LinearTask& task, int64_t panel, int64_t row) {
  const int64_t padded = round_up(task.w.in, 4);
  const uint8_t* w = task.w.s8 + panel * kPanelS8 * padded;
  const int8_t* x = task.x_s8 + row * task.s8_stride;
  IntLanes total[ROWS][kVectors];
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    const IntLanes start = -128 * task.x_rows[row + r].sum - IntLanes{};
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) total[r][v] = start;
  }
  for (int64_t i = 0; i < padded; i += 4, w += 4 * kPanelS8) {
    __m512i weights[kVectors];
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) weights[v] = _mm512_loadu_si512(w + 64 * v);
    DUOLOGUE_UNROLL
    for (int64_t r = 0; r < ROWS; ++r) {
      int32_t four;
      std::memcpy(&four, x + r * task.s8_stride + i, 4);
      const __m512i inputs = _mm512_set1_epi32(four);
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) {
        total[r][v] = (IntLanes)_mm512_dpbusd_epi32((__m512i)total[r][v], weights[v], inputs);
      }
    }
  }
  const int64_t first = panel * kPanelS8;
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    float* y = task.y + (row + r) * task.w.out + first;
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) {
      const Lanes scale = load(task.w.scale + first + v * kLanes) * task.x_rows[row + r].scale;
      const Lanes sum = __builtin_convertvector(total[r][v], Lanes);
      put(y + v * kLanes, sum * scale, task.w.out - first - v * kLanes, task.is_added);
    }
  }
}

void linear_s8(const LinearTask& task, const Tile& tile) {
  constexpr Pass kPasses[] = {pass_s8<1>, pass_s8<2>, pass_s8<3>,
                              pass_s8<4>, pass_s8<5>, pass_s8<6>};
  run_passes(kPasses, 6, task, tile);
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
