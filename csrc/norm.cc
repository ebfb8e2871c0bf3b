// Functions of one row: quantisation, norms, softmax, activations. Compiled for each instruction
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
    sum += rounded << 24 >> 24;  // the bytes again; of rows that are no numbers, too
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

void layer_norm(const float* x, const float* weight, const float* bias, float* y, int64_t n,
                float eps) {
  const int64_t whole = n - n % kLanes, rest = n % kLanes;
  Lanes total = load_part(x + whole, rest);
  for (int64_t i = 0; i < whole; i += kLanes) total += load(x + i);
  const float mean = sum_lanes(total) / static_cast<float>(n);
  Lanes squares = load_part(x + whole, rest, mean) - mean;
  squares *= squares;
  for (int64_t i = 0; i < whole; i += kLanes) {
    const Lanes centred = load(x + i) - mean;
    squares = fma(centred, centred, squares);
  }
  const float inverse = 1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < whole; i += kLanes) {
    store(y + i, fma((load(x + i) - mean) * inverse, load(weight + i), load(bias + i)));
  }
  for (int64_t i = whole; i < n; ++i) y[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
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

template <class Function>
static void map_row(const float* x, float* y, int64_t n, const Function& function) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, function(load(x + i)));
  if (i < n) store_part(y + i, function(load_part(x + i, n - i)), n - i);
}

template <class Function>
static void activate_row(bool is_gated, const float* x, float* y, int64_t n,
                         const Function& function) {
  if (!is_gated) return map_row(x, y, n, function);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, function(load(x + i)) * load(x + n + i));
  if (i < n) {
    const Lanes gate = function(load_part(x + i, n - i));
    store_part(y + i, gate * load_part(x + n + i, n - i), n - i);
  }
}

// The normal distribution function, with an error below 2e-7. Abramowitz & Stegun 1964, 7.1.26
static Lanes normal(Lanes x) {
  const Lanes a = max(x, -x) * 0.70710678f;
  const Lanes t = 1.0f / (1.0f + 0.3275911f * a);
  Lanes p = fill(1.061405429f);
  p = fma(p, t, fill(-1.453152027f));
  p = fma(p, t, fill(1.421413741f));
  p = fma(p, t, fill(-0.284496736f));
  p = fma(p, t, fill(0.254829592f));
  const Lanes tail = 0.5f * p * t * exp(-a * a);
  return x > 0.0f ? 1.0f - tail : tail;
}

void activate(Activation activation, bool is_gated, const float* x, float* y, int64_t n) {
  switch (activation) {
    case Activation::kSilu:
      return activate_row(is_gated, x, y, n, [](Lanes v) { return v * sigmoid(v); });
    case Activation::kRelu:
      return activate_row(is_gated, x, y, n, [](Lanes v) { return max(v, Lanes{}); });
    case Activation::kGelu:
      return activate_row(is_gated, x, y, n, [](Lanes v) { return v * normal(v); });
    case Activation::kGeluTanh:
      return activate_row(is_gated, x, y, n, [](Lanes v) {
        return v * sigmoid(1.5957691f * (v + 0.044715f * v * v * v));
      });
  }
}

void soft_cap(float* x, int64_t n, float cap) {
  map_row(x, x, n, [&](Lanes v) { return cap * tanh(v / cap); });
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
