// From ModelConfig to Config.
#include "bindings.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <map>
#include <optional>

namespace duologue {

// An attribute that names one of `values`.
template <class T>
static T choice(nb::handle source, const char* name, const std::map<std::string, T>& values) {
  const std::string given = nb::cast<std::string>(source.attr(name));
  const auto found = values.find(given);
  if (found == values.end()) throw std::invalid_argument(std::string(name) + " cannot be " + given);
  return found->second;
}

static void read_places(nb::handle source, Config& config) {
  using Pair = std::pair<int64_t, int64_t>;
  config.positions = choice<Positions>(source, "positions",
                                       {{"rotary", Positions::kRotary},
                                        {"relative", Positions::kRelative},
                                        {"learned", Positions::kTable},
                                        {"sinusoidal", Positions::kTable}});
  config.rope_theta = nb::cast<double>(source.attr("rope_theta"));
  config.rope_factor = nb::cast<double>(source.attr("rope_factor"));
  config.window_rope_theta =
      nb::cast<std::optional<double>>(source.attr("window_rope_theta")).value_or(config.rope_theta);
  config.relative_buckets = nb::cast<int64_t>(source.attr("relative_buckets"));
  config.relative_distance = nb::cast<int64_t>(source.attr("relative_distance"));
  config.is_relative_per_layer = nb::cast<bool>(source.attr("relative_per_layer"));
  const auto encoder =
      nb::cast<std::optional<Pair>>(source.attr("encoder_window")).value_or(Pair(0, 0));
  config.encoder_window = {encoder.first, encoder.second,
                           nb::cast<std::vector<int64_t>>(source.attr("encoder_window_layers"))};
  config.decoder_window = {
      nb::cast<std::optional<int64_t>>(source.attr("decoder_window")).value_or(0), 0,
      nb::cast<std::vector<int64_t>>(source.attr("decoder_window_layers"))};
}

static void read_layers(nb::handle source, Config& config) {
  const auto number = [&](const char* name) {
    return static_cast<float>(nb::cast<double>(source.attr(name)));
  };
  const auto flag = [&](const char* name) { return nb::cast<bool>(source.attr(name)); };
  const auto factor = [&](const char* name, double standard) {
    const auto given = nb::cast<std::optional<double>>(source.attr(name));
    return static_cast<float>(given.value_or(standard));
  };
  config.norm =
      choice<NormKind>(source, "norm", {{"rms", NormKind::kRms}, {"layer", NormKind::kLayer}});
  config.norm_place = choice<NormPlace>(
      source, "norm_place",
      {{"pre", NormPlace::kPre}, {"post", NormPlace::kPost}, {"both", NormPlace::kBoth}});
  config.activation = choice<Activation>(source, "activation",
                                         {{"silu", Activation::kSilu},
                                          {"relu", Activation::kRelu},
                                          {"gelu", Activation::kGelu},
                                          {"gelu_tanh", Activation::kGeluTanh}});
  config.norm_eps = number("norm_eps");
  config.attn_soft_cap = number("attn_soft_cap");
  config.logit_soft_cap = number("logit_soft_cap");
  config.attn_scale = factor("attn_scale", 1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  config.embed_scale = factor("embed_scale", std::sqrt(static_cast<double>(config.d_model)));
  config.has_final_norm = flag("final_norm");
  config.has_embed_norm = flag("embed_norm");
  config.has_qk_norm = flag("qk_norm");
  config.is_merged = flag("merged_attention");
  config.has_bias = flag("bias");
  config.is_gated = flag("gated");
  config.is_shared_embedding = flag("shared_embedding");
  config.is_tied_output = flag("tied_output");
  config.has_output_bias = flag("output_bias");
}

Config read_config(nb::handle source) {
  const auto size = [&](const char* name) { return nb::cast<int64_t>(source.attr(name)); };
  Config config;
  config.cell =
      choice<Cell>(source, "cell", {{"transformer", Cell::kTransformer}, {"gru", Cell::kGru}});
  config.is_full = choice<bool>(source, "encoder_mask", {{"block_causal", false}, {"full", true}});
  const bool hears = choice<bool>(source, "front_end", {{"tokens", false}, {"mel", true}});
  config.vocab_size = size("vocab_size");
  config.source_vocab_size =
      nb::cast<std::optional<int64_t>>(source.attr("source_vocab_size")).value_or(config.vocab_size);
  config.d_model = size("d_model");
  config.d_ff = size("d_ff");
  config.num_heads = size("num_heads");
  config.kv_heads = size("kv_heads");
  config.head_dim = size("head_dim");
  config.num_encoder_layers = size("num_encoder_layers");
  config.num_decoder_layers = size("num_decoder_layers");
  config.max_positions = size("max_positions");
  config.target_positions = size("target_positions");
  config.mel_bins = hears ? size("mel_bins") : 0;
  read_places(source, config);
  read_layers(source, config);
  return config;
}

}  // namespace duologue
