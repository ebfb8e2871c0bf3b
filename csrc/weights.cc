// Weights: checked against what the configuration asks for, then packed.
#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "model.h"

namespace duologue {

// Takes weights by name and remembers what was wrong, so that one error can list it all.
class WeightReader {
 public:
  WeightReader(const Kernels& kernels, const WeightSource& source, Arena& arena)
      : kernels_(kernels), source_(source), arena_(arena) {}

  Linear matrix(const std::string& name, int64_t out, int64_t in) {
    if (!find(name, {out, in})) return Linear();
    is_f32_ = is_f32_ && view_.f32 != nullptr;
    return Linear(kernels_, view_, arena_);
  }

  // Whether all matrices so far were float32.
  bool is_f32() const { return is_f32_; }

  std::vector<float> vector(const std::string& name, int64_t size) {
    return floats(name, {size}, size);
  }

  // A matrix that is no product's: row after row.
  std::vector<float> table(const std::string& name, int64_t rows, int64_t columns) {
    return floats(name, {rows, columns}, rows * columns);
  }

  void finish() {
    for (const std::string& name : source_.names) {
      if (taken_.count(name) == 0) problems_.push_back(name + " is not a weight of this model");
    }
    if (problems_.empty()) return;
    std::string message = "weights do not fit the configuration: ";
    for (size_t i = 0; i < problems_.size(); ++i) message += (i ? "; " : "") + problems_[i];
    throw std::invalid_argument(message);
  }

 private:
  static std::string text(const std::vector<int64_t>& shape) {
    std::string result = "[";
    for (size_t i = 0; i < shape.size(); ++i) result += (i ? ", " : "") + std::to_string(shape[i]);
    return result + "]";
  }

  std::vector<float> floats(const std::string& name, const std::vector<int64_t>& shape,
                            int64_t size) {
    if (!find(name, shape)) return {};
    if (view_.f32 == nullptr) {
      problems_.push_back(name + " must be float32");
      return {};
    }
    return std::vector<float>(view_.f32, view_.f32 + size);
  }

  // Makes view_ the weight of this name, if there is a good one.
  bool find(const std::string& name, const std::vector<int64_t>& shape) {
    taken_.insert(name);
    const auto refuse = [&](const std::string& why) {
      problems_.push_back(name + why);
      return false;
    };
    if (source_.names.count(name) == 0) return refuse(" is missing");
    view_ = source_.fetch(name);
    if (view_.shape != shape) {
      return refuse(" has shape " + text(view_.shape) + " and should have " + text(shape));
    }
    if (!has_values(view_)) return refuse(" holds no values");
    if (!is_finite(view_)) return refuse(" holds values that are no finite numbers");
    return true;
  }

  static bool has_values(const WeightView& view) {
    if (view.f32 != nullptr || view.bf16 != nullptr) return true;
    return (view.s8 != nullptr || view.s4 != nullptr) && view.scale != nullptr;
  }

  // Bytes are numbers always; their scales and other values may not be.
  static bool is_finite(const WeightView& view) {
    const auto all_finite = [](const float* x, int64_t n) {
      return std::all_of(x, x + n, [](float value) { return std::isfinite(value); });
    };
    int64_t size = 1;
    for (const int64_t n : view.shape) size *= n;
    if (view.f32 != nullptr) return all_finite(view.f32, size);
    if (view.bf16 != nullptr) {
      return std::all_of(view.bf16, view.bf16 + size,
                         [](uint16_t value) { return (value & 0x7F80) != 0x7F80; });
    }
    const int64_t groups = view.s4 == nullptr ? 1 : (view.shape[1] + kGroup - 1) / kGroup;
    return all_finite(view.scale, view.shape[0] * groups);
  }

  const Kernels& kernels_;
  const WeightSource& source_;
  Arena& arena_;
  WeightView view_;
  bool is_f32_ = true;
  std::set<std::string> taken_;
  std::vector<std::string> problems_;
};

// Reads the parts that layers are made of, by the configuration.
class LayerReader {
 public:
  LayerReader(WeightReader& reader, const Config& config) : reader_(reader), config_(config) {}

