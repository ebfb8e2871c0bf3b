// The product of a panel of bf16 weights, for the instruction set of the including file. A 32-bit lane
// holds two inputs of one output: one instruction where there is a dot product for pairs, else two
// float32 products of what a shift and a mask make of the lane.
#pragma once

#include "linear_f32.h"

namespace duologue {
namespace DUOLOGUE_ISA {

template <int64_t ROWS>
static void pass_bf16(const LinearTask& task, int64_t panel, int64_t row) {
  const int64_t in = task.w.in, steps = (in + 1) / 2;
  const uint32_t* w = static_cast<const uint32_t*>(task.w.data) + panel * kPanelF32 * steps;
  Lanes total[ROWS][kPanelVectors] = {};
#if defined(__AVX512BF16__)
  const uint32_t* x = task.x_pairs + row * steps;
#else
  const float* x = task.x_f32 + row * in;
#endif
  for (int64_t i = 0; i < steps; ++i, w += kPanelF32) {
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kPanelVectors; ++v) {
      const IntLanes weights = load_pairs(w + v * kLanes);
      DUOLOGUE_UNROLL
      for (int64_t r = 0; r < ROWS; ++r) {
#if defined(__AVX512BF16__)
        const IntLanes inputs = static_cast<int32_t>(x[r * steps + i]) - IntLanes{};
        total[r][v] = _mm512_dpbf16_ps(total[r][v], (__m512bh)weights, (__m512bh)inputs);
#else
        const float second = 2 * i + 1 < in ? x[r * in + 2 * i + 1] : 0.0f;
        total[r][v] = fma(fill(x[r * in + 2 * i]), first_of_pair(weights), total[r][v]);
        total[r][v] = fma(fill(second), second_of_pair(weights), total[r][v]);
#endif
      }
    }
  }
  put_panel<ROWS>(task, panel, row, total);
}

void linear_bf16(const LinearTask& task, const Tile& tile) {
#if defined(__AVX512F__) || defined(__ARM_NEON)
  constexpr Pass kPasses[] = {pass_bf16<1>, pass_bf16<2>, pass_bf16<3>,
                              pass_bf16<4>, pass_bf16<5>, pass_bf16<6>};
  run_passes(kPasses, 6, task, tile);
#else
  constexpr Pass kPasses[] = {pass_bf16<1>, pass_bf16<2>};
  run_passes(kPasses, 2, task, tile);
#endif
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
