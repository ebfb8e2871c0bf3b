// The f32 product of one panel, for the instruction set of the including file.
//
// A panel holds the weights of kPanelF32 outputs, input by input, so that one vector of weights meets
// one broadcast activation: no sum across lanes, and every output is summed in the same order however
// many rows there are.
#pragma once

#include "kernels.h"
#include "lanes.h"

namespace duologue {
namespace DUOLOGUE_ISA {

constexpr int64_t kPanelVectors = 4;
constexpr int64_t kPanelF32 = kPanelVectors * kLanes;
// Rows of one pass: accumulators, weights and a broadcast must fit the vector registers (32 or 16).
#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int64_t kPassRows = 6;
#else
constexpr int64_t kPassRows = 2;
#endif

template <int64_t ROWS>
static void pass_f32(const LinearTask& task, int64_t panel, int64_t row) {
  const int64_t in = task.w.in;
  const float* w = task.w.f32 + panel * kPanelF32 * in;
  const float* x = task.x_f32 + row * in;
  Lanes total[ROWS][kPanelVectors] = {};
  for (int64_t i = 0; i < in; ++i, w += kPanelF32) {
    for (int64_t v = 0; v < kPanelVectors; ++v) {
      const Lanes weights = load(w + v * kLanes);
      for (int64_t r = 0; r < ROWS; ++r) {
        total[r][v] = fma(fill(x[r * in + i]), weights, total[r][v]);
      }
    }
  }
  const int64_t first = panel * kPanelF32;
  for (int64_t r = 0; r < ROWS; ++r) {
    float* y = task.y + (row + r) * task.w.out + first;
    for (int64_t v = 0; v < kPanelVectors; ++v) {
      const int64_t count = task.w.out - first - v * kLanes;
      put(y + v * kLanes, total[r][v], count, task.is_added);
    }
  }
}

void linear_f32(const LinearTask& task, const Tile& tile) {
  for (int64_t panel = tile.panel_begin; panel < tile.panel_end; ++panel) {
    int64_t row = tile.row_begin;
    for (; row + kPassRows <= tile.row_end; row += kPassRows) {
      pass_f32<kPassRows>(task, panel, row);
    }
    for (; row < tile.row_end; ++row) pass_f32<1>(task, panel, row);
  }
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
