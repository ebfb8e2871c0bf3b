// The output product: the one matrix whose size is the vocabulary's, two fifths of a decoding step.
#include <algorithm>
#include <cmath>

#include "model.h"

namespace duologue {

// Errors of coarse logits are sums of many small ones, near a normal distribution; an id is looked at
// exactly unless it would have to be off by so many standard deviations, and the best one as well.
constexpr float kDeviations = 6.0f;
// With more rows the exact product reads its weights once for all of them, and each row wants panels of
// its own.
constexpr int64_t kMaxRows = 1;

Sketch make_sketch(const Kernels& kernels, const WeightView& weight, Arena& arena) {
  const int64_t out = weight.shape[0], in = weight.shape[1];
  const int64_t groups = (in + kGroup - 1) / kGroup, bytes = (in + 1) / 2;
  std::vector<uint8_t> nibbles(static_cast<size_t>(out * bytes));
  std::vector<float> scale(static_cast<size_t>(out * groups));
  Sketch sketch;
  sketch.error.resize(static_cast<size_t>(out));
  for (int64_t o = 0; o < out; ++o) {
    const int8_t* row = weight.s8 + o * in;
    double squares = 0.0;
    for (int64_t begin = 0; begin < in; begin += kGroup) {
      const int64_t end = std::min(begin + kGroup, in);
      int largest = 1;
      for (int64_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(int{row[i]}));
      const float step = static_cast<float>(largest) / 7.5f;  // ends at -8 and 7: a little is cut off
      scale[o * groups + begin / kGroup] = step * weight.scale[o];
      for (int64_t i = begin; i < end; ++i) {
        const float value = static_cast<float>(row[i]);
        const int nibble = std::clamp(static_cast<int>(std::lrint(value / step)), -8, 7);
        nibbles[o * bytes + i / 2] |= static_cast<uint8_t>((nibble + 8) << (i % 2 * 4));
        const double off = value - static_cast<float>(nibble) * step;
        squares += off * off;
      }
    }
    sketch.error[o] =
        weight.scale[o] * static_cast<float>(std::sqrt(squares / static_cast<double>(in)));
  }
  WeightView view;
  view.s4 = nibbles.data();
  view.scale = scale.data();
  view.shape = weight.shape;
  sketch.weight = Linear(kernels, view, arena);
  return sketch;
}

// Appends the panels of the exact matrix in which some id of this row could be the best.
static void add_panels(const Model& model, const float* x, const float* coarse, int64_t panel,
                       std::vector<bool>& is_wanted) {
  const int64_t d = model.config.d_model, v = model.config.vocab_size;
  const float* error = model.weights.sketch.error.data();
  double squares = 0.0;
  for (int64_t j = 0; j < d; ++j) squares += double{x[j]} * x[j];
  const float reach = kDeviations * static_cast<float>(std::sqrt(squares));
  float least = -INFINITY;
  for (int64_t o = 0; o < v; ++o) least = std::max(least, coarse[o] - reach * error[o]);
  for (int64_t o = 0; o < v; ++o) {
    if (coarse[o] + reach * error[o] >= least) is_wanted[static_cast<size_t>(o / panel)] = true;
  }
}

// All logits as they are.
static void multiply(Model& model, const float* x, int64_t rows, float* logits) {
  const int64_t v = model.config.vocab_size;
  const std::vector<float>& bias = model.weights.output_bias;
  const bool has_bias = !bias.empty();
  for (int64_t row = 0; has_bias && row < rows; ++row) {
    std::copy(bias.begin(), bias.end(), logits + row * v);
  }
  linear(model.runtime, model.output(), x, logits, rows, /*is_added=*/has_bias);
  const float cap = model.config.logit_soft_cap;
  if (cap == 0.0f) return;
  for_rows(model.runtime, rows,
           [&](int64_t row) { model.runtime.kernels.soft_cap(logits + row * v, v, cap); });
}

void output_logits(Model& model, const float* x, int64_t rows, float* logits) {
  const Linear& exact = model.output();
  if (!model.weights.sketch.is_used() || rows > kMaxRows) {
    multiply(model, x, rows, logits);
    return;
  }
  linear(model.runtime, model.weights.sketch.weight, x, logits, rows);
  const int64_t panel = exact.panel(), panels = (exact.out() + panel - 1) / panel;
  std::vector<bool> is_wanted(static_cast<size_t>(panels));
  for (int64_t row = 0; row < rows; ++row) {
    add_panels(model, x + row * model.config.d_model, logits + row * model.config.vocab_size, panel,
               is_wanted);
  }
  std::vector<int64_t> wanted;
  for (int64_t index = 0; index < panels; ++index) {
    if (is_wanted[static_cast<size_t>(index)]) wanted.push_back(index);
  }
  linear_panels(model.runtime, exact, logits, rows, wanted);
}

}  // namespace duologue
