// y = x W^T for any processor: plain loops that a compiler vectorises.
#include "linear_bf16.h"
#include "linear_s4.h"

namespace duologue {
namespace DUOLOGUE_ISA {

constexpr int64_t kChunk = 1024;  // inputs widened at a time
constexpr int64_t kRows = 8;      // rows that share one widening

static int32_t dot(const int16_t* w, const int8_t* x, int64_t n) {
  int32_t total = 0;
  for (int64_t i = 0; i < n; ++i) total += int32_t{w[i]} * int32_t{x[i]};
  return total;
}

// A panel is one output: its weights lie in a row. They are widened to 16 bits first, because then
// compilers find the instruction that multiplies and adds pairs, which every x86-64 has.
void linear_s8(const LinearTask& task, const Tile& tile) {
  const int64_t padded = round_up(task.w.in, 4);
  int16_t wide[kChunk];
  for (int64_t o = tile.panel_begin; o < tile.panel_end; ++o) {
    const int8_t* w = static_cast<const int8_t*>(task.w.data) + o * padded;
    for (int64_t row = tile.row_begin; row < tile.row_end; row += kRows) {
      const int64_t rows = tile.row_end - row < kRows ? tile.row_end - row : kRows;
      const int8_t* x = task.x_s8 + row * task.s8_stride;
      int32_t total[kRows] = {};
      for (int64_t begin = 0; begin < padded; begin += kChunk) {
        const int64_t n = padded - begin < kChunk ? padded - begin : kChunk;
        for (int64_t i = 0; i < n; ++i) wide[i] = w[begin + i];
        for (int64_t r = 0; r < rows; ++r) total[r] += dot(wide, x + r * task.s8_stride + begin, n);
      }
      for (int64_t r = 0; r < rows; ++r) {
        const float scale = task.x_rows[row + r].scale * task.w.scale[o];
        float& y = task.y[(row + r) * task.w.out + o];
        y = (task.is_added ? y : 0.0f) + static_cast<float>(total[r]) * scale;
      }
    }
  }
}

const Kernels kernels = make_kernels("portable", kPanelF32, 1, kPanelS4, 0);

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
