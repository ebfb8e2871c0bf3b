#include "tiny_model.h"

#include <cmath>

namespace duologue {

const char* name_of(Shape shape) {
  switch (shape) {
    case Shape::kTransformer: return " transformer";
    case Shape::kGru: return " gru";
    case Shape::kRelative: return " relative";
    case Shape::kPost: return " post";
    case Shape::kWindows: return " windows";
    default: return " speech";
  }
}

static void make_relative(Config& config) {
  config.positions = Positions::kRelative;
  config.relative_buckets = 6;
  config.relative_distance = 20;
  config.attn_soft_cap = 2.0f;
  config.logit_soft_cap = 5.0f;
  config.attn_scale = 1.0f;
  config.is_shared_embedding = config.is_tied_output = false;
  config.source_vocab_size = 65;
  config.activation = Activation::kGeluTanh;
}

static void make_post(Config& config) {
  config.positions = Positions::kTable;
  config.norm = NormKind::kLayer;
  config.norm_place = NormPlace::kPost;
  config.has_final_norm = false;
  config.has_embed_norm = config.has_bias = config.has_output_bias = true;
  config.is_gated = false;
  config.activation = Activation::kRelu;
  config.target_positions = 40;
}

static void make_windows(Config& config) {
  config.encoder_window = {3, 5, {0}};
  config.decoder_window = {4, 0, {1}};
  config.window_rope_theta = 100.0;
  config.rope_factor = 4.0;
  config.num_heads = 4;
  config.head_dim = 10;
  config.norm_place = NormPlace::kBoth;
  config.has_qk_norm = config.is_merged = true;
}

Config tiny_config(Shape shape) {
  Config config;
  config.cell = shape == Shape::kGru ? Cell::kGru : Cell::kTransformer;
  config.is_full = shape != Shape::kGru && shape != Shape::kTransformer;
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
  if (shape == Shape::kRelative) make_relative(config);
  if (shape == Shape::kPost || shape == Shape::kSpeech) make_post(config);
  if (shape == Shape::kWindows) make_windows(config);
  if (shape == Shape::kSpeech) config.mel_bins = 7;
  return config;
}

TinyWeights::TinyWeights(const Config& config, Precision precision) : precision_(precision) {
  const int64_t d = config.d_model;
  add_matrix("embed.weight", config.vocab_size, d);
  if (!config.is_shared_embedding) add_matrix("encoder.embed.weight", config.source_vocab_size, d);
  if (!config.is_tied_output) add_matrix("output.weight", config.vocab_size, d);
  if (config.has_output_bias) add_vector("output.bias", config.vocab_size, 0.0f);
  if (config.mel_bins > 0) {
    add_dense("encoder.conv1", d, 3 * config.mel_bins, true);
    add_dense("encoder.conv2", d, 3 * d, true);
  }
  for (const bool is_encoder : {true, false}) add_side(config, is_encoder);
  if (config.cell == Cell::kGru) add_gru(config);
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

void TinyWeights::add_dense(const std::string& name, int64_t out, int64_t in, bool has_bias) {
  add_matrix(name + ".weight", out, in);
  if (has_bias) add_vector(name + ".bias", out, 0.0f);
}

void TinyWeights::add_table(const std::string& name, int64_t rows, int64_t columns) {
  add_vector(name, rows * columns, 0.0f);
  tables_[name] = {rows, columns};
}

void TinyWeights::add_norm(const Config& config, const std::string& name) {
  add_vector(name + ".weight", config.d_model, 1.0f);
  if (config.norm == NormKind::kLayer) add_vector(name + ".bias", config.d_model, 0.0f);
}

void TinyWeights::add_branch(const Config& config, const std::string& name) {
  add_norm(config, name + "_norm");
  if (config.norm_place == NormPlace::kBoth) add_norm(config, name + "_post_norm");
}

void TinyWeights::add_side(const Config& config, bool is_encoder) {
  const std::string side = is_encoder ? "encoder" : "decoder";
  const int64_t positions = is_encoder ? config.max_positions : config.target_positions;
  const int64_t layers = is_encoder ? config.num_encoder_layers : config.num_decoder_layers;
  if (config.has_final_norm) add_norm(config, side + ".norm");
  if (config.has_embed_norm) add_norm(config, side + ".embed_norm");
  if (config.has_table()) add_table(side + ".positions.weight", positions, config.d_model);
  if (config.positions == Positions::kRelative) {
    add_table(side + ".relative.weight", config.relative_buckets, config.num_heads);
  }
  for (int64_t i = 0; config.cell == Cell::kTransformer && i < layers; ++i) {
    add_layer(config, side + ".layers." + std::to_string(i) + ".", is_encoder);
  }
}

void TinyWeights::add_layer(const Config& config, const std::string& prefix, bool is_encoder) {
  const int64_t d = config.d_model, f = config.d_ff, q = config.query_width();
  const bool has_bias = config.has_bias;
  add_branch(config, prefix + (is_encoder ? "attn" : "self"));
  add_self_attention(config, prefix + (is_encoder ? "attn" : "self_attn"),
                     config.is_merged && !is_encoder);
  if (!is_encoder && !config.is_merged) {
    add_branch(config, prefix + "cross");
    add_dense(prefix + "cross_attn.q", q, d, has_bias);
    add_dense(prefix + "cross_attn.kv", 2 * config.key_width(), d, has_bias);
    add_dense(prefix + "cross_attn.out", d, q, has_bias);
  }
  add_branch(config, prefix + "ff");
  add_dense(prefix + (config.is_gated ? "ff.gate_up" : "ff.up"), config.is_gated ? 2 * f : f, d,
            has_bias);
  add_dense(prefix + "ff.down", d, f, has_bias);
}

void TinyWeights::add_self_attention(const Config& config, const std::string& name,
                                     bool is_merged) {
  const int64_t d = config.d_model, q = config.query_width(), kv = 2 * config.key_width();
  if (is_merged) {
    add_dense(name + ".q", q, d, config.has_bias);
    add_dense(name + ".kv", kv, d, config.has_bias);
  } else {
    add_dense(name + ".qkv", q + kv, d, config.has_bias);
  }
  add_dense(name + ".out", d, q, config.has_bias);
  for (const char* part : {".q_norm.weight", ".k_norm.weight"}) {
    if (config.has_qk_norm) add_vector(name + part, config.head_dim, 1.0f);
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

WeightSource source_of(std::map<std::string, WeightView> views) {
  WeightSource source;
  for (const auto& [name, view] : views) source.names.insert(name);
  source.fetch = [views = std::move(views)](const std::string& name) { return views.at(name); };
  return source;
}

std::map<std::string, WeightView> TinyWeights::views() const {
  std::map<std::string, WeightView> views;
  for (const auto& [name, matrix] : matrices_) views[name] = matrix.view();
  for (const auto& [name, values] : vectors_) {
    views[name].f32 = values.data();
    const auto table = tables_.find(name);
    views[name].shape = table != tables_.end()
                            ? table->second
                            : std::vector<int64_t>{static_cast<int64_t>(values.size())};
  }
  return views;
}

std::shared_ptr<Model> tiny_model(Shape shape, Precision precision, const std::string& isa,
                                  int64_t threads, int64_t cache_bytes) {
  const Config config = tiny_config(shape);
  const TinyWeights weights(config, precision);
  const Store store = precision == Precision::kF32 ? Store::kF32 : Store::kBf16;
  const RunOptions options = {threads, isa, store, cache_bytes};
  return std::make_shared<Model>(config, source_of(weights.views()), options);
}

std::vector<Part> tiny_parts(const Model& model) {
  Random random(12);
  std::vector<Part> parts;
  for (const auto& [length, is_document] :
       std::vector<std::pair<int64_t, bool>>{{5, false}, {18, true}, {2, false}, {16, true}, {31, false}}) {
    parts.push_back({random.ids(length, model.config.source_vocab_size), is_document});
  }
  return parts;
}

std::vector<SegmentPtr> encode_parts(const std::shared_ptr<Model>& model,
                                     const std::vector<Part>& parts, size_t count) {
  std::vector<SegmentPtr> memory;
  if (model->config.is_full) {
    std::vector<int64_t> ids;
    for (size_t i = 0; i < count; ++i) ids.insert(ids.end(), parts[i].ids.begin(), parts[i].ids.end());
    if (ids.empty()) return memory;
    if (model->config.mel_bins == 0) return {encode(model, {}, ids, false)};
    Random random(14);
    Encoding encoding(model, random.floats(2 * static_cast<int64_t>(ids.size()) * model->config.mel_bins));
    while (!encoding.advance()) {
    }
    return {encoding.segment()};
  }
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
