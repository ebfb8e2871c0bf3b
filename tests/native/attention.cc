// Keys and values put into pages, and attention over them, against formulas over one array.
#include <algorithm>
#include <cmath>
#include <memory>

#include "model.h"
#include "shared.h"

namespace duologue {

// Tokens of each segment: less than a page, a whole one, several, the last partly empty.
const std::vector<std::vector<int64_t>> kLengths = {{1}, {2}, {16}, {5, 16, 17, 1}, {80}};

// Keys and values [S, D] in pages that an earlier use has filled with what is no number.
class Stored {
 public:
  Stored(const Kernels& kernels, Store store, const std::vector<int64_t>& lengths, int64_t d_model,
         int64_t head_dim, Random& random) {
    for (const int64_t length : lengths) {
      for (int64_t t = 0; t < length; ++t) {
        if (t % kBlock == 0) add_page(page_bytes(store, d_model));
        std::vector<float> key = random.floats(d_model, 2.0f), value = random.floats(d_model, 2.0f);
        const PutTask task = {pages_.back().get(), d_model, head_dim};
        (store == Store::kF32 ? kernels.put_f32 : kernels.put_bf16)(task, t % kBlock, key.data(),
                                                                    value.data());
        ++spans.back().length;
        if (store == Store::kBf16) {
          key = round_to_bf16(key);
          value = round_to_bf16(value);
        }
        keys.insert(keys.end(), key.begin(), key.end());
        values.insert(values.end(), value.begin(), value.end());
        ++num_tokens;
      }
    }
    scores.resize(scores_size(static_cast<int64_t>(spans.size()), d_model));
  }

  AttendTask task(int64_t width) { return attend_task(spans, width, scores.data()); }

  std::vector<Span> spans;
  std::vector<double> keys, values;  // as they can be read back
  int64_t num_tokens = 0;
  std::vector<float> scores;

 private:
  void add_page(int64_t bytes) {
    pages_.emplace_back(new std::byte[static_cast<size_t>(bytes)]);
    std::memset(pages_.back().get(), 0xFF, static_cast<size_t>(bytes));
    spans.push_back({pages_.back().get(), 0});
  }

  std::vector<std::unique_ptr<std::byte[]>> pages_;
};

// The exact softmax of scores.
static std::vector<double> weights_of(std::vector<double> scores) {
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (double& score : scores) sum += score = std::exp(score - top);
  for (double& score : scores) score /= sum;
  return scores;
}

// Where a processor multiplies pairs of bf16, queries and weights are rounded too: 8 bits.
static double tolerance_of(const Kernels& kernels, Store store) {
  return store == Store::kBf16 && kernels.has_bf16_dot ? 1.0 / 256.0 : 3e-6;
}

// The weights that the last call left, without those of what fills up the pages.
static std::vector<float> recorded(const Stored& stored) {
  std::vector<float> weights;
  for (size_t s = 0; s < stored.spans.size(); ++s) {
    const float* start = stored.scores.data() + s * kBlock;
    weights.insert(weights.end(), start, start + stored.spans[s].length);
  }
  return weights;
}

static void check_attend(const Kernels& kernels, Store store, const std::vector<int64_t>& lengths,
                         int64_t head_dim) {
  constexpr int64_t kHeads = 3;
  const int64_t d = kHeads * head_dim, stride = d + 5;
  Random random(7);
  Stored stored(kernels, store, lengths, d, head_dim, random);
  const auto attend = store == Store::kF32 ? kernels.attend_f32 : kernels.attend_bf16;
  for (int64_t rows = 1; rows <= kMaxQueries; ++rows) {
    // The last row of queries and results ends with its last value.
    const std::vector<float> q = round_to_bf16(random.floats((rows - 1) * stride + d));
    std::vector<float> out(static_cast<size_t>((rows - 1) * stride + d), 7.0f);
    std::vector<double> expected(out.begin(), out.end()), last_weights;
    AttendTask task = stored.task(d);
    task.q = q.data();
    task.out = out.data();
    task.q_stride = task.out_stride = stride;
    task.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    for (int64_t head = 0; head < kHeads; ++head) {
      attend(task, head, head_dim, rows);
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<double> scores(static_cast<size_t>(stored.num_tokens));
        for (int64_t t = 0; t < stored.num_tokens; ++t) {
          for (int64_t k = head * head_dim; k < (head + 1) * head_dim; ++k) {
            scores[t] += q[r * stride + k] * stored.keys[t * d + k] / std::sqrt(double(head_dim));
          }
        }
        const std::vector<double> weights = weights_of(scores);
        if (r == 0) last_weights = weights;
        for (int64_t k = head * head_dim; k < (head + 1) * head_dim; ++k) {
          expected[r * stride + k] = 0.0;
          for (int64_t t = 0; t < stored.num_tokens; ++t) {
            expected[r * stride + k] += weights[t] * stored.values[t * d + k];
          }
        }
      }
    }
    CHECK_CLOSE(out, expected, tolerance_of(kernels, store));
    CHECK_CLOSE(recorded(stored), last_weights, tolerance_of(kernels, store));
  }
}

