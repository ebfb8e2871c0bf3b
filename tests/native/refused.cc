// What native code refuses: one exception of the documented class, and nothing has changed.
#include <cmath>
#include <limits>

#include "tiny_model.h"

namespace duologue {

using Views = std::map<std::string, WeightView>;
using std::invalid_argument;

static const Kernels& portable() { return select_kernels("portable"); }

static void encoding_refuses() {
  for (const Shape shape : kOurs) {
    const auto model = tiny_model(shape, Precision::kF32);
    const Config& config = model->config;
    const std::vector<SegmentPtr> memory = {encode(model, {}, {1, 2}, false)};
    CHECK_THROWS(invalid_argument, "at least one id", Encoding(model, memory, {}, false));
    CHECK_THROWS(invalid_argument, "id 71 is outside the vocabulary of 71",
                 Encoding(model, memory, {1, config.vocab_size}, false));
    CHECK_THROWS(invalid_argument, "id -1 is outside", Encoding(model, memory, {-1}, true));
    CHECK_THROWS(invalid_argument, "81 tokens, more than max_positions, 80",
                 Encoding(model, memory, std::vector<int64_t>(79, 1), false));
    CHECK_THROWS(invalid_argument, "another shape", Encoding(model, {nullptr}, {1}, false));
    Encoding unfinished(model, memory, {1, 2, 3}, false);
    CHECK_THROWS(invalid_argument, "not been encoded to its end", unfinished.segment());

    const auto other_shape = shape == Shape::kGru ? Shape::kTransformer : Shape::kGru;
    for (const auto& other :
         {tiny_model(other_shape, Precision::kF32), tiny_model(shape, Precision::kS8)}) {
      CHECK_THROWS(invalid_argument, "another shape", Encoding(other, memory, {1}, false));
      CHECK_THROWS(invalid_argument, "another shape", DecoderState(other, memory, false));
    }
    CHECK_THROWS(invalid_argument, "another shape", DecoderState(model, {nullptr}, false));
  }
}

static void encoding_refuses_what_the_front_end_cannot_take() {
  const auto reader = tiny_model(Shape::kPost, Precision::kF32);
  const auto hearer = tiny_model(Shape::kSpeech, Precision::kF32);
  const std::vector<SegmentPtr> memory = {encode(reader, {}, {1, 2}, false)};
  CHECK_THROWS(invalid_argument, "the memory must be empty", Encoding(reader, memory, {1}, false));
  CHECK_THROWS(invalid_argument, "it hears no frames", Encoding(reader, {1.0f}));
  CHECK_THROWS(invalid_argument, "it reads no ids", Encoding(hearer, {}, {1}, false));
  CHECK_THROWS(invalid_argument, "at least one frame", Encoding(hearer, std::vector<float>()));
  CHECK_THROWS(invalid_argument, "mel_bins values each", Encoding(hearer, std::vector<float>(8)));
  CHECK_THROWS(invalid_argument, "81 tokens, more than max_positions, 80",
               Encoding(hearer, std::vector<float>(7 * 161)));
}

static void decode_step_refuses() {
  for (const Shape shape : kOurs) {
    const auto model = tiny_model(shape, Precision::kS8);
    const auto other = tiny_model(shape, Precision::kS8);
    const auto start = [](const auto& owner) {
      return std::make_shared<DecoderState>(owner, std::vector<SegmentPtr>(), true);
    };
    const StatePtr state = start(model), second = start(model);
    const std::vector<float> before = step(*model, {state->fork()}, {3});
    CHECK_THROWS(invalid_argument, "at least one state", step(*model, {}, {}));
    CHECK_THROWS(invalid_argument, "one id for each state", step(*model, {state, second}, {1}));
    CHECK_THROWS(invalid_argument, "one id for each state", step(*model, {state}, {1, 2}));
    CHECK_THROWS(invalid_argument, "outside the vocabulary", step(*model, {state, second}, {1, 71}));
    CHECK_THROWS(invalid_argument, "outside the vocabulary", step(*model, {state}, {-1}));
    CHECK_THROWS(invalid_argument, "twice", step(*model, {state, state}, {1, 2}));
    CHECK_THROWS(invalid_argument, "another model", step(*model, {state, start(other)}, {1, 2}));
    CHECK_THROWS(invalid_argument, "another model", step(*model, {state, nullptr}, {1, 2}));
    CHECK(state->length == 0 && second->length == 0);
    CHECK(is_same(step(*model, {state}, {3}), before));
    for (int64_t t = 1; t < model->config.max_positions; ++t) step(*model, {state}, {1});
    CHECK_THROWS(invalid_argument, "longer than target_positions, 80", step(*model, {state}, {1}));
  }
}

static void a_full_cache_refuses() {
  const int64_t page = page_bytes(Store::kBf16, tiny_config(Shape::kTransformer).d_model);
  const auto model = tiny_model(Shape::kTransformer, Precision::kS8, "", 1, 10 * page);
  const std::vector<SegmentPtr> memory = {encode(model, {}, std::vector<int64_t>(17, 1), false)};
  CHECK(model->pool->used_bytes() == 8 * page);  // 2 blocks in 2 + 2 layers
  CHECK_THROWS(CacheFullError, "the cache is full", Encoding(model, memory, {1}, false));
  // The pages of the decoder's layers fit, those for the document's own layer do not any more.
  CHECK_THROWS(CacheFullError, "the cache is full", Encoding(model, memory, {1}, true));
  const StatePtr first = std::make_shared<DecoderState>(model, memory, false);
  const StatePtr second = std::make_shared<DecoderState>(model, memory, false);
  CHECK_THROWS(CacheFullError, "the cache is full", step(*model, {first, second}, {1, 1}));
  CHECK(first->length == 0 && second->length == 0);
  CHECK(model->pool->used_bytes() == 8 * page);
  step(*model, {first}, {1});
  CHECK_THROWS(CacheFullError, "the cache is full", first->fork());
  CHECK(model->pool->used_bytes() == 10 * page);
  model->pool->check();
}

// load_weights() of a tiny model after `change`.
static void load(Shape shape, Precision precision, const std::function<void(Views&)>& change) {
  const Config config = tiny_config(shape);
  const TinyWeights weights(config, precision);
  Views views = weights.views();
  change(views);
  load_weights(config, portable(), source_of(views), false);
}

static void weights_that_do_not_fit_are_listed() {
  const std::string norm = "encoder.norm.weight";
  for (const Shape shape : kOurs) {
    CHECK_THROWS(invalid_argument, "embed.weight is missing; more.weight is not a weight",
                 load(shape, Precision::kF32, [](Views& views) {
                   views["more.weight"] = views["embed.weight"];
                   views.erase("embed.weight");
                 }));
    for (const Precision precision : kPrecisions) {
      CHECK_THROWS(invalid_argument, "embed.weight has shape [71, 35] and should have [71, 36]",
                   load(shape, precision, [](Views& views) { views["embed.weight"].shape[1] = 35; }));
    }
    CHECK_THROWS(invalid_argument, norm + " has shape [] and should have [36]",
                 load(shape, Precision::kF32, [&](Views& views) { views[norm].shape.clear(); }));
    CHECK_THROWS(invalid_argument, norm + " must be float32",
                 load(shape, Precision::kF32, [&](Views& views) {
                   static const std::vector<uint16_t> ones(36, 0x3F80);
                   views[norm].f32 = nullptr;
                   views[norm].bf16 = ones.data();
                 }));
    CHECK_THROWS(invalid_argument, "embed.weight holds no values",
                 load(shape, Precision::kF32, [](Views& views) { views["embed.weight"].f32 = nullptr; }));
    CHECK_THROWS(invalid_argument, "embed.weight holds no values",
                 load(shape, Precision::kS8, [](Views& views) { views["embed.weight"].scale = nullptr; }));
    CHECK_THROWS(invalid_argument, norm + " holds no values",
                 load(shape, Precision::kF32, [&](Views& views) { views[norm].f32 = nullptr; }));
  }
}

static void weights_that_are_no_numbers_are_named() {
  const std::string problem = "holds values that are no finite numbers";
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const Shape shape : kOurs) {
      for (const Precision precision : kPrecisions) {
        const Config config = tiny_config(shape);
        const TinyWeights weights(config, precision);
        for (const auto& [name, view] : weights.views()) {
          // The last value, or the last scale, is bad.
          int64_t size = 1;
          for (const int64_t n : view.shape) size *= n;
          if (view.s8 != nullptr) size = view.shape[0];
          if (view.s4 != nullptr) size = view.shape[0] * ((view.shape[1] + kGroup - 1) / kGroup);
          Views views = weights.views();
          std::vector<float> values;
          std::vector<uint16_t> halves;
          if (view.bf16 != nullptr) {
            halves.assign(view.bf16, view.bf16 + size);
            halves.back() = std::isnan(bad) ? 0x7FC0 : bad > 0 ? 0x7F80 : 0xFF80;
            views[name].bf16 = halves.data();
          } else {
            const float* start = view.f32 != nullptr ? view.f32 : view.scale;
            values.assign(start, start + size);
            values.back() = bad;
            (view.f32 != nullptr ? views[name].f32 : views[name].scale) = values.data();
          }
          CHECK_THROWS(invalid_argument, name + " " + problem, load_weights(config, portable(), source_of(views), false));
        }
      }
    }
  }
}

