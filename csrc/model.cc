#include "model.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "isa.h"

namespace duologue {

int64_t Segment::num_bytes() const {
  return pages.num_bytes() + static_cast<int64_t>(carried.size() * sizeof(float));
}

void Segment::add_spans(int64_t plane, std::vector<Span>& spans) const {
  for (int64_t block = 0; block < num_blocks(); ++block) {
    spans.push_back({page(plane, block), std::min(kBlock, length - block * kBlock)});
  }
}

void check_config(const Config& config) {
  const auto require = [](bool condition, const char* problem) {
    if (!condition) throw std::invalid_argument(problem);
  };
  const auto sizes = {config.vocab_size,         config.source_vocab_size,
                      config.d_model,            config.d_ff,
                      config.num_heads,          config.kv_heads,
                      config.head_dim,           config.num_encoder_layers,
                      config.num_decoder_layers, config.max_positions,
                      config.target_positions};
  require(std::min(sizes) >= 1 && config.mel_bins >= 0,
          "every size of the configuration must be at least 1");
  // Products of two sizes must not overflow.
  constexpr int64_t kLargest = int64_t{1} << 30;
  require(std::max(sizes) <= kLargest && config.mel_bins <= kLargest,
          "every size of the configuration must be at most 2^30");
  require(config.num_encoder_layers <= 1000 && config.num_decoder_layers <= 1000,
          "a model has at most 1000 layers on each side");
  require(config.num_heads * config.head_dim <= kLargest, "the heads are too wide together");
  require(config.num_heads % config.kv_heads == 0, "num_heads must be a multiple of num_kv_heads");
  require(config.head_dim % 2 == 0, "the width of a head must be even");
  for (const double theta : {config.rope_theta, config.window_rope_theta, config.rope_factor}) {
    require(theta > 0.0 && std::isfinite(theta),
            "rope_theta and rope_factor must be positive and finite");
  }
  for (const float value : {config.norm_eps, config.attn_soft_cap, config.logit_soft_cap}) {
    require(value >= 0.0f && std::isfinite(value),
            "norm_eps and soft caps must be finite numbers and not negative");
  }
  require(std::isfinite(config.attn_scale) && std::isfinite(config.embed_scale),
          "attn_scale and embed_scale must be finite numbers");
  require(config.positions != Positions::kRelative ||
              (config.relative_buckets >= 4 && config.relative_buckets <= kLargest &&
               config.relative_distance >= 1),
          "relative positions need at least 4 buckets and a distance of at least 1");
}

static const Config& checked(const Config& config, int64_t threads) {
  check_config(config);
  if (threads < 1 || threads > 256) {
    throw std::invalid_argument("threads must be between 1 and 256");
  }
  return config;
}

// Radians a position of each pair of a head's dimensions. Su et al. 2021, arXiv:2104.09864, eq. 15
static std::vector<float> frequencies(const Config& config, double theta, double factor) {
  std::vector<float> result;
  const int64_t half = config.head_dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double exponent = -static_cast<double>(j) / static_cast<double>(half);
    result.push_back(static_cast<float>(std::pow(theta, exponent) / factor));
  }
  return result;
}

Model::Model(const Config& config, const WeightSource& source, const RunOptions& options)
    : config(checked(config, options.threads)),
      runtime(select_kernels(options.isa), options.threads),
      weights(load_weights(config, runtime.kernels, source, options.is_two_stage)),
      store(options.store.value_or(weights.is_f32 ? Store::kF32 : Store::kBf16)),
      pool(std::make_shared<PagePool>(page_bytes(store, config.key_width()), options.cache_bytes)),
      frequency_{frequencies(config, config.rope_theta, config.rope_factor),
                 frequencies(config, config.window_rope_theta, 1.0)} {}

int64_t Model::first_cross_plane(bool is_document) const {
  return keeps_encoder(is_document) ? config.num_encoder_layers : 0;
}

int64_t Model::num_planes(bool is_document) const {
  return is_gru() ? 1 : first_cross_plane(is_document) + config.num_decoder_layers;
}

void Model::check(const SegmentPtr& segment) const {
  const int64_t state = is_gru() ? config.num_encoder_layers * config.d_model : 0;
  if (segment == nullptr || segment->width != config.key_width() || segment->store != store ||
      static_cast<int64_t>(segment->carried.size()) != (segment->is_document ? 0 : state) ||
      segment->pages.count() != num_planes(segment->is_document) * segment->num_blocks()) {
    throw std::invalid_argument("a segment of this memory was encoded by a model of another shape");
  }
}

void Model::put(void* page, int64_t index, const float* key, const float* value) const {
  const Kernels& kernels = runtime.kernels;
  const PutTask task = {page, config.key_width(),
                        is_gru() ? round_up(config.d_model, 2) : config.head_dim};
  (store == Store::kF32 ? kernels.put_f32 : kernels.put_bf16)(task, index, key, value);
}

void Model::attend(const AttendTask& task, int64_t head, int64_t num_queries) const {
  const Kernels& kernels = runtime.kernels;
  (store == Store::kF32 ? kernels.attend_f32 : kernels.attend_bf16)(task, head, config.head_dim,
                                                                    num_queries);
}

void Model::attend_additive(const AttendTask& task) const {
  const Kernels& kernels = runtime.kernels;
  (store == Store::kF32 ? kernels.attend_additive_f32
                        : kernels.attend_additive_bf16)(task, weights.attn_score.data());
}

AttendTask Model::attend_task(const std::vector<Span>& spans, float* scores) const {
  AttendTask task = duologue::attend_task(spans, config.key_width(), scores);
  task.q_stride = task.out_stride = config.query_width();
  task.group = config.num_heads / config.kv_heads;
  task.scale = config.attn_scale;
  task.soft_cap = config.attn_soft_cap;
  return task;
}

void Model::check_ids(const std::vector<int64_t>& ids, int64_t size) const {
  for (const int64_t id : ids) {
    if (id < 0 || id >= size) {
      throw std::invalid_argument("id " + std::to_string(id) + " is outside the vocabulary of " +
                                  std::to_string(size));
    }
  }
}

DecoderState::DecoderState(std::shared_ptr<Model> owner, std::vector<SegmentPtr> segments,
                           bool is_recording, std::vector<Head> heads)
    : model(std::move(owner)),
      memory(std::move(segments)),
      is_recording(is_recording),
      recorded_heads(std::move(heads)) {
  const Config& config = model->config;
  for (const auto& [layer, head] : recorded_heads) {
    if (model->is_gru() || layer < 0 || layer >= config.num_decoder_layers || head < 0 ||
        head >= config.num_heads) {
      throw std::invalid_argument("a recorded head is none of the decoder's");
    }
  }
  for (const SegmentPtr& segment : memory) {
    model->check(segment);
    num_memory_tokens += segment->length;
  }
  if (model->is_gru()) hidden.resize(model->config.num_decoder_layers * model->config.d_model);
}

std::shared_ptr<DecoderState> DecoderState::fork() const {
  std::lock_guard<std::mutex> lock(model->mutex);
  auto copy = std::make_shared<DecoderState>(*this);
  // Full blocks stay shared; the one that the next token goes to must not be.
  if (length % kBlock != 0 && !blocks.empty()) {
    auto twin = std::make_shared<Pages>(model->pool, blocks.back()->count());
    for (int64_t layer = 0; layer < twin->count(); ++layer) {
      std::memcpy((*twin)[layer], (*blocks.back())[layer], model->pool->page_bytes());
    }
    copy->blocks.back() = std::move(twin);
  }
  return copy;
}

}  // namespace duologue
