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
  WeightReader(const Kernels& kernels, const std::map<std::string, WeightView>& views, Arena& arena)
      : kernels_(kernels), views_(views), arena_(arena) {}

  Linear matrix(const std::string& name, int64_t out, int64_t in) {
    const WeightView* view = find(name, {out, in});
    return view == nullptr ? Linear() : Linear(kernels_, *view, arena_);
  }

  std::vector<float> vector(const std::string& name, int64_t size) {
    const WeightView* view = find(name, {size});
    if (view == nullptr) return {};
    if (view->f32 == nullptr) {
      problems_.push_back(name + " must be float32");
      return {};
    }
    return std::vector<float>(view->f32, view->f32 + size);
  }

  void finish() {
    for (const auto& [name, view] : views_) {
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

  const WeightView* find(const std::string& name, const std::vector<int64_t>& shape) {
    taken_.insert(name);
    const auto found = views_.find(name);
    if (found == views_.end()) {
      problems_.push_back(name + " is missing");
      return nullptr;
    }
    if (found->second.shape != shape) {
      problems_.push_back(name + " has shape " + text(found->second.shape) + " and should have " +
                          text(shape));
      return nullptr;
    }
    if (!has_values(found->second)) {
      problems_.push_back(name + " holds no values");
      return nullptr;
    }
    if (!is_finite(found->second)) {
      problems_.push_back(name + " holds values that are no finite numbers");
      return nullptr;
    }
    return &found->second;
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
  const std::map<std::string, WeightView>& views_;
  Arena& arena_;
  std::set<std::string> taken_;
  std::vector<std::string> problems_;
};

static TransformerLayer read_encoder_layer(WeightReader& reader, const Config& config,
                                           const std::string& prefix) {
  const int64_t d = config.d_model, f = config.d_ff;
  TransformerLayer layer;
  layer.self_norm = reader.vector(prefix + "attn_norm.weight", d);
  layer.qkv = reader.matrix(prefix + "attn.qkv.weight", 3 * d, d);
  layer.out = reader.matrix(prefix + "attn.out.weight", d, d);
  layer.ff_norm = reader.vector(prefix + "ff_norm.weight", d);
  layer.gate_up = reader.matrix(prefix + "ff.gate_up.weight", 2 * f, d);
  layer.down = reader.matrix(prefix + "ff.down.weight", d, f);
  return layer;
}

static TransformerLayer read_decoder_layer(WeightReader& reader, const Config& config,
                                           const std::string& prefix) {
  const int64_t d = config.d_model, f = config.d_ff;
  TransformerLayer layer;
  layer.self_norm = reader.vector(prefix + "self_norm.weight", d);
  layer.qkv = reader.matrix(prefix + "self_attn.qkv.weight", 3 * d, d);
  layer.out = reader.matrix(prefix + "self_attn.out.weight", d, d);
  layer.cross_norm = reader.vector(prefix + "cross_norm.weight", d);
  layer.cross_q = reader.matrix(prefix + "cross_attn.q.weight", d, d);
  layer.cross_kv = reader.matrix(prefix + "cross_attn.kv.weight", 2 * d, d);
  layer.cross_out = reader.matrix(prefix + "cross_attn.out.weight", d, d);
  layer.ff_norm = reader.vector(prefix + "ff_norm.weight", d);
  layer.gate_up = reader.matrix(prefix + "ff.gate_up.weight", 2 * f, d);
  layer.down = reader.matrix(prefix + "ff.down.weight", d, f);
  return layer;
}

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

static void read_transformer(WeightReader& reader, const Config& config, Weights& weights) {
  for (int64_t i = 0; i < config.num_encoder_layers; ++i) {
    const std::string prefix = "encoder.layers." + std::to_string(i) + ".";
    weights.encoder.push_back(read_encoder_layer(reader, config, prefix));
  }
  for (int64_t i = 0; i < config.num_decoder_layers; ++i) {
    const std::string prefix = "decoder.layers." + std::to_string(i) + ".";
    weights.decoder.push_back(read_decoder_layer(reader, config, prefix));
  }
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

Weights load_weights(const Config& config, const Kernels& kernels,
                     const std::map<std::string, WeightView>& views, bool is_two_stage) {
  Weights weights;
  WeightReader reader(kernels, views, *weights.arena);
  weights.encoder_norm = reader.vector("encoder.norm.weight", config.d_model);
  weights.decoder_norm = reader.vector("decoder.norm.weight", config.d_model);
  if (config.cell == Cell::kGru) {
    read_gru(reader, config, weights);
  } else {
    read_transformer(reader, config, weights);
  }
  weights.embed = reader.matrix("embed.weight", config.vocab_size, config.d_model);
  reader.finish();
  if (is_two_stage && weights.embed.format() == Format::kS8) {
    weights.sketch = make_sketch(kernels, views.at("embed.weight"), *weights.arena);
  }
  return weights;
}

}  // namespace duologue
