// Functions of one row: quantisation, RMSNorm, softmax, activations. Compiled for each instruction
// set; contracts are in core.h.
#include "kernels.h"
#include "lanes.h"

#include <cmath>

namespace duologue {
namespace DUOLOGUE_ISA {

static float max_of(const float* x, int64_t n) {
  constexpr float kLowest = -3.4e38f;
  Lanes top = fill(kLowest);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) top = max(top, load(x + i));
  if (i < n) top = max(top, load_part(x + i, n - i, kLowest));
  return max_lanes(top);
}

void to_pairs(const float* x, uint32_t* pairs, int64_t n) {
  int64_t i = 0;
#if defined(__AVX512BF16__)
  for (; i + 32 <= n; i += 32) {
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    _mm512_storeu_si512(pairs + i / 2, (__m512i)both);
  }
#endif
  for (; i + 1 < n; i += 2) pairs[i / 2] = bf16_pair(x[i], x[i + 1]);
  if (i < n) pairs[i / 2] = bf16_bits(x[i]);
}

QuantizedRow quantize(const float* x, int8_t* q, int64_t n, int64_t padded) {
  Lanes top = Lanes{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) top = max(top, max(load(x + i), -load(x + i)));
  if (i < n) {
    const Lanes part = load_part(x + i, n - i);
    top = max(top, max(part, -part));
  }
  const float largest = max_lanes(top);
  const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
  IntLanes sum = IntLanes{};
  const auto write = [&](Lanes values, int64_t count) {
    const IntLanes rounded = bits(values * inverse + kRoundMagic) - kRoundMagicBits;
    const ByteLanes bytes = __builtin_convertvector(rounded, ByteLanes);
    std::memcpy(q + i, &bytes, count);
    sum += __builtin_convertvector(bytes, IntLanes);  // of rows that are no numbers, too
  };
  for (i = 0; i + kLanes <= n; i += kLanes) write(load(x + i), kLanes);
  if (i < n) write(load_part(x + i, n - i), n - i);
  std::memset(q + n, 0, padded - n);
  QuantizedRow row = {largest / 127.0f, 0};
  for (int64_t lane = 0; lane < kLanes; ++lane) row.sum += sum[lane];
  return row;
}

void rms_norm(const float* x, const float* weight, float* y, int64_t n, float eps) {
  Lanes total = Lanes{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total = fma(load(x + i), load(x + i), total);
  float sum = sum_lanes(total);
  for (; i < n; ++i) sum += x[i] * x[i];
  const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  for (i = 0; i + kLanes <= n; i += kLanes) store(y + i, load(x + i) * inverse * load(weight + i));
  for (; i < n; ++i) y[i] = x[i] * inverse * weight[i];
}

// Writes exp(x - shift) to y and returns the sum.
static float exp_and_sum(const float* x, float* y, int64_t n, float shift) {
  Lanes total = Lanes{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Lanes e = exp(load(x + i) - shift);
    total += e;
    store(y + i, e);
  }
  float sum = sum_lanes(total);
  if (i < n) {
    const Lanes e = exp(load_part(x + i, n - i) - shift);
    store_part(y + i, e, n - i);
    for (int64_t lane = 0; lane < n - i; ++lane) sum += e[lane];
  }
  return sum;
}

void softmax(float* x, int64_t n) {
  const float inverse = 1.0f / exp_and_sum(x, x, n, max_of(x, n));
  for (int64_t i = 0; i < n; ++i) x[i] *= inverse;
}

void log_softmax(const float* x, float* y, int64_t n) {
  const float top = max_of(x, n);
  Lanes total = Lanes{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total += exp(load(x + i) - top);
  float sum = sum_lanes(total);
  for (; i < n; ++i) sum += std::exp(x[i] - top);
  const float log_sum = std::log(sum);
  for (i = 0; i < n; ++i) y[i] = x[i] - top - log_sum;
}

RowScore score(const float* x, int64_t n) {
  const float top = max_of(x, n);
  int64_t best = 0;
  while (best + 1 < n && x[best] != top) ++best;
  Lanes total = Lanes{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total += exp(load(x + i) - top);
  float sum = sum_lanes(total);
  for (; i < n; ++i) sum += std::exp(x[i] - top);
  return {best, top + std::log(sum)};
}

void silu_mul(const float* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Lanes gate = load(x + i);
    store(y + i, gate * sigmoid(gate) * load(x + n + i));
  }
  if (i < n) {
    const Lanes gate = load_part(x + i, n - i);
    store_part(y + i, gate * sigmoid(gate) * load_part(x + n + i, n - i), n - i);
  }
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
