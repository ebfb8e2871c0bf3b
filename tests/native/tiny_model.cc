#include "tiny_model.h"

#include <cmath>

namespace duologue {

Config tiny_config(Cell cell) {
  Config config;
  config.cell = cell;
  config.vocab_size = config.source_vocab_size = 71;
  config.d_model = 36;  // heads of 18: vectors, and rests of all widths
  config.d_ff = 51;
  config.num_heads = config.kv_heads = 2;
  config.head_dim = 18;
  config.num_encoder_layers = 2;
  config.num_decoder_layers = 2;
  config.max_positions = config.target_positions = 80;
  config.rope_theta = config.window_rope_theta = 10000.0;
  config.attn_scale = 1.0f / std::sqrt(18.0f);
  config.embed_scale = 6.0f;
  config.norm_eps = 1e-6f;
  return config;
}

TinyWeights::TinyWeights(const Config& config, Precision precision) : precision_(precision) {
  add_matrix("embed.weight", config.vocab_size, config.d_model);
  add_vector("encoder.norm.weight", config.d_model, 1.0f);
  add_vector("decoder.norm.weight", config.d_model, 1.0f);
  config.cell == Cell::kGru ? add_gru(config) : add_transformer(config);
}

void TinyWeights::add_matrix(const std::string& name, int64_t out, int64_t in) {
  Format format = precision_ == Precision::kF32 ? Format::kF32 : Format::kS8;
  if (precision_ == Precision::kMixed) {
    format = name.find("attn") == std::string::npos ? Format::kS4 : Format::kBf16;
  }
  matrices_.emplace(name, Matrix(format, out, in, random_));
}

void TinyWeights::add_vector(const std::string& name, int64_t size, float around) {
  std::vector<float> values = random_.floats(size, 0.2f);
  for (float& value : values) value += around;
  vectors_.emplace(name, std::move(values));
}

void TinyWeights::add_transformer(const Config& config) {
  const int64_t d = config.d_model, f = config.d_ff;
  const auto add_layer = [&](const std::string& prefix, const std::string& self) {
    add_vector(prefix + self + "_norm.weight", d, 1.0f);
    const std::string name = prefix + (self == "attn" ? "attn." : "self_attn.");
    add_matrix(name + "qkv.weight", 3 * d, d);
    add_matrix(name + "out.weight", d, d);
    add_vector(prefix + "ff_norm.weight", d, 1.0f);
    add_matrix(prefix + "ff.gate_up.weight", 2 * f, d);
    add_matrix(prefix + "ff.down.weight", d, f);
  };
  for (int64_t i = 0; i < config.num_encoder_layers; ++i) {
    add_layer("encoder.layers." + std::to_string(i) + ".", "attn");
  }
  for (int64_t i = 0; i < config.num_decoder_layers; ++i) {
    const std::string prefix = "decoder.layers." + std::to_string(i) + ".";
    add_layer(prefix, "self");
    add_vector(prefix + "cross_norm.weight", d, 1.0f);
    add_matrix(prefix + "cross_attn.q.weight", d, d);
    add_matrix(prefix + "cross_attn.kv.weight", 2 * d, d);
    add_matrix(prefix + "cross_attn.out.weight", d, d);
  }
}

void TinyWeights::add_gru(const Config& config) {
  const int64_t d = config.d_model;
  const auto add_layer = [&](const std::string& side, int64_t index, int64_t in) {
    const std::string prefix = side + ".layers." + std::to_string(index) + ".gru.";
    add_matrix(prefix + "weight_ih", 3 * d, in);
    add_matrix(prefix + "weight_hh", 3 * d, d);
    add_vector(prefix + "bias_ih", 3 * d, 0.0f);
    add_vector(prefix + "bias_hh", 3 * d, 0.0f);
  };
  for (int64_t i = 0; i < config.num_encoder_layers; ++i) add_layer("encoder", i, d);
  for (int64_t i = 0; i < config.num_decoder_layers; ++i) {
    add_layer("decoder", i, i == 0 ? 2 * d : d);
  }
  add_matrix("decoder.attn.query.weight", d, d);
  add_matrix("decoder.attn.key.weight", d, d);
  add_vector("decoder.attn.score.weight", d, 0.0f);
}

std::map<std::string, WeightView> TinyWeights::views() const {
  std::map<std::string, WeightView> views;
  for (const auto& [name, matrix] : matrices_) views[name] = matrix.view();
  for (const auto& [name, values] : vectors_) {
    views[name].f32 = values.data();
    views[name].shape = {static_cast<int64_t>(values.size())};
  }
  return views;
}

std::shared_ptr<Model> tiny_model(Cell cell, Precision precision, const std::string& isa,
                                  int64_t threads, int64_t cache_bytes) {
  const Config config = tiny_config(cell);
  const TinyWeights weights(config, precision);
  const Store store = precision == Precision::kF32 ? Store::kF32 : Store::kBf16;
  const RunOptions options = {threads, isa, store, cache_bytes};
  return std::make_shared<Model>(config, weights.views(), options);
}

std::vector<Part> tiny_parts(const Model& model) {
  Random random(12);
  std::vector<Part> parts;
  for (const auto& [length, is_document] :
       std::vector<std::pair<int64_t, bool>>{{5, false}, {18, true}, {2, false}, {16, true}, {31, false}}) {
    parts.push_back({random.ids(length, model.config.vocab_size), is_document});
  }
  return parts;
}

std::vector<SegmentPtr> encode_parts(const std::shared_ptr<Model>& model,
                                     const std::vector<Part>& parts, size_t count) {
  std::vector<SegmentPtr> memory;
  for (size_t i = 0; i < count; ++i) {
    memory.push_back(encode(model, memory, parts[i].ids, parts[i].is_document));
  }
  return memory;
}

std::vector<float> step(Model& model, const std::vector<StatePtr>& states,
                        const std::vector<int64_t>& ids) {
  std::vector<DecoderState*> pointers;
  for (const StatePtr& state : states) pointers.push_back(state.get());
  // Refused batches may have more states than ids; all that are taken have a row.
  std::vector<float> logits(states.size() * static_cast<size_t>(model.config.vocab_size));
  decode_step(model, pointers, ids, logits.data());
  return logits;
}

}  // namespace duologue