  Norm norm(const std::string& name) {
    Norm result;
    result.weight = reader_.vector(name + ".weight", config_.d_model);
    if (config_.norm == NormKind::kLayer) {
      result.bias = reader_.vector(name + ".bias", config_.d_model);
    }
    return result;
  }

  Dense dense(const std::string& name, int64_t out, int64_t in, bool has_bias) {
    Dense result;
    result.weight = reader_.matrix(name + ".weight", out, in);
    if (has_bias) result.bias = reader_.vector(name + ".bias", out);
    return result;
  }

  // Empty if the weight is at fault.
  DistanceBias relative(const std::string& name, bool is_encoder) {
    const std::vector<float> values =
        reader_.table(name + ".relative.weight", config_.relative_buckets, config_.num_heads);
    return values.empty() ? DistanceBias() : relative_bias(config_, values, is_encoder);
  }

  TransformerLayer encoder_layer(const std::string& prefix) {
    TransformerLayer layer;
    layer.self_branch = branch(prefix + "attn");
    layer.self = self_attention(prefix + "attn", /*is_encoder=*/true);
    read_feed_forward(layer, prefix);
    return layer;
  }

  TransformerLayer decoder_layer(const std::string& prefix) {
    const int64_t d = config_.d_model, q = config_.query_width(), kv = 2 * config_.key_width();
    TransformerLayer layer;
    layer.self_branch = branch(prefix + "self");
    layer.self = self_attention(prefix + "self_attn", /*is_encoder=*/false);
    if (!config_.is_merged) {
      layer.cross_branch = branch(prefix + "cross");
      layer.cross_q = dense(prefix + "cross_attn.q", q, d, config_.has_bias);
      layer.cross_kv = dense(prefix + "cross_attn.kv", kv, d, config_.has_bias);
      layer.cross_out = dense(prefix + "cross_attn.out", d, q, config_.has_bias);
    }
    read_feed_forward(layer, prefix);
    return layer;
  }

 private:
  Branch branch(const std::string& name) {
    Branch result;
    result.norm = norm(name + "_norm");
    if (config_.norm_place == NormPlace::kBoth) result.post = norm(name + "_post_norm");
    return result;
  }

  SelfAttention self_attention(const std::string& name, bool is_encoder) {
    const int64_t d = config_.d_model, q = config_.query_width(), kv = 2 * config_.key_width();
    SelfAttention result;
    if (config_.is_merged && !is_encoder) {
      result.q = dense(name + ".q", q, d, config_.has_bias);
      result.kv = dense(name + ".kv", kv, d, config_.has_bias);
    } else {
      result.qkv = dense(name + ".qkv", q + kv, d, config_.has_bias);
    }
    result.out = dense(name + ".out", d, q, config_.has_bias);
    if (config_.has_qk_norm) {
      result.q_norm = reader_.vector(name + ".q_norm.weight", config_.head_dim);
      result.k_norm = reader_.vector(name + ".k_norm.weight", config_.head_dim);
    }
    if (config_.positions == Positions::kRelative && config_.is_relative_per_layer) {
      result.bias = relative(name, is_encoder);
    }
    return result;
  }

  void read_feed_forward(TransformerLayer& layer, const std::string& prefix) {
    const int64_t d = config_.d_model, f = config_.d_ff;
    layer.ff_branch = branch(prefix + "ff");
    layer.up = config_.is_gated ? dense(prefix + "ff.gate_up", 2 * f, d, config_.has_bias)
                                : dense(prefix + "ff.up", f, d, config_.has_bias);
    layer.down = dense(prefix + "ff.down", d, f, config_.has_bias);
  }

