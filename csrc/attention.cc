// Rotary positions, stored keys and values, and scaled dot-product attention over them. Compiled for
// each instruction set; contracts are in core.h.
#include "stores.h"

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

void put_f32(const PutTask& task, int64_t index, const float* key, const float* value) {
  const int64_t d = task.width, width = round_up(d, 2);
  float* keys = static_cast<float*>(task.page) + index;
  for (int64_t j = 0; j < d; ++j) keys[j * kBlock] = key[j];
  const int64_t row = task.head_dim < d ? task.head_dim : d;
  for (int64_t j = 0; j < d; j += row) {
    float* values = static_cast<float*>(task.page) + kBlock * (width + j) + index * task.head_dim;
    std::memcpy(values, value + j, row * sizeof(float));
  }
}

// The value of an odd token shares its lanes with the token before it, which was put first and left
// its half of them zero: so what lies behind the last token of a page is a zero, and no number that
// an earlier use of the page left there.
void put_bf16(const PutTask& task, int64_t index, const float* key, const float* value) {
  const int64_t d = task.width, width = round_up(d, 2);
  uint32_t* keys = static_cast<uint32_t*>(task.page) + index;
  int64_t done = 0;
  for (; done + kLanes <= d; done += kLanes) {
    uint32_t rounded[kLanes];
    const IntLanes lanes = round_bf16(load(key + done));
    std::memcpy(rounded, &lanes, sizeof(rounded));
    for (int64_t j = 0; j < kLanes; j += 2) {
      keys[(done + j) / 2 * kBlock] = rounded[j] >> 16 | rounded[j + 1];
    }
  }
  for (; done + 1 < d; done += 2) keys[done / 2 * kBlock] = bf16_pair(key[done], key[done + 1]);
  if (done < d) keys[d / 2 * kBlock] = bf16_bits(key[done]);
  const int64_t row = task.head_dim < d ? task.head_dim : d;
  for (int64_t j = 0; j < d; j += row) {
    uint32_t* values = static_cast<uint32_t*>(task.page) + kBlock / 2 * (width + j) +
                       index / 2 * task.head_dim;
    if (index % 2 == 0) {
      for (int64_t i = 0; i < row; ++i) values[i] = bf16_bits(value[j + i]);
    } else {
      for (int64_t i = 0; i < row; ++i) {
        values[i] = (values[i] & 0xFFFFu) | bf16_bits(value[j + i]) << 16;
      }
    }
  }
}

// Pages whose keys are scored together: enough sums side by side to hide that each must wait for
// the one before it.
constexpr int64_t kPages = kLanes == 16 ? 4 : 1;

// scores[r][p][0..kBlock) = scale * q_r . keys of PAGES pages.
template <class STORE, int64_t ROWS, int64_t PAGES>
static void score_pages(const typename STORE::Query* q, int64_t q_stride, const Span* spans,
                        int64_t offset, int64_t steps, float scale, float* scores, int64_t stride) {
  Lanes total[ROWS][PAGES * kBlockVectors] = {};
  const typename STORE::Element* keys[PAGES];
  DUOLOGUE_UNROLL
  for (int64_t p = 0; p < PAGES; ++p) keys[p] = STORE::keys(spans[p].page) + offset;
  for (int64_t j = 0; j < steps; ++j) {
    typename STORE::Loaded loaded[PAGES * kBlockVectors];
    DUOLOGUE_UNROLL
    for (int64_t p = 0; p < PAGES; ++p) {
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < kBlockVectors; ++v) {
        loaded[p * kBlockVectors + v] = STORE::load(keys[p] + j * kBlock + v * kLanes);
      }
    }
    DUOLOGUE_UNROLL
    for (int64_t r = 0; r < ROWS; ++r) {
      const typename STORE::Factor factor = STORE::factor(q + r * q_stride, j);
      DUOLOGUE_UNROLL
      for (int64_t v = 0; v < PAGES * kBlockVectors; ++v) {
        total[r][v] = STORE::add_product(total[r][v], loaded[v], factor);
      }
    }
  }
  DUOLOGUE_UNROLL
  for (int64_t r = 0; r < ROWS; ++r) {
    DUOLOGUE_UNROLL
    for (int64_t v = 0; v < PAGES * kBlockVectors; ++v) {
      store(scores + r * stride + v * kLanes, total[r][v] * scale);
    }
  }
}

