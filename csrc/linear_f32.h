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

// One panel with as many rows as a function is made for.
using Pass = void (*)(const LinearTask& task, int64_t panel, int64_t row);

// Runs a tile; passes[n - 1] takes n rows. Rows are dealt evenly (7 are 4 and 3, not 6 and 1), because
// each pass reads the panel once.
static void run_passes(const Pass* passes, int64_t most, const LinearTask& task, const Tile& tile) {
  for (int64_t panel = tile.panel_begin; panel < tile.panel_end; ++panel) {
    for (int64_t row = tile.row_begin; row < tile.row_end;) {
      const int64_t left = tile.row_end - row;
      const int64_t turns = (left + most - 1) / most;
      const int64_t rows = (left + turns - 1) / turns;
      passes[rows - 1](task, panel, row);
      row += rows;
    }
  }
}

// Writes the sums of a panel of kPanelF32 outputs to y, or adds them.
template <int64_t ROWS>
static inline void put_panel(const LinearTask& task, int64_t panel, int64_t row,
                             const Lanes (&total)[ROWS][kPanelVectors]) {
  const int64_t first = panel * kPanelF32;
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    float* y = task.y + (row + r) * task.w.out + first;
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kPanelVectors; ++v) {
      put(y + v * kLanes, total[r][v], task.w.out - first - v * kLanes, task.is_added);
    }
  }
}

template <int64_t ROWS>
static void pass_f32(const LinearTask& task, int64_t panel, int64_t row) {
  const int64_t in = task.w.in;
  const float* w = static_cast<const float*>(task.w.data) + panel * kPanelF32 * in;
  const float* x = task.x_f32 + row * in;
  Lanes total[ROWS][kPanelVectors] = {};
  for (int64_t i = 0; i < in; ++i, w += kPanelF32) {
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kPanelVectors; ++v) {
      const Lanes weights = load(w + v * kLanes);
      DUOLOGUE_UNROLL
      for (int64_t r = 0; r < ROWS; ++r) {
        total[r][v] = fma(fill(x[r * in + i]), weights, total[r][v]);
      }
    }
  }
  put_panel<ROWS>(task, panel, row, total);
}

// Accumulators, weights and a broadcast must fit the vector registers: 32 or 16.
void linear_f32(const LinearTask& task, const Tile& tile) {
#if defined(__AVX512F__) || defined(__ARM_NEON)
  constexpr Pass kPasses[] = {pass_f32<1>, pass_f32<2>, pass_f32<3>,
                              pass_f32<4>, pass_f32<5>, pass_f32<6>};
  run_passes(kPasses, 6, task, tile);
#else
  constexpr Pass kPasses[] = {pass_f32<1>, pass_f32<2>};
  run_passes(kPasses, 2, task, tile);
#endif
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