static const char* name_of(Store store) { return store == Store::kF32 ? " f32" : " bf16"; }

static void attend_equals_attention_over_one_array() {
  for_each_isa([](const Kernels& kernels) {
    for (const Store store : {Store::kF32, Store::kBf16}) {
      for (const int64_t head_dim : {2, 6, 16, 30, 64, 70}) {
        for (const std::vector<int64_t>& lengths : kLengths) {
          set_case(std::string(kernels.name) + name_of(store) + " head_dim " +
                   std::to_string(head_dim) + " first length " + std::to_string(lengths[0]));
          check_attend(kernels, store, lengths, head_dim);
        }
      }
    }
  });
}

static void check_additive(const Kernels& kernels, Store store, const std::vector<int64_t>& lengths,
                           int64_t d) {
  Random random(8);
  Stored stored(kernels, store, lengths, d, round_up(d, 2), random);
  const std::vector<float> q = random.floats(d), score = random.floats(d);
  std::vector<float> out(static_cast<size_t>(d), 7.0f);
  AttendTask task = stored.task(d);
  task.q = q.data();
  task.out = out.data();
  (store == Store::kF32 ? kernels.attend_additive_f32
                        : kernels.attend_additive_bf16)(task, score.data());
  std::vector<double> scores(static_cast<size_t>(stored.num_tokens)), expected(out.size());
  for (int64_t i = 0; i < stored.num_tokens * d; ++i) {
    scores[i / d] += score[i % d] * std::tanh(q[i % d] + stored.keys[i]);
  }
  const std::vector<double> weights = weights_of(scores);
  for (int64_t i = 0; i < stored.num_tokens * d; ++i) {
    expected[i % d] += weights[i / d] * stored.values[i];
  }
  CHECK_CLOSE(out, expected, tolerance_of(kernels, store));
  CHECK_CLOSE(recorded(stored), weights, tolerance_of(kernels, store));
}

static void additive_attention_is_its_formula() {
  for_each_isa([](const Kernels& kernels) {
    for (const Store store : {Store::kF32, Store::kBf16}) {
      for (const int64_t d : {1, 2, 7, 16, 33, 64, 130}) {
        for (const std::vector<int64_t>& lengths : kLengths) {
          set_case(std::string(kernels.name) + name_of(store) + " width " + std::to_string(d) +
                   " first length " + std::to_string(lengths[0]));
          check_additive(kernels, store, lengths, d);
        }
      }
    }
  });
}

// A step that failed half way is taken again.
static void putting_a_token_again_replaces_it() {
  for_each_isa([](const Kernels& kernels) {
    set_case(kernels.name);
    Random random(10);
    for (const auto put : {kernels.put_f32, kernels.put_bf16}) {
      std::vector<float> once(static_cast<size_t>(page_bytes(Store::kF32, 8) / 4)), twice = once;
      for (int64_t t = 0; t < 4; ++t) {
        const std::vector<float> row = random.floats(8), other = random.floats(8);
        put({once.data(), 8, 4}, t, row.data(), row.data());
        put({twice.data(), 8, 4}, t, other.data(), other.data());
        put({twice.data(), 8, 4}, t, row.data(), row.data());
      }
      CHECK(is_same(once, twice));
    }
  });
}

static void attention_to_nothing_is_zero() {
  for_each_isa([](const Kernels& kernels) {
    set_case(kernels.name);
    Random random(9);
    const std::vector<float> q = random.floats(kMaxQueries * 8);
    std::vector<float> scores(static_cast<size_t>(scores_size(0, 8)));
    for (const auto attend : {kernels.attend_f32, kernels.attend_bf16}) {
      std::vector<float> out(q.size(), 7.0f);
      AttendTask task = attend_task({}, 8, scores.data());
      task.q = q.data();
      task.out = out.data();
      for (int64_t head = 0; head < 2; ++head) attend(task, head, 4, kMaxQueries);
      CHECK(is_same(out, std::vector<float>(q.size(), 0.0f)));
    }
    for (const auto attend : {kernels.attend_additive_f32, kernels.attend_additive_bf16}) {
      std::vector<float> out(8, 7.0f);
      AttendTask task = attend_task({}, 8, scores.data());
      task.q = q.data();
      task.out = out.data();
      attend(task, q.data());
      CHECK(is_same(out, std::vector<float>(8, 0.0f)));
    }
  });
}

std::vector<Test> attention_tests() {
  return {
      {"attention: over pages equals attention over one array", attend_equals_attention_over_one_array},
      {"attention: the additive one is its formula", additive_attention_is_its_formula},
      {"attention: putting a token again replaces it", putting_a_token_again_replaces_it},
      {"attention: to nothing is zero", attention_to_nothing_is_zero},
  };
}

}  // namespace duologue
