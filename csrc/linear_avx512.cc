// y = x W^T for AVX-512 with VNNI: four products of bytes are summed in one instruction.
//
// The instruction wants one side unsigned. Weights are packed with 128 added, so a sum comes out too
// large by 128 times the sum of the row's activations; that is what each accumulator starts from.
#include "linear_f32.h"

namespace duologue {
namespace DUOLOGUE_ISA {

constexpr int64_t kPanelS8 = 64;
constexpr int64_t kVectors = kPanelS8 / 16;

// -128 * sum(x), x [padded to a multiple of 64 with zeros].
static inline int32_t correction(const int8_t* x, int64_t stride) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i total = _mm512_setzero_si512();
  for (int64_t i = 0; i < stride; i += 64) {
    total = _mm512_dpbusd_epi32(total, ones, _mm512_loadu_si512(x + i));
  }
  return -128 * _mm512_reduce_add_epi32(total);
}

template <int64_t ROWS>
static void pass_s8(const LinearTask& task, int64_t panel, int64_t row) {
  const int64_t padded = round_up(task.w.in, 4);
  const uint8_t* w = task.w.s8 + panel * kPanelS8 * padded;
  const int8_t* x = task.x_s8 + row * task.s8_stride;
  __m512i total[ROWS][kVectors];
  for (int64_t r = 0; r < ROWS; ++r) {
    const __m512i start = _mm512_set1_epi32(correction(x + r * task.s8_stride, task.s8_stride));
    for (int64_t v = 0; v < kVectors; ++v) total[r][v] = start;
  }
  for (int64_t i = 0; i < padded; i += 4, w += 4 * kPanelS8) {
    __m512i weights[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) weights[v] = _mm512_loadu_si512(w + 64 * v);
    for (int64_t r = 0; r < ROWS; ++r) {
      int32_t four;
      std::memcpy(&four, x + r * task.s8_stride + i, 4);
      const __m512i inputs = _mm512_set1_epi32(four);
      for (int64_t v = 0; v < kVectors; ++v) {
        total[r][v] = _mm512_dpbusd_epi32(total[r][v], weights[v], inputs);
      }
    }
  }
  const int64_t first = panel * kPanelS8;
  for (int64_t r = 0; r < ROWS; ++r) {
    float* y = task.y + (row + r) * task.w.out + first;
    for (int64_t v = 0; v < kVectors; ++v) {
      const Lanes scale = load(task.w.scale + first + v * kLanes) * task.x_scale[row + r];
      const Lanes sum = _mm512_cvtepi32_ps(total[r][v]);
      put(y + v * kLanes, sum * scale, task.w.out - first - v * kLanes, task.is_added);
    }
  }
}

void linear_s8(const LinearTask& task, const Tile& tile) {
  for (int64_t panel = tile.panel_begin; panel < tile.panel_end; ++panel) {
    int64_t row = tile.row_begin;
    for (; row + kPassRows <= tile.row_end; row += kPassRows) {
      pass_s8<kPassRows>(task, panel, row);
    }
    for (; row < tile.row_end; ++row) pass_s8<1>(task, panel, row);
  }
}

const Kernels kernels = {
    "avx512", kPanelF32,   kPanelS8, 128,    linear_f32, linear_s8,       quantize, rms_norm,
    softmax,  log_softmax, silu_mul, rotate, attend,     attend_additive, gru_cell,
};

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