// What query r's scores [stride] go through before the softmax.
static void adjust(const AttendTask& task, int64_t r, float* scores, int64_t stride) {
  if (task.soft_cap != 0.0f) soft_cap(scores, stride, task.soft_cap);
  if (task.bias == nullptr) return;
  const float* bias = task.bias - r;
  for (int64_t t = 0; t < task.biased_spans * kBlock; t += kLanes) {
    store(scores + t, load(scores + t) + load(bias + t));
  }
}

template <class STORE, int64_t ROWS>
static void score_all(const AttendTask& task, const typename STORE::Query* q, int64_t q_stride,
                      int64_t head, int64_t head_dim, int64_t stride) {
  const int64_t offset = head / task.group * STORE::key_steps(head_dim) * kBlock;
  const int64_t steps = STORE::key_steps(head_dim);
  int64_t s = 0;
  for (; s + kPages <= task.num_spans; s += kPages) {
    score_pages<STORE, ROWS, kPages>(q, q_stride, task.spans + s, offset, steps, task.scale,
                                     task.scores + s * kBlock, stride);
  }
  for (; s < task.num_spans; ++s) {
    score_pages<STORE, ROWS, 1>(q, q_stride, task.spans + s, offset, steps, task.scale,
                                task.scores + s * kBlock, stride);
  }
  for (int64_t r = 0; r < ROWS; ++r) adjust(task, r, task.scores + r * stride, stride);
  // What fills up a page is no token: its weight must vanish.
  for (s = 0; s < task.num_spans; ++s) {
    for (int64_t t = task.spans[s].length; t < kBlock; ++t) {
      for (int64_t r = 0; r < ROWS; ++r) task.scores[r * stride + s * kBlock + t] = -INFINITY;
    }
  }
}

template <class STORE, int64_t ROWS>
static void attend_rows(const AttendTask& task, int64_t head, int64_t head_dim) {
  const int64_t stride = task.num_spans * kBlock;
  const int64_t base = head * head_dim;
  int64_t q_stride = task.q_stride;
  const typename STORE::Query* q =
      STORE::template queries<ROWS>(task.q + base, &q_stride, head_dim, task.scores, stride);
  score_all<STORE, ROWS>(task, q, q_stride, head, head_dim, stride);
  for (int64_t r = 0; r < ROWS; ++r) softmax(task.scores + r * stride, stride);

  int64_t weight_stride = stride;
  const typename STORE::Weight* weights =
      STORE::template weights<ROWS>(task.scores, &weight_stride);
  mix<STORE, ROWS>(task, weights, weight_stride, head, head_dim, head_dim);
}

template <class STORE>
static void attend(const AttendTask& task, int64_t head, int64_t head_dim, int64_t num_queries) {
  if (task.num_spans == 0) {
    for (int64_t r = 0; r < num_queries; ++r) {
      std::memset(task.out + r * task.out_stride + head * head_dim, 0, head_dim * sizeof(float));
    }
    return;
  }
  switch (num_queries) {
    case 1: return attend_rows<STORE, 1>(task, head, head_dim);
    case 2: return attend_rows<STORE, 2>(task, head, head_dim);
    case 3: return attend_rows<STORE, 3>(task, head, head_dim);
    default: return attend_rows<STORE, kMaxQueries>(task, head, head_dim);
  }
}

void attend_f32(const AttendTask& task, int64_t head, int64_t head_dim, int64_t num_queries) {
  attend<StoreF32>(task, head, head_dim, num_queries);
}

void attend_bf16(const AttendTask& task, int64_t head, int64_t head_dim, int64_t num_queries) {
  attend<StoreBf16>(task, head, head_dim, num_queries);
}

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
