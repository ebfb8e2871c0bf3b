// Rotary positions and scaled dot-product attention over spans of stored keys and values. Compiled
// for each instruction set; contracts are in core.h.
#include "kernels.h"
#include "lanes.h"

#include <cmath>

namespace duologue {
namespace DUOLOGUE_ISA {

void rotate(float* x, const float* cosine, const float* sine, int64_t heads, int64_t head_dim) {
  const int64_t half = head_dim / 2;
  for (int64_t head = 0; head < heads; ++head) {
    float* first = x + head * head_dim;
    float* second = first + half;
    for (int64_t j = 0; j < half; ++j) {
      const float a = first[j], b = second[j];
      first[j] = a * cosine[j] - b * sine[j];
      second[j] = b * cosine[j] + a * sine[j];
    }
  }
}

constexpr int64_t kBlockVectors = kBlock / kLanes;
// Vectors of a head that are summed at once: as many as the registers hold for all queries.
constexpr int64_t kValueVectors = kLanes == 16 ? 4 : 2;

// scores[r][0..kBlock) = scale * q_r . keys of one block; `keys` is the block's part of this head.
template <int64_t ROWS>
static void score_block(const AttendTask& task, const float* q, const float* keys, int64_t head_dim,
                        float scale, float* scores, int64_t stride) {
  Lanes total[ROWS][kBlockVectors] = {};
  for (int64_t j = 0; j < head_dim; ++j) {
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kBlockVectors; ++v) {
      const Lanes key = load(keys + j * kBlock + v * kLanes);
      DUOLOGUE_UNROLL
      for (int64_t r = 0; r < ROWS; ++r) {
        total[r][v] = fma(fill(q[r * task.q_stride + j]), key, total[r][v]);
      }
    }
  }
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < kBlockVectors; ++v) {
      store(scores + r * stride + v * kLanes, total[r][v] * scale);
    }
  }
}

// out_r[c..c + VECTORS * kLanes) = sum over all tokens of weight_r[token] * value[token].
template <int64_t ROWS, int64_t VECTORS>
static void mix_values(const AttendTask& task, const float* weights, int64_t stride, int64_t column,
                       float* out) {
  Lanes total[ROWS][VECTORS] = {};
  for (int64_t s = 0; s < task.num_spans; ++s) {
    const Span& span = task.spans[s];
    for (int64_t t = 0; t < span.length; ++t) {
      const float* value = span.values + t * task.d_model + column;
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < VECTORS; ++v) {
        const Lanes x = load(value + v * kLanes);
        DUOLOGUE_UNROLL
        for (int64_t r = 0; r < ROWS; ++r) {
          total[r][v] = fma(fill(weights[r * stride + t]), x, total[r][v]);
        }
      }
    }
    weights += round_up(span.length, kBlock);
  }
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < VECTORS; ++v) {
      store(out + r * task.out_stride + v * kLanes, total[r][v]);
    }
  }
}

// The same for the last few columns of a head that do not fill a vector.
static void mix_values_part(const AttendTask& task, const float* weights, int64_t column,
                            int64_t count, float* out) {
  float total[kLanes] = {};
  for (int64_t s = 0; s < task.num_spans; ++s) {
    const Span& span = task.spans[s];
    for (int64_t t = 0; t < span.length; ++t) {
      const float* value = span.values + t * task.d_model + column;
      for (int64_t c = 0; c < count; ++c) total[c] += weights[t] * value[c];
    }
    weights += round_up(span.length, kBlock);
  }
  for (int64_t c = 0; c < count; ++c) out[c] = total[c];
}

template <int64_t ROWS>
static void attend_rows(const AttendTask& task, int64_t head, int64_t head_dim) {
  int64_t stride = 0;
  for (int64_t s = 0; s < task.num_spans; ++s) stride += round_up(task.spans[s].length, kBlock);
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  const float* q = task.q + head * head_dim;
  float* out = task.out + head * head_dim;

  int64_t column = 0;
  for (int64_t s = 0; s < task.num_spans; ++s) {
    const Span& span = task.spans[s];
    for (int64_t t = 0; t < span.length; t += kBlock, column += kBlock) {
      const float* keys = span.keys + t * task.d_model + head * head_dim * kBlock;
      score_block<ROWS>(task, q, keys, head_dim, scale, task.scores + column, stride);
    }
    // What fills up the last block is no token: its weight must vanish.
    DUOLOGUE_UNROLL
    for (int64_t r = 0; r < ROWS; ++r) {
      float* end = task.scores + r * stride + column;
      for (int64_t pad = round_up(span.length, kBlock) - span.length; pad > 0; --pad) {
        end[-pad] = -INFINITY;
      }
    }
  }
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) softmax(task.scores + r * stride, stride);

  int64_t c = 0;
  const int64_t base = head * head_dim;
  for (; c + kValueVectors * kLanes <= head_dim; c += kValueVectors * kLanes) {
    mix_values<ROWS, kValueVectors>(task, task.scores, stride, base + c, out + c);
  }
  for (; c + kLanes <= head_dim; c += kLanes) {
    mix_values<ROWS, 1>(task, task.scores, stride, base + c, out + c);
  }
  for (int64_t r = 0; c < head_dim && r < ROWS; ++r) {
    mix_values_part(task, task.scores + r * stride, base + c, head_dim - c,
                    out + r * task.out_stride + c);
  }
}

void attend(const AttendTask& task, int64_t head, int64_t head_dim, int64_t num_queries) {
  if (task.num_spans == 0) {
    for (int64_t r = 0; r < num_queries; ++r) {
      std::memset(task.out + r * task.out_stride + head * head_dim, 0, head_dim * sizeof(float));
    }
    return;
  }
  switch (num_queries) {
    case 1: return attend_rows<1>(task, head, head_dim);
    case 2: return attend_rows<2>(task, head, head_dim);
    case 3: return attend_rows<3>(task, head, head_dim);
    default: return attend_rows<kMaxQueries>(task, head, head_dim);
  }
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
