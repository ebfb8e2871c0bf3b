// The model: configuration, weights, and what is carried from call to call.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "linear.h"

namespace duologue {

enum class Cell { kTransformer, kGru };

// Mirrors ModelConfig of config.py; sizes are counts.
struct Config {
  Cell cell = Cell::kTransformer;
  int64_t vocab_size = 0;
  int64_t d_model = 0;
  int64_t d_ff = 0;
  int64_t num_heads = 0;
  int64_t num_encoder_layers = 0;
  int64_t num_decoder_layers = 0;
  int64_t max_positions = 0;
  double rope_theta = 0.0;
  float norm_eps = 0.0f;

  int64_t head_dim() const { return d_model / num_heads; }
};

// Keys and values of one layer for some tokens, in the layout of core.h.
struct KeyValues {
  Buffer<float> keys;    // [ceil(length/kBlock)][D][kBlock]
  Buffer<float> values;  // [length, D]

  KeyValues() = default;
  KeyValues(int64_t length, int64_t d_model)
      : keys(round_up(length, kBlock) * d_model), values(length * d_model) {}

  // Stores one token's key [D] and value [D] at `index`.
  void put(int64_t index, int64_t d_model, const float* key, const float* value);
};

// One encoded turn. Never changes once encode() has returned it; memories and decoders share it.
//   planes   transformer: keys and values of each encoder layer (dialogue only: nobody attends to a
//            document in the encoder), then the cross-attention's of each decoder layer
//            gru: one plane, additive-attention keys and encoder states
//   carried  gru: the encoder's state [L, D] after this turn; empty for a document
//   start    position of the first token
struct Segment {
  int64_t length = 0;
  int64_t start = 0;
  bool is_document = false;
  int64_t d_model = 0;
  std::vector<KeyValues> planes;
  Buffer<float> carried;

  int64_t num_bytes() const;
  Span span(size_t plane) const;
};

using SegmentPtr = std::shared_ptr<const Segment>;

struct TransformerLayer {
  std::vector<float> self_norm, cross_norm, ff_norm;
  Linear qkv, out, cross_q, cross_kv, cross_out, gate_up, down;
};

struct GruLayer {
  Linear input, hidden;
  std::vector<float> bias_input, bias_hidden;
};

// Read-only after loading. Which parts are filled depends on the cell.
struct Weights {
  Linear embed;
  std::vector<float> encoder_norm, decoder_norm;
  std::vector<TransformerLayer> encoder, decoder;  // encoder layers have no cross-attention
  std::vector<GruLayer> gru_encoder, gru_decoder;
  Linear attn_query, attn_key;
  std::vector<float> attn_score;
};

// Packs `views` for the kernels. Throws std::invalid_argument that lists every weight that is
// missing, surplus, or of the wrong shape or type.
Weights load_weights(const Config& config, const Kernels& kernels,
                     const std::map<std::string, WeightView>& views);

// Arrays of the pass in progress; contents do not outlive it.
struct Workspace {
  Buffer<float> x, normed, wide, mixed, active, hidden, cosine, sine, scores;
  KeyValues document;  // keys and values of a document's layer, which no later turn reads
};

class Model {
 public:
  // Throws std::invalid_argument for impossible sizes, unfitting weights or an unknown `isa`.
  Model(const Config& config, const std::map<std::string, WeightView>& views, int64_t threads,
        const std::string& isa);

  const Config config;
  Runtime runtime;
  const Weights weights;
  Workspace workspace;
  // Held by every call that uses the workspace or changes a DecoderState.
  std::mutex mutex;

  bool is_gru() const { return config.cell == Cell::kGru; }
  // Planes of a segment, and where those that the decoder reads begin.
  size_t num_planes(bool is_document) const;
  size_t first_cross_plane(bool is_document) const;

  // Throws std::invalid_argument when `segment` cannot have come from a model of these sizes.
  void check(const Segment& segment) const;
  // Throws std::invalid_argument when an id is outside the vocabulary.
  void check_ids(const std::vector<int64_t>& ids) const;

  // x [ids, D] = embeddings times sqrt(D).
  void embed(const std::vector<int64_t>& ids, float* x);
  // Cosines and sines [count, K/2] of the rotary angles for positions start, start + 1, ...
  void rotary_angles(int64_t start, int64_t count, float* cosine, float* sine) const;

 private:
  std::vector<float> frequency_;  // [K/2] radians a position
};

// y [rows, D] = RMSNorm of x [rows, D]; y may be x.
void norm_rows(Model& model, const float* x, const std::vector<float>& weight, float* y,
               int64_t rows);

// workspace.x [rows, D] += down(silu(gate(norm(x))) * up(norm(x))); uses normed and wide.
void feed_forward(Model& model, const TransformerLayer& layer, int64_t rows);

// What one decoding row carries from one step to the next. Only decode_step() changes it.
//   memory   what it reads; shared
//   length   tokens fed so far
//   blocks   transformer: keys and values [L] of kBlock tokens each; full blocks never change and are
//            shared between forks
//   hidden   gru: state [L, D]
//   record   cross-attention weights [length, S] if is_recording
class DecoderState {
 public:
  DecoderState(std::shared_ptr<Model> model, std::vector<SegmentPtr> segments, bool is_recording);

  // A copy that goes its own way.
  std::shared_ptr<DecoderState> fork() const;

  std::shared_ptr<Model> model;
  std::vector<SegmentPtr> memory;
  int64_t num_memory_tokens = 0;
  int64_t length = 0;
  std::vector<std::shared_ptr<std::vector<KeyValues>>> blocks;
  std::vector<float> hidden;
  bool is_recording = false;
  std::vector<float> record;
};

// Encodes one turn after the turns of `memory`: only the new tokens are computed. A document sees
// itself alone. Throws std::invalid_argument for no ids, an id outside the vocabulary, or a memory
// that would be longer than max_positions tokens.
SegmentPtr encode(Model& model, const std::vector<SegmentPtr>& memory,
                  const std::vector<int64_t>& ids, bool is_document);

// Feeds one token to each of B states, all different and of this model, each with its own memory and
// length; logits [B, V] of what comes next. Throws std::invalid_argument, before anything changes,
// for a wrong state or id, or a state that already has max_positions tokens.
void decode_step(Model& model, const std::vector<DecoderState*>& states,
                 const std::vector<int64_t>& ids, float* logits);

}  // namespace duologue
