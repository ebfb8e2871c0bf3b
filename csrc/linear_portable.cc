// y = x W^T for any processor: plain loops that a compiler vectorises.
#include "linear_f32.h"

namespace duologue {
namespace DUOLOGUE_ISA {

// A panel is one output: its weights lie in a row, and the sum is a dot product of bytes.
void linear_s8(const LinearTask& task, const Tile& tile) {
  const int64_t padded = round_up(task.w.in, 4);
  for (int64_t o = tile.panel_begin; o < tile.panel_end; ++o) {
    const int8_t* w = reinterpret_cast<const int8_t*>(task.w.s8) + o * padded;
    for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
      const int8_t* x = task.x_s8 + row * task.s8_stride;
      int32_t total = 0;
      for (int64_t i = 0; i < padded; ++i) total += int32_t{x[i]} * int32_t{w[i]};
      const float y = static_cast<float>(total) * (task.x_scale[row] * task.w.scale[o]);
      float& result = task.y[row * task.w.out + o];
      result = task.is_added ? result + y : y;
    }
  }
}

const Kernels kernels = {
    "portable", kPanelF32,   1,        0,      linear_f32, linear_s8,       quantize, rms_norm,
    softmax,    log_softmax, silu_mul, rotate, attend,     attend_additive, gru_cell,
};

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
