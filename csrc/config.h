// The shape of a model: mirrors ModelConfig of src/duologue/config/model.py, which explains each value.
#pragma once

#include <cstdint>
#include <vector>

#include "core.h"

namespace duologue {

enum class Cell { kTransformer, kGru };
enum class Positions { kRotary, kRelative, kTable };
enum class NormKind { kRms, kLayer };
enum class NormPlace { kPre, kPost, kBoth };

// Neighbours that the layers with a window see on each side.
struct Window {
  int64_t before = 0;
  int64_t after = 0;
  std::vector<int64_t> layers;
};

// Sizes are counts. mel_bins 0: the source is ids.
struct Config {
  Cell cell = Cell::kTransformer;
  int64_t vocab_size = 0;
  int64_t source_vocab_size = 0;
  int64_t d_model = 0;
  int64_t d_ff = 0;
  int64_t num_heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t num_encoder_layers = 0;
  int64_t num_decoder_layers = 0;
  int64_t max_positions = 0;
  int64_t target_positions = 0;
  int64_t mel_bins = 0;
  bool is_full = false;  // the encoder sees everything: a memory is one segment

  Positions positions = Positions::kRotary;
  double rope_theta = 0.0;
  double rope_factor = 1.0;
  double window_rope_theta = 0.0;
  int64_t relative_buckets = 0;
  int64_t relative_distance = 0;
  bool is_relative_per_layer = false;
  Window encoder_window, decoder_window;

  NormKind norm = NormKind::kRms;
  NormPlace norm_place = NormPlace::kPre;
  float norm_eps = 0.0f;
  bool has_final_norm = true;
  bool has_embed_norm = false;

  float attn_scale = 0.0f;
  float attn_soft_cap = 0.0f;
  float logit_soft_cap = 0.0f;
  bool has_qk_norm = false;
  bool is_merged = false;  // the decoder's self- and cross-attention are one
  bool has_bias = false;
  Activation activation = Activation::kSilu;
  bool is_gated = true;
  float embed_scale = 0.0f;
  bool is_shared_embedding = true;
  bool is_tied_output = true;
  bool has_output_bias = false;

  int64_t query_width() const { return num_heads * head_dim; }
  // Of a token's keys, and as much for its values.
  int64_t key_width() const { return cell == Cell::kGru ? d_model : kv_heads * head_dim; }
  int64_t qkv_width() const { return query_width() + 2 * key_width(); }
  bool has_table() const { return positions == Positions::kTable; }
};

// Throws std::invalid_argument for sizes that no model can have.
void check_config(const Config& config);

}  // namespace duologue
