#include "model.h"

#include <cmath>
#include <stdexcept>

#include "isa.h"

namespace duologue {

void KeyValues::put(int64_t index, int64_t d_model, const float* key, const float* value) {
  float* column = keys.data() + index / kBlock * kBlock * d_model + index % kBlock;
  for (int64_t j = 0; j < d_model; ++j) column[j * kBlock] = key[j];
  std::memcpy(values.data() + index * d_model, value, d_model * sizeof(float));
}

int64_t Segment::num_bytes() const {
  int64_t floats = carried.size();
  for (const KeyValues& plane : planes) floats += plane.keys.size() + plane.values.size();
  return floats * static_cast<int64_t>(sizeof(float));
}

Span Segment::span(size_t plane) const {
  return {planes[plane].keys.data(), planes[plane].values.data(), length};
}

static void check_sizes(const Config& config, int64_t threads) {
  const auto require = [](bool condition, const char* problem) {
    if (!condition) throw std::invalid_argument(problem);
  };
  require(config.vocab_size >= 1 && config.d_model >= 1 && config.d_ff >= 1 &&
              config.num_heads >= 1 && config.num_encoder_layers >= 1 &&
              config.num_decoder_layers >= 1 && config.max_positions >= 1,
          "every size of the configuration must be at least 1");
  require(config.num_encoder_layers <= 1000 && config.num_decoder_layers <= 1000,
          "a model has at most 1000 layers on each side");
  require(config.d_model % config.num_heads == 0, "d_model must be a multiple of num_heads");
  require(config.head_dim() % 2 == 0, "d_model / num_heads must be even");
  require(config.rope_theta > 0.0, "rope_theta must be positive");
  require(1 <= threads && threads <= 256, "threads must be between 1 and 256");
}

static const Config& checked(const Config& config, int64_t threads) {
  check_sizes(config, threads);
  return config;
}

Model::Model(const Config& config, const std::map<std::string, WeightView>& views, int64_t threads,
             const std::string& isa)
    : config(checked(config, threads)),
      runtime(select_kernels(isa), threads),
      weights(load_weights(config, runtime.kernels, views)) {
  const int64_t half = config.head_dim() / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double exponent = -static_cast<double>(j) / static_cast<double>(half);
    frequency_.push_back(static_cast<float>(std::pow(config.rope_theta, exponent)));
  }
}

size_t Model::first_cross_plane(bool is_document) const {
  return is_gru() || is_document ? 0 : static_cast<size_t>(config.num_encoder_layers);
}

size_t Model::num_planes(bool is_document) const {
  if (is_gru()) return 1;
  return first_cross_plane(is_document) + static_cast<size_t>(config.num_decoder_layers);
}

void Model::check(const Segment& segment) const {
  const int64_t carried =
      is_gru() && !segment.is_document ? config.num_encoder_layers * config.d_model : 0;
  if (segment.d_model != config.d_model || segment.carried.size() != carried ||
      segment.planes.size() != num_planes(segment.is_document)) {
    throw std::invalid_argument("a segment of this memory was encoded by a model of another shape");
  }
}

void Model::check_ids(const std::vector<int64_t>& ids) const {
  for (const int64_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      throw std::invalid_argument("id " + std::to_string(id) + " is outside the vocabulary of " +
                                  std::to_string(config.vocab_size));
    }
  }
}

void Model::embed(const std::vector<int64_t>& ids, float* x) {
  const float factor = std::sqrt(static_cast<float>(config.d_model));
  for_rows(runtime, static_cast<int64_t>(ids.size()), [&](int64_t row) {
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

void feed_forward(Model& model, const TransformerLayer& layer, int64_t rows) {
  const int64_t f = model.config.d_ff;
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;
  float* wide = space.wide.data();
  float* active = space.active.reserve(rows * f);
  norm_rows(model, space.x.data(), layer.ff_norm, space.normed.data(), rows);
  linear(runtime, layer.gate_up, space.normed.data(), wide, rows);
  for_rows(runtime, rows, [&](int64_t row) {
    runtime.kernels.silu_mul(wide + row * 2 * f, active + row * f, f);
  });
  linear(runtime, layer.down, active, space.x.data(), rows, /*is_added=*/true);
}

DecoderState::DecoderState(std::shared_ptr<Model> owner, std::vector<SegmentPtr> segments,
                           bool is_recording)
    : model(std::move(owner)), memory(std::move(segments)), is_recording(is_recording) {
  for (const SegmentPtr& segment : memory) {
    model->check(*segment);
    num_memory_tokens += segment->length;
  }
  if (model->is_gru()) hidden.resize(model->config.num_decoder_layers * model->config.d_model);
}

std::shared_ptr<DecoderState> DecoderState::fork() const {
  std::lock_guard<std::mutex> lock(model->mutex);
  auto copy = std::make_shared<DecoderState>(*this);
  // Full blocks stay shared; the one that the next token goes to must not be.
  if (length % kBlock != 0 && !blocks.empty()) {
    auto last = std::make_shared<std::vector<KeyValues>>();
    for (const KeyValues& plane : *blocks.back()) {
      KeyValues twin(kBlock, model->config.d_model);
      std::memcpy(twin.keys.data(), plane.keys.data(), plane.keys.size() * sizeof(float));
      std::memcpy(twin.values.data(), plane.values.data(), plane.values.size() * sizeof(float));
      last->push_back(std::move(twin));
    }
    copy->blocks.back() = std::move(last);
  }
  return copy;
}

}  // namespace duologue
