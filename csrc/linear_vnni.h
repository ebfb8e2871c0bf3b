// y = x W^T for bytes where the processor sums four products in one instruction: VNNI of x86-64 in
// vectors of 16 or 8 lanes, and the dot product of Arm.
//
// VNNI wants one side unsigned. Weights are packed with 128 added, so a sum comes out too large by 128
// times the sum of the row's activations; that is what each accumulator starts from. Arm takes signed
// bytes on both sides.
#pragma once

#include "linear_bf16.h"
#include "linear_s4.h"

namespace duologue {
namespace DUOLOGUE_ISA {

constexpr int64_t kVectorsS8 = 4;
constexpr int64_t kPanelS8 = kVectorsS8 * kLanes;
#if defined(__ARM_NEON)
constexpr uint8_t kWeightOffset = 0;
#else
constexpr uint8_t kWeightOffset = 128;
#endif

// total[o] += sum_k w[4 o + k] * four[k]: w as packed, four signed.
static inline IntLanes dot_bytes(IntLanes total, Bytes w, int32_t four) {
  return dot_small(total, w, four);  // these instructions take bytes of any size
}

template <int64_t ROWS>
static void pass_s8(const LinearTask& task, int64_t panel, int64_t row) {
  const int64_t padded = round_up(task.w.in, 4);
  const uint8_t* w = static_cast<const uint8_t*>(task.w.data) + panel * kPanelS8 * padded;
  const int8_t* x = task.x_s8 + row * task.s8_stride;
  IntLanes total[ROWS][kVectorsS8];
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    const IntLanes start = -int32_t{kWeightOffset} * task.x_rows[row + r].sum - IntLanes{};
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kVectorsS8; ++v) total[r][v] = start;
  }
  for (int64_t i = 0; i < padded; i += 4, w += 4 * kPanelS8) {
    Bytes weights[kVectorsS8];
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kVectorsS8; ++v) {
      weights[v] = *reinterpret_cast<const LooseBytes*>(w + 4 * kLanes * v);
    }
    DUOLOGUE_UNROLL
    for (int64_t r = 0; r < ROWS; ++r) {
      int32_t four;
      std::memcpy(&four, x + r * task.s8_stride + i, 4);
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < kVectorsS8; ++v) total[r][v] = dot_bytes(total[r][v], weights[v], four);
    }
  }
  const int64_t first = panel * kPanelS8;
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    float* y = task.y + (row + r) * task.w.out + first;
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kVectorsS8; ++v) {
      const Lanes scale = load(task.w.scale + first + v * kLanes) * task.x_rows[row + r].scale;
      const Lanes sum = __builtin_convertvector(total[r][v], Lanes);
      put(y + v * kLanes, sum * scale, task.w.out - first - v * kLanes, task.is_added);
    }
  }
}

void linear_s8(const LinearTask& task, const Tile& tile) {
#if defined(__AVX512F__) || defined(__ARM_NEON)
  constexpr Pass kPasses[] = {pass_s8<1>, pass_s8<2>, pass_s8<3>,
                              pass_s8<4>, pass_s8<5>, pass_s8<6>};
  run_passes(kPasses, 6, task, tile);
#else
  constexpr Pass kPasses[] = {pass_s8<1>, pass_s8<2>};
  run_passes(kPasses, 2, task, tile);
#endif
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
