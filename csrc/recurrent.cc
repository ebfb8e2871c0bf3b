// GRU cell and additive attention. Compiled for each instruction set; contracts are in core.h.
#include "kernels.h"
#include "lanes.h"

#include <cmath>

namespace duologue {
namespace DUOLOGUE_ISA {

void attend_additive(const AttendTask& task, const float* score) {
  const int64_t d_model = task.d_model;
  int64_t column = 0;
  for (int64_t s = 0; s < task.num_spans; ++s) {
    const Span& span = task.spans[s];
    for (int64_t t = 0; t < span.length; t += kBlock, column += kBlock) {
      const float* keys = span.keys + t * d_model;
      for (int64_t lane = 0; lane < kBlock; lane += kLanes) {
        Lanes total = Lanes{};
        for (int64_t j = 0; j < d_model; ++j) {
          total = fma(tanh(task.q[j] + load(keys + j * kBlock + lane)), fill(score[j]), total);
        }
        store(task.scores + column + lane, total);
      }
    }
    for (int64_t pad = round_up(span.length, kBlock) - span.length; pad > 0; --pad) {
      task.scores[column - pad] = -INFINITY;
    }
  }
  std::memset(task.out, 0, d_model * sizeof(float));
  if (column == 0) return;
  softmax(task.scores, column);

  const float* weights = task.scores;
  for (int64_t s = 0; s < task.num_spans; ++s) {
    const Span& span = task.spans[s];
    for (int64_t t = 0; t < span.length; ++t) {
      const float* value = span.values + t * d_model;
      for (int64_t j = 0; j < d_model; ++j) task.out[j] += weights[t] * value[j];
    }
    weights += round_up(span.length, kBlock);
  }
}

void gru_cell(const float* gate_x, const float* gate_h, const float* bias_x, const float* bias_h,
              float* h, int64_t n) {
  const auto step = [](Lanes reset, Lanes update, Lanes new_x, Lanes new_h, Lanes old) {
    const Lanes fresh = tanh(fma(sigmoid(reset), new_h, new_x));
    return fma(sigmoid(update), old - fresh, fresh);
  };
  const auto gate = [&](const float* product, const float* bias, int64_t at, int64_t count) {
    if (count == kLanes) return load(product + at) + load(bias + at);
    return load_part(product + at, count) + load_part(bias + at, count);
  };
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    const Lanes reset = gate(gate_x, bias_x, i, count) + gate(gate_h, bias_h, i, count);
    const Lanes update = gate(gate_x, bias_x, n + i, count) + gate(gate_h, bias_h, n + i, count);
    const Lanes new_x = gate(gate_x, bias_x, 2 * n + i, count);
    const Lanes new_h = gate(gate_h, bias_h, 2 * n + i, count);
    const Lanes old = load_part(h + i, count);
    store_part(h + i, step(reset, update, new_x, new_h, old), count);
  }
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