  WeightReader& reader_;
  const Config& config_;
};

static GruLayer read_gru_layer(WeightReader& reader, const Config& config,
                               const std::string& prefix, int64_t in) {
  const int64_t d = config.d_model;
  GruLayer layer;
  layer.input = reader.matrix(prefix + "gru.weight_ih", 3 * d, in);
  layer.hidden = reader.matrix(prefix + "gru.weight_hh", 3 * d, d);
  layer.bias_input = reader.vector(prefix + "gru.bias_ih", 3 * d);
  layer.bias_hidden = reader.vector(prefix + "gru.bias_hh", 3 * d);
  return layer;
}

static Side read_side(WeightReader& reader, const Config& config, bool is_encoder) {
  const std::string name = is_encoder ? "encoder" : "decoder";
  const int64_t num_layers = is_encoder ? config.num_encoder_layers : config.num_decoder_layers;
  const int64_t positions = is_encoder ? config.max_positions : config.target_positions;
  const Window& window = is_encoder ? config.encoder_window : config.decoder_window;
  LayerReader layers(reader, config);
  Side side;
  if (config.has_final_norm) side.norm = layers.norm(name + ".norm");
  if (config.cell == Cell::kGru) return side;
  if (config.has_embed_norm) side.embed_norm = layers.norm(name + ".embed_norm");
  if (config.has_table()) {
    side.positions = reader.table(name + ".positions.weight", positions, config.d_model);
  }
  if (config.positions == Positions::kRelative && !config.is_relative_per_layer) {
    side.relative = layers.relative(name, is_encoder);
  }
  if (!window.layers.empty()) side.window = window_bias(window, positions);
  for (int64_t i = 0; i < num_layers; ++i) {
    const std::string prefix = name + ".layers." + std::to_string(i) + ".";
    side.layers.push_back(is_encoder ? layers.encoder_layer(prefix) : layers.decoder_layer(prefix));
  }
  return side;
}

// What turns ids or sounds into states, and states into logits.
static void read_ends(WeightReader& reader, const Config& config, Weights& weights) {
  const int64_t d = config.d_model;
  LayerReader layers(reader, config);
  weights.embed = reader.matrix("embed.weight", config.vocab_size, d);
  if (config.mel_bins > 0) {
    weights.conv1 = layers.dense("encoder.conv1", d, 3 * config.mel_bins, /*has_bias=*/true);
    weights.conv2 = layers.dense("encoder.conv2", d, 3 * d, /*has_bias=*/true);
  } else if (!config.is_shared_embedding) {
    weights.encoder_embed = reader.matrix("encoder.embed.weight", config.source_vocab_size, d);
  }
  if (!config.is_tied_output) weights.output = reader.matrix("output.weight", config.vocab_size, d);
  if (config.has_output_bias) weights.output_bias = reader.vector("output.bias", config.vocab_size);
}

static void read_gru(WeightReader& reader, const Config& config, Weights& weights) {
  const int64_t d = config.d_model;
  for (int64_t i = 0; i < config.num_encoder_layers; ++i) {
    const std::string prefix = "encoder.layers." + std::to_string(i) + ".";
    weights.gru_encoder.push_back(read_gru_layer(reader, config, prefix, d));
  }
  for (int64_t i = 0; i < config.num_decoder_layers; ++i) {
    const std::string prefix = "decoder.layers." + std::to_string(i) + ".";
    weights.gru_decoder.push_back(read_gru_layer(reader, config, prefix, i == 0 ? 2 * d : d));
  }
  weights.attn_query = reader.matrix("decoder.attn.query.weight", d, d);
  weights.attn_key = reader.matrix("decoder.attn.key.weight", d, d);
  weights.attn_score = reader.vector("decoder.attn.score.weight", d);
}

Weights load_weights(const Config& config, const Kernels& kernels, const WeightSource& source,
                     bool is_two_stage) {
  Weights weights;
  WeightReader reader(kernels, source, *weights.arena);
  weights.encoder = read_side(reader, config, /*is_encoder=*/true);
  weights.decoder = read_side(reader, config, /*is_encoder=*/false);
  if (config.cell == Cell::kGru) read_gru(reader, config, weights);
  read_ends(reader, config, weights);
  reader.finish();
  weights.is_f32 = reader.is_f32();
  const std::string output = config.is_tied_output ? "embed.weight" : "output.weight";
  // What follows the product would move the logits away from the bounds of a coarse one.
  const bool is_plain = !config.has_output_bias && config.logit_soft_cap == 0.0f;
  if (is_two_stage && is_plain) {
    const WeightView view = source.fetch(output);
    if (view.s8 != nullptr) weights.sketch = make_sketch(kernels, view, *weights.arena);
  }
  return weights;
}

}  // namespace duologue
