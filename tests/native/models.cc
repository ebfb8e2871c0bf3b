// Whole models: turns encoded one by one and ragged batches decoded, on every instruction set.
#include <algorithm>

#include "tiny_model.h"

namespace duologue {

static const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::kF32: return " f32";
    case Precision::kS8: return " s8";
    default: return " s4 and bf16";
  }
}

static void for_each_kind(const std::function<void(Shape, Precision)>& body) {
  for (const Shape shape : kShapes) {
    for (const Precision precision : kPrecisions) body(shape, precision);
  }
}

constexpr int64_t kSteps = 20;  // more than a page of tokens

// Logits [steps, V] of one row by itself.
static std::vector<float> decode_alone(Model& model, const StatePtr& state,
                                       const std::vector<int64_t>& ids) {
  std::vector<float> all;
  for (const int64_t id : ids) {
    const std::vector<float> logits = step(model, {state}, {id});
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

static std::vector<int64_t> tiny_ids(const Model& model) {
  Random random(13);
  return random.ids(kSteps, model.config.vocab_size);
}

static StatePtr start(const std::shared_ptr<Model>& model, size_t num_parts,
                      bool is_recording = false) {
  return std::make_shared<DecoderState>(
      model, encode_parts(model, tiny_parts(*model), num_parts), is_recording);
}

static void instruction_sets_agree() {
  for_each_kind([](Shape shape, Precision precision) {
    const double tolerance = precision == Precision::kF32 ? 1e-4 : 0.05;
    std::vector<double> expected, weights;
    for_each_isa([&](const Kernels& kernels) {
      set_case(std::string(kernels.name) + name_of(shape) + name_of(precision));
      const auto model = tiny_model(shape, precision, kernels.name);
      const StatePtr state = start(model, 5, true);
      const std::vector<float> logits = decode_alone(*model, state, tiny_ids(*model));
      if (expected.empty()) {  // of the first, the portable one
        expected.assign(logits.begin(), logits.end());
        weights.assign(state->record.begin(), state->record.end());
      }
      CHECK(*std::max_element(logits.begin(), logits.end()) > 0.5f);  // there is something to compare
      CHECK_CLOSE(logits, expected, tolerance);
      CHECK_CLOSE(state->record, weights, tolerance);
      CHECK(state->length == kSteps);
    });
  });
}

// Each row of the recorded weights is shared out to all tokens of the memory; where the decoder's own
// tokens take their share, what is left of it.
static void recorded_attention_sums_to_one() {
  for_each_kind([](Shape shape, Precision precision) {
    set_case(std::string(name_of(shape)) + name_of(precision));
    const auto model = tiny_model(shape, precision);
    const StatePtr state = start(model, 5, true);
    decode_alone(*model, state, tiny_ids(*model));
    CHECK(state->num_memory_tokens == 72);
    CHECK(static_cast<int64_t>(state->record.size()) == kSteps * 72);
    std::vector<float> sums(kSteps, 0.0f);
    for (int64_t i = 0; i < kSteps * 72; ++i) sums[i / 72] += state->record[i];
    if (model->config.is_merged) {
      for (const float sum : sums) CHECK(0.0f < sum && sum < 1.0f);
    } else {
      CHECK_CLOSE(sums, std::vector<double>(kSteps, 1.0), 1e-5);
    }
  });
}

// The mean of all heads is what single heads have recorded.
static void heads_are_recorded_one_by_one() {
  for (const Shape shape : {Shape::kTransformer, Shape::kWindows, Shape::kSpeech}) {
    set_case(name_of(shape));
    const auto model = tiny_model(shape, Precision::kF32);
    const StatePtr mean = start(model, 3, true);
    decode_alone(*model, mean, tiny_ids(*model));
    std::vector<Head> heads;
    for (int64_t layer = 0; layer < 2; ++layer) {
      for (int64_t head = 0; head < model->config.num_heads; ++head) heads.push_back({layer, head});
    }
    const auto memory = encode_parts(model, tiny_parts(*model), 3);
    const StatePtr single = std::make_shared<DecoderState>(model, memory, true, heads);
    decode_alone(*model, single, tiny_ids(*model));
    const int64_t tokens = mean->num_memory_tokens, count = static_cast<int64_t>(heads.size());
    std::vector<double> expected(mean->record.begin(), mean->record.end());
    std::vector<float> result(mean->record.size(), 0.0f);
    for (int64_t i = 0; i < static_cast<int64_t>(single->record.size()); ++i) {
      result[i / (count * tokens) * tokens + i % tokens] += single->record[i] / static_cast<float>(count);
    }
    CHECK_CLOSE(result, expected, 1e-6);
    CHECK_THROWS(std::invalid_argument, "none of the decoder's",
                 DecoderState(model, memory, true, {{2, 0}}));
    CHECK_THROWS(std::invalid_argument, "none of the decoder's",
                 DecoderState(model, memory, true, {{0, model->config.num_heads}}));
  }
}

// Row r joins at step r, so that lengths differ as well as memories.
static void a_ragged_batch_has_the_bits_of_each_row_alone() {
  for_each_kind([](Shape shape, Precision precision) {
    for_each_isa([&](const Kernels& kernels) {
      for (const int64_t threads : {1, 3}) {
        set_case(std::string(kernels.name) + name_of(shape) + name_of(precision) + ", threads " +
                 std::to_string(threads));
        const auto model = tiny_model(shape, precision, kernels.name, threads);
        const std::vector<int64_t> ids = tiny_ids(*model);
        const int64_t rows = 5, v = model->config.vocab_size;
        std::vector<std::vector<float>> alone;
        std::vector<StatePtr> states;
        for (int64_t row = 0; row < rows; ++row) {
          alone.push_back(decode_alone(*model, start(model, row), ids));
          states.push_back(start(model, row));
        }
        bool is_equal = true;
        for (int64_t now = 0; now < kSteps; ++now) {
          const int64_t count = std::min(now + 1, rows);
          std::vector<int64_t> batch;
          for (int64_t row = 0; row < count; ++row) batch.push_back(ids[now - row]);
          const std::vector<float> logits =
              step(*model, {states.begin(), states.begin() + count}, batch);
          for (int64_t row = 0; row < count; ++row) {
            const auto expected = alone[row].begin() + (now - row) * v;
            is_equal &= std::equal(expected, expected + v, logits.begin() + row * v);
          }
        }
        CHECK(is_equal);
      }
    });
  });
}

static void a_fork_goes_its_own_way() {
  for_each_kind([](Shape shape, Precision precision) {
    for (const int64_t length : {0, 1, 15, 16, 17}) {
      set_case(std::string(name_of(shape)) + name_of(precision) + ", after " + std::to_string(length));
      const auto model = tiny_model(shape, precision);
      const std::vector<int64_t> ids = tiny_ids(*model);
      const std::vector<int64_t> begin(ids.begin(), ids.begin() + length);
      const auto fresh = [&](int64_t first) {
        const StatePtr state = start(model, 3);
        decode_alone(*model, state, begin);
        return decode_alone(*model, state, {first, 5, 6});
      };
      const StatePtr state = start(model, 3);
      decode_alone(*model, state, begin);
      const StatePtr fork = state->fork();
      std::vector<float> of_state, of_fork;
      for (const auto& [a, b] : std::vector<std::pair<int64_t, int64_t>>{{3, 4}, {5, 5}, {6, 6}}) {
        const std::vector<float> logits = step(*model, {state, fork}, {a, b});
        const auto half = logits.begin() + model->config.vocab_size;
        of_state.insert(of_state.end(), logits.begin(), half);
        of_fork.insert(of_fork.end(), half, logits.end());
      }
      CHECK(is_same(of_state, fresh(3)));
      CHECK(is_same(of_fork, fresh(4)));
      CHECK(!is_same(of_state, of_fork));
    }
  });
}

// Pages that have been used before, with whatever is in them, change nothing that is computed, and what
// an earlier memory held does not end up in a later one.
static void used_pages_leave_nothing_behind() {
  for_each_kind([](Shape shape, Precision precision) {
    set_case(std::string(name_of(shape)) + name_of(precision));
    const auto model = tiny_model(shape, precision);
    const auto bytes = [&] {
      std::vector<uint8_t> all;
      const auto memory = encode_parts(model, tiny_parts(*model), 5);
      for (const SegmentPtr& segment : memory) {
        for (int64_t i = 0; i < segment->pages.count(); ++i) {
          const auto* page = reinterpret_cast<const uint8_t*>(segment->pages[i]);
          all.insert(all.end(), page, page + model->pool->page_bytes());
        }
      }
      const StatePtr state = std::make_shared<DecoderState>(model, memory, false);
      const std::vector<float> logits = decode_alone(*model, state, tiny_ids(*model));
      const auto* start = reinterpret_cast<const uint8_t*>(logits.data());
      all.insert(all.end(), start, start + logits.size() * sizeof(float));
      return all;
    };
    const std::vector<uint8_t> expected = bytes();
    CHECK(model->pool->used_bytes() == 0);
    const int64_t count = model->pool->limit_bytes() / model->pool->page_bytes() / 4;
    {
      const Pages pages(model->pool, count);
      for (int64_t i = 0; i < count; ++i) {
        std::memset(pages[i], 0xFF, static_cast<size_t>(model->pool->page_bytes()));
      }
    }
    CHECK(is_same(bytes(), expected));
    model->pool->check();
  });
}

std::vector<Test> model_tests() {
  return {
      {"models: instruction sets agree", instruction_sets_agree},
      {"models: recorded attention sums to one", recorded_attention_sums_to_one},
      {"models: heads are recorded one by one", heads_are_recorded_one_by_one},
      {"models: a ragged batch has the bits of each row alone",
       a_ragged_batch_has_the_bits_of_each_row_alone},
      {"models: a fork goes its own way", a_fork_goes_its_own_way},
      {"models: used pages leave nothing behind", used_pages_leave_nothing_behind},
  };
}

}  // namespace duologue
