// y = x W^T for AVX2 with FMA: signed bytes are widened to 16 bits and multiplied in pairs.
#include "linear_bf16.h"
#include "linear_s4.h"

namespace duologue {
namespace DUOLOGUE_ISA {

constexpr int64_t kPanelS8 = 16;
constexpr int64_t kQuads = kPanelS8 / 4;  // one vector holds 4 outputs with 4 inputs each

// Adds neighbours: partial sums of outputs 0-3 and 4-7, two each, become 8 sums in order.
static inline IntLanes join(IntLanes low, IntLanes high) {
  return (IntLanes)_mm256_permute4x64_epi64(_mm256_hadd_epi32((__m256i)low, (__m256i)high), 0xD8);
}

template <int64_t ROWS>
static void pass_s8(const LinearTask& task, int64_t panel, int64_t row) {
  const int64_t padded = round_up(task.w.in, 4);
  const uint8_t* w = static_cast<const uint8_t*>(task.w.data) + panel * kPanelS8 * padded;
  const int8_t* x = task.x_s8 + row * task.s8_stride;
  IntLanes total[ROWS][kQuads] = {};
  for (int64_t i = 0; i < padded; i += 4, w += 4 * kPanelS8) {
    __m256i inputs[ROWS];
    DUOLOGUE_UNROLL
    for (int64_t r = 0; r < ROWS; ++r) {
      int32_t four;
      std::memcpy(&four, x + r * task.s8_stride + i, 4);
      inputs[r] = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
    }
    DUOLOGUE_UNROLL
    for (int64_t q = 0; q < kQuads; ++q) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w + 16 * q));
      const __m256i weights = _mm256_cvtepi8_epi16(bytes);
      DUOLOGUE_UNROLL
      for (int64_t r = 0; r < ROWS; ++r) {
        total[r][q] += (IntLanes)_mm256_madd_epi16(weights, inputs[r]);
      }
    }
  }
  const int64_t first = panel * kPanelS8;
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    float* y = task.y + (row + r) * task.w.out + first;
    DUOLOGUE_UNROLL
    for (int64_t h = 0; h < kQuads / 2; ++h) {
      const IntLanes sum = join(total[r][2 * h], total[r][2 * h + 1]);
      const Lanes scale = load(task.w.scale + first + h * kLanes) * task.x_rows[row + r].scale;
      put(y + h * kLanes, __builtin_convertvector(sum, Lanes) * scale, task.w.out - first - h * kLanes, task.is_added);
    }
  }
}

void linear_s8(const LinearTask& task, const Tile& tile) {
  constexpr Pass kPasses[] = {pass_s8<1>, pass_s8<2>};
  run_passes(kPasses, 2, task, tile);
}

const Kernels kernels = make_kernels("avx2", kPanelF32, kPanelS8, kPanelS4, 0);

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