static void a_matrix_whose_sums_could_overflow_is_refused() {
  const std::vector<int8_t> bytes(65537);
  const std::vector<float> scale(65537, 1.0f);
  WeightView view;
  view.s8 = bytes.data();
  view.scale = scale.data();
  view.shape = {1, 65537};
  Arena arena;
  CHECK_THROWS(invalid_argument, "at most 65536 inputs, not 65537", Linear(portable(), view, arena));
}

static void a_model_of_impossible_sizes_is_refused() {
  const auto make = [](const std::function<void(Config&, RunOptions&)>& change) {
    Config config = tiny_config(Shape::kTransformer);
    const TinyWeights weights(config, Precision::kF32);
    RunOptions options;
    change(config, options);
    Model(config, source_of(weights.views()), options);
  };
  for (const auto size : {&Config::vocab_size, &Config::d_model, &Config::d_ff, &Config::num_heads,
                          &Config::kv_heads, &Config::head_dim, &Config::num_encoder_layers,
                          &Config::num_decoder_layers, &Config::max_positions,
                          &Config::target_positions, &Config::source_vocab_size}) {
    for (const int64_t value : {int64_t{0}, int64_t{-2}, std::numeric_limits<int64_t>::min(),
                                std::numeric_limits<int64_t>::max() - 1}) {
      CHECK_THROWS(invalid_argument, "of the configuration",
                   make([&](Config& config, RunOptions&) { config.*size = value; }));
    }
  }
  const auto refused = [&](const std::string& text, const std::function<void(Config&, RunOptions&)>& change) {
    CHECK_THROWS(invalid_argument, text, make(change));
  };
  refused("multiple of num_kv_heads", [](Config& config, RunOptions&) { config.num_heads = 5; });
  refused("must be even", [](Config& config, RunOptions&) { config.head_dim = 1; });
  refused("at least 4 buckets", [](Config& config, RunOptions&) {
    config.positions = Positions::kRelative;
    config.relative_buckets = 3;
  });
  refused("at most 1000 layers", [](Config& config, RunOptions&) { config.num_decoder_layers = 1001; });
  for (const double bad : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    refused("rope_theta", [&](Config& config, RunOptions&) { config.rope_theta = bad; });
  }
  for (const float bad : {-1.0f, NAN, INFINITY}) {
    refused("norm_eps", [&](Config& config, RunOptions&) { config.norm_eps = bad; });
  }
  for (const int64_t bad : {-1, 0, 257}) {
    refused("threads must be between", [&](Config&, RunOptions& options) { options.threads = bad; });
  }
  refused("'mmx' is not one of", [](Config&, RunOptions& options) { options.isa = "mmx"; });
  for (const int64_t bad : {int64_t{0}, int64_t{100}, int64_t{-1}}) {
    refused("does not hold one page", [&](Config&, RunOptions& options) { options.cache_bytes = bad; });
  }
}

std::vector<Test> refused_tests() {
  return {
      {"refused: what the front end cannot take", encoding_refuses_what_the_front_end_cannot_take},
      {"refused: what an Encoding cannot take", encoding_refuses},
      {"refused: what decode_step cannot take", decode_step_refuses},
      {"refused: more than the cache holds", a_full_cache_refuses},
      {"refused: weights that do not fit", weights_that_do_not_fit_are_listed},
      {"refused: weights that are no numbers", weights_that_are_no_numbers_are_named},
      {"refused: sums that could overflow", a_matrix_whose_sums_could_overflow_is_refused},
      {"refused: models of impossible sizes", a_model_of_impossible_sizes_is_refused},
  };
}

}  // namespace duologue
