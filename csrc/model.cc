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

static void check_sizes(const Config& config, int64_t threads) {
  const auto require = [](bool condition, const char* problem) {
    if (!condition) throw std::invalid_argument(problem);
  };
  require(config.vocab_size >= 1 && config.d_model >= 1 && config.d_ff >= 1 &&
              config.num_heads >= 1 && config.num_encoder_layers >= 1 &&
              config.num_decoder_layers >= 1 && config.max_positions >= 1,
          "every size of the configuration must be at least 1");
  // Products of two sizes must not overflow.
  constexpr int64_t kLargest = int64_t{1} << 30;
  require(std::max({config.vocab_size, config.d_model, config.d_ff, config.num_heads,
                    config.num_encoder_layers, config.num_decoder_layers, config.max_positions}) <=
              kLargest,
          "every size of the configuration must be at most 2^30");
  require(config.num_encoder_layers <= 1000 && config.num_decoder_layers <= 1000,
          "a model has at most 1000 layers on each side");
  require(config.d_model % config.num_heads == 0, "d_model must be a multiple of num_heads");
  require(config.head_dim() % 2 == 0, "d_model / num_heads must be even");
  require(config.rope_theta > 0.0 && std::isfinite(config.rope_theta),
          "rope_theta must be positive and finite");
  require(config.norm_eps >= 0.0f && std::isfinite(config.norm_eps),
          "norm_eps must be a finite number and not negative");
  require(1 <= threads && threads <= 256, "threads must be between 1 and 256");
}

static const Config& checked(const Config& config, int64_t threads) {
  check_sizes(config, threads);
  return config;
}

Model::Model(const Config& config, const std::map<std::string, WeightView>& views,
             const RunOptions& options)
    : config(checked(config, options.threads)),
      store(options.store),
      runtime(select_kernels(options.isa), options.threads),
      weights(load_weights(config, runtime.kernels, views, options.is_two_stage)),
      pool(std::make_shared<PagePool>(page_bytes(store, config.d_model), options.cache_bytes)) {
  const int64_t half = config.head_dim() / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double exponent = -static_cast<double>(j) / static_cast<double>(half);
    frequency_.push_back(static_cast<float>(std::pow(config.rope_theta, exponent)));
  }
}

int64_t Model::first_cross_plane(bool is_document) const {
  return is_gru() || is_document ? 0 : config.num_encoder_layers;
}

int64_t Model::num_planes(bool is_document) const {
  return is_gru() ? 1 : first_cross_plane(is_document) + config.num_decoder_layers;
}

void Model::check(const SegmentPtr& segment) const {
  const int64_t state = is_gru() ? config.num_encoder_layers * config.d_model : 0;
  if (segment == nullptr || segment->d_model != config.d_model || segment->store != store ||
      static_cast<int64_t>(segment->carried.size()) != (segment->is_document ? 0 : state) ||
      segment->pages.count() != num_planes(segment->is_document) * segment->num_blocks()) {
    throw std::invalid_argument("a segment of this memory was encoded by a model of another shape");
  }
}

void Model::put(void* page, int64_t index, const float* key, const float* value) const {
  const Kernels& kernels = runtime.kernels;
  const PutTask task = {page, config.d_model,
                        is_gru() ? round_up(config.d_model, 2) : config.head_dim()};
  (store == Store::kF32 ? kernels.put_f32 : kernels.put_bf16)(task, index, key, value);
}

void Model::attend(const AttendTask& task, int64_t head, int64_t num_queries) const {
  const Kernels& kernels = runtime.kernels;
  (store == Store::kF32 ? kernels.attend_f32 : kernels.attend_bf16)(task, head, config.head_dim(),
                                                                    num_queries);
}

void Model::attend_additive(const AttendTask& task) const {
  const Kernels& kernels = runtime.kernels;
  (store == Store::kF32 ? kernels.attend_additive_f32
                        : kernels.attend_additive_bf16)(task, weights.attn_score.data());
}

void Model::check_ids(const std::vector<int64_t>& ids) const {
  for (const int64_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      throw std::invalid_argument("id " + std::to_string(id) + " is outside the vocabulary of " +
                                  std::to_string(config.vocab_size));
    }
  }
}

void Model::embed(const int64_t* ids, int64_t count, float* x) {
  const float factor = std::sqrt(static_cast<float>(config.d_model));
  for_rows(runtime, count, [&](int64_t row) {
    weights.embed.read_row(ids[row], factor, x + row * config.d_model);
  });
}

void Model::rotary_angles(int64_t start, int64_t count, float* cosine, float* sine) const {
  const int64_t half = static_cast<int64_t>(frequency_.size());
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t j = 0; j < half; ++j) {
      const float angle = static_cast<float>(start + t) * frequency_[j];
      cosine[t * half + j] = std::cos(angle);
      sine[t * half + j] = std::sin(angle);
    }
  }
}

void norm_rows(Model& model, const float* x, const std::vector<float>& weight, float* y,
               int64_t rows) {
  const int64_t d = model.config.d_model;
  for_rows(model.runtime, rows, [&](int64_t row) {
    model.runtime.kernels.rms_norm(x + row * d, weight.data(), y + row * d, d,
                                   model.config.norm_eps);
  });
}

void feed_forward(Model& model, const TransformerLayer& layer, float* x, int64_t rows) {
  const int64_t f = model.config.d_ff;
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;
  float* normed = space.normed.reserve(rows * model.config.d_model);
  float* wide = space.wide.reserve(rows * 2 * f);
  float* active = space.active.reserve(rows * f);
  norm_rows(model, x, layer.ff_norm, normed, rows);
  linear(runtime, layer.gate_up, normed, wide, rows);
  for_rows(runtime, rows, [&](int64_t row) {
    runtime.kernels.silu_mul(wide + row * 2 * f, active + row * f, f);
  });
  linear(runtime, layer.down, active, x, rows, /*is_added=*/true);
}

DecoderState::DecoderState(std::shared_ptr<Model> owner, std::vector<SegmentPtr> segments,
                           bool is_recording)
    : model(std::move(owner)), memory(std::move(segments)), is_recording(is_recording) {
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
