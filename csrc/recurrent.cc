// GRU cell and additive attention. Compiled for each instruction set; contracts are in core.h.
#include "stores.h"

#include <cmath>

namespace duologue {
namespace DUOLOGUE_ISA {

template <class STORE>
static void attend_additive(const AttendTask& task, const float* score) {
  const int64_t d_model = task.width, columns = task.num_spans * kBlock;
  std::memset(task.out, 0, d_model * sizeof(float));
  if (columns == 0) return;
  for (int64_t s = 0; s < task.num_spans; ++s) {
    float* scores = task.scores + s * kBlock;
    for (int64_t lane = 0; lane < kBlock; lane += kLanes) {
      Lanes total = Lanes{};
      for (int64_t j = 0; j < d_model; ++j) {
        const Lanes key = STORE::key(task.spans[s].page, j, lane);
        total = fma(tanh(task.q[j] + key), fill(score[j]), total);
      }
      store(scores + lane, total);
    }
    for (int64_t t = task.spans[s].length; t < kBlock; ++t) scores[t] = -INFINITY;
  }
  softmax(task.scores, columns);
  int64_t stride = columns;
  const typename STORE::Weight* weights = STORE::template weights<1>(task.scores, &stride);
  mix<STORE, 1>(task, weights, stride, 0, round_up(d_model, 2), d_model);
}

void attend_additive_f32(const AttendTask& task, const float* score) {
  attend_additive<StoreF32>(task, score);
}

void attend_additive_bf16(const AttendTask& task, const float* score) {
  attend_additive<StoreBf16>(task, score);
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
