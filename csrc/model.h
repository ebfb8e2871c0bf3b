// The model: weights, and what is carried from call to call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config.h"
#include "linear.h"
#include "pages.h"

namespace duologue {

// One encoded turn. Never changes once it has been encoded; memories and decoders share it.
//   pages    [planes][blocks]. Planes of a transformer: keys and values of each encoder layer (only of
//            what later turns attend to: no document, and nothing where the encoder sees everything),
//            then the cross-attention's of each decoder layer. Of a gru: one, additive-attention keys
//            and encoder states
//   carried  gru: the encoder's state [L, D] after this turn; empty for a document
//   start    position of the first token
struct Segment {
  int64_t length = 0;
  int64_t start = 0;
  bool is_document = false;
  int64_t width = 0;  // of a token's keys
  Store store = Store::kF32;
  Pages pages;
  std::vector<float> carried;

  int64_t num_blocks() const { return (length + kBlock - 1) / kBlock; }
  int64_t num_planes() const { return pages.count() / num_blocks(); }
  int64_t num_bytes() const;
  std::byte* page(int64_t plane, int64_t block) const { return pages[plane * num_blocks() + block]; }
  // Appends the tokens of a plane.
  void add_spans(int64_t plane, std::vector<Span>& spans) const;
};

using SegmentPtr = std::shared_ptr<const Segment>;

// bias: of a LayerNorm; weight: empty where the configuration has no such norm.
struct Norm {
  std::vector<float> weight, bias;
};

// A matrix and its bias, which may be empty.
struct Dense {
  Linear weight;
  std::vector<float> bias;
};

// What is added to attention scores because of the distance key - query alone; -inf: never seen.
//   values  [H, stride], or [stride] for all heads alike; the distance 0 is at `zero`. Padded, so that
//           kernels may read whole blocks
struct DistanceBias {
  std::vector<float> values;
  int64_t stride = 0;
  int64_t zero = 0;

  // Of a head's query at `position`, for keys from position 0 on; nullptr if there is none.
  const float* of(int64_t head, int64_t position) const {
    return values.empty() ? nullptr : values.data() + head * stride + zero - position;
  }
};

// The norms of a residual branch; `post` is used where norm_place is both.
struct Branch {
  Norm norm, post;
};

// Keys of an attention: its parts of a fused matrix, or of two where the memory needs them too.
struct SelfAttention {
  Dense qkv;    // not merged
  Dense q, kv;  // merged
  Dense out;
  std::vector<float> q_norm, k_norm;
  DistanceBias bias;  // of this layer alone
};

struct TransformerLayer {
  Branch self_branch, cross_branch, ff_branch;
  SelfAttention self;
  Dense cross_q, cross_kv, cross_out;
  Dense up, down;  // up: gate and up where it is gated
};

struct GruLayer {
  Linear input, hidden;
  std::vector<float> bias_input, bias_hidden;
};

// A coarse copy of the output matrix, for a first look at all ids that reads half the bytes.
//   weight  4 bits
//   error   [V] of each output: |exact weights - coarse ones| / sqrt(D), so that a coarse logit is off by
//           about this times |x|
struct Sketch {
  Linear weight;
  std::vector<float> error;

  bool is_used() const { return weight.out() > 0; }
};

// What encoder and decoder have once each.
//   positions  [N, D], or empty
//   relative   bias of all layers without one of their own; window: of the layers with a window
struct Side {
  std::vector<float> positions;
  Norm embed_norm, norm;
  DistanceBias relative, window;
  std::vector<TransformerLayer> layers;  // encoder layers have no cross-attention
};

// Read-only after loading. Which parts are filled depends on the configuration.
struct Weights {
  std::unique_ptr<Arena> arena = std::make_unique<Arena>();  // where the matrices lie
  Linear embed, encoder_embed, output;
  std::vector<float> output_bias;
  Dense conv1, conv2;
  Side encoder, decoder;
  bool is_f32 = true;  // all matrices
  std::vector<GruLayer> gru_encoder, gru_decoder;
  Linear attn_query, attn_key;
  std::vector<float> attn_score;
  Sketch sketch;
};

// The weights of a caller, who may make each of them only when it is asked for.
//   fetch  a weight by one of the names; what it returns is valid until the next call
struct WeightSource {
  std::set<std::string> names;
  std::function<WeightView(const std::string&)> fetch;
};

// Packs weights for the kernels, one after another. Throws std::invalid_argument that lists every weight
// that is missing, surplus, or of the wrong shape or type.
Weights load_weights(const Config& config, const Kernels& kernels, const WeightSource& source,
                     bool is_two_stage);

// Coarse copy of an int8 matrix. output.cc
Sketch make_sketch(const Kernels& kernels, const WeightView& weight, Arena& arena);

// The cosines and sines [rows, K/2] of some rows' positions.
struct Angles {
  Buffer<float> cosine, sine;
};

// Arrays of the pass in progress; contents do not outlive it.
//   angles  of layers without, and with a window
struct Workspace {
  Buffer<float> x, normed, wide, keys, mixed, active, hidden, scores;
  Angles angles[2];
};

// How a model runs.
//   threads      of one pass, the caller's included
//   isa          name of the instruction set; empty: the fastest
//   store        of keys and values; by default float32 if all weights are, else bf16
//   cache_bytes  most that keys and values of all memories and decoders take together
//   is_two_stage  make a Sketch of an int8 output matrix and use it where one row decodes; see output.cc
struct RunOptions {
  int64_t threads = 1;
  std::string isa;
  std::optional<Store> store;
  int64_t cache_bytes = int64_t{1} << 30;
  bool is_two_stage = false;
};

// Attention of one head's width over spans; queries, results and what else is special are added by the
// caller.
inline AttendTask attend_task(const std::vector<Span>& spans, int64_t width, float* scores) {
  AttendTask task = {};
  task.q_stride = width;
  task.out_stride = width;
  task.spans = spans.data();
  task.num_spans = static_cast<int64_t>(spans.size());
  task.width = width;
  task.group = 1;
  task.scale = 1.0f;
  task.scores = scores;
  return task;
}

class Model {
 public:
  // Throws std::invalid_argument for impossible sizes, unfitting weights or an unknown `isa`.
  Model(const Config& config, const WeightSource& source, const RunOptions& options);

  const Config config;
  Runtime runtime;
  const Weights weights;
  const Store store;
  const std::shared_ptr<PagePool> pool;
  Workspace workspace;
  // Held by every call that uses the workspace or changes a DecoderState.
  std::mutex mutex;

  bool is_gru() const { return config.cell == Cell::kGru; }
  // Whether later turns attend to a segment's keys and values in the encoder.
  bool keeps_encoder(bool is_document) const { return !is_gru() && !is_document && !config.is_full; }
  // Planes of a segment, and where those that the decoder reads begin.
  int64_t num_planes(bool is_document) const;
  int64_t first_cross_plane(bool is_document) const;

  // Attention over spans as this model's heads do it.
  AttendTask attend_task(const std::vector<Span>& spans, float* scores) const;
  // Kernels for this model's store.
  void put(void* page, int64_t index, const float* key, const float* value) const;
  void attend(const AttendTask& task, int64_t head, int64_t num_queries) const;
  void attend_additive(const AttendTask& task) const;

  const Linear& output() const { return config.is_tied_output ? weights.embed : weights.output; }
  const Linear& source_embed() const {
    return config.is_shared_embedding ? weights.embed : weights.encoder_embed;
  }

  // Throws std::invalid_argument when `segment` cannot have come from a model of these sizes.
  void check(const SegmentPtr& segment) const;
  // Throws std::invalid_argument when an id is outside a vocabulary of `size`.
  void check_ids(const std::vector<int64_t>& ids, int64_t size) const;

  // Radians a position [K/2], of layers without and with a window.
  const std::vector<float>& frequency(bool is_windowed) const { return frequency_[is_windowed]; }

 private:
  std::vector<float> frequency_[2];
};

// --- layers.cc: what encoder and decoder have in common --------------------------------------------

// Whether a layer looks through the window of its side.
bool is_windowed(const Window& window, int64_t layer);
// What a layer adds to its scores; may be empty.
const DistanceBias& distance_bias(const Side& side, const Window& window, int64_t layer);
// The bias of each distance, from weights [buckets, H] row by row. Raffel et al. 2020, arXiv:1910.10683,
// section 2.1: half of the buckets are single distances, the rest grow up to relative_distance.
DistanceBias relative_bias(const Config& config, const std::vector<float>& weights, bool is_encoder);
DistanceBias window_bias(const Window& window, int64_t num_positions);

// y [rows, out] = x [rows, in] W^T + bias. x and y must not overlap.
void dense(Runtime& runtime, const Dense& layer, const float* x, float* y, int64_t rows);
// y [rows, D] = norm of x [rows, D]; y may be x.
void norm_rows(Model& model, const Norm& norm, const float* x, float* y, int64_t rows);
// What a branch reads: x [rows, D] itself, or its norm in the workspace's `normed`.
const float* begin_branch(Model& model, const Branch& branch, const float* x, int64_t rows);
// x [rows, D] becomes the sum of itself and last(in), normed where norm_place says so; `in` must not
// lie in `normed`.
void end_branch(Model& model, const Branch& branch, const Dense& last, const float* in, float* x,
                int64_t rows);
// x [rows, D] after the feed-forward; uses the workspace's normed, wide and active.
void feed_forward(Model& model, const TransformerLayer& layer, float* x, int64_t rows);

// x [rows, D] = embeddings of ids [rows], each times embed_scale.
void embed(Model& model, const Linear& table, const int64_t* ids, float* x, int64_t rows);
// Adds the positions of a table, positions [rows], to x [rows, D], and norms it where there is such a norm.
void finish_embedding(Model& model, const Side& side, const int64_t* positions, float* x,
                      int64_t rows);
// Rotary angles of positions [rows] into the workspace, for layers of both kinds if there are both.
void make_angles(Model& model, const Window& window, const int64_t* positions, int64_t rows);
// wide [rows, (H + 2 G) K] = queries, keys and values of x [rows, D], normed and turned where the
// configuration says so; `wide` is the workspace's.
float* project_qkv(Model& model, const SelfAttention& attention, const float* x, int64_t rows,
                   bool has_window);
// keys [rows, 2 G K] = keys and values that a layer of the decoder will look for in states x [rows, D];
// `keys` is the workspace's.
float* project_memory(Model& model, const TransformerLayer& layer, const float* x, int64_t rows);

// --- output.cc ---------------------------------------------------------------------------------------

// logits [rows, V] of normed states x [rows, D].
//
// In two stages for a single row: coarse logits of all ids first; then the exact product for every panel
// that holds an id which could be the best, or come close to it, given how far a coarse logit is off.
// What is exact is so to the bit; the rest is far below the best, and approximate.
void output_logits(Model& model, const float* x, int64_t rows, float* logits);

using Head = std::pair<int64_t, int64_t>;

// What one decoding row carries from one step to the next. Only decode_step() changes it.
//   memory   what it reads; shared
//   length   tokens fed so far
//   blocks   transformer: for each kBlock tokens a page for each decoder layer; full blocks never
//            change and are shared between forks
//   hidden   gru: state [L, D]
//   recorded_heads  (layer, head) whose cross-attention is recorded one by one; empty: the mean of all
//   record   cross-attention weights [length, recorded_heads or 1, S] if is_recording
class DecoderState {
 public:
  // Throws std::invalid_argument for a segment of another model, or a head that there is not.
  DecoderState(std::shared_ptr<Model> model, std::vector<SegmentPtr> segments, bool is_recording,
               std::vector<Head> recorded_heads = {});

  // A copy that goes its own way.
  std::shared_ptr<DecoderState> fork() const;

  std::shared_ptr<Model> model;
  std::vector<SegmentPtr> memory;
  int64_t num_memory_tokens = 0;
  int64_t length = 0;
  std::vector<std::shared_ptr<Pages>> blocks;
  std::vector<float> hidden;
  bool is_recording = false;
  std::vector<Head> recorded_heads;
  std::vector<float> record;

  int64_t num_records() const {
    return std::max<int64_t>(1, static_cast<int64_t>(recorded_heads.size()));
  }
};

// One turn on its way into a memory, in pieces of bounded work, so that others can decode in between.
// Only the new tokens are computed; a document sees itself alone.
class Encoding {
 public:
  // Throws std::invalid_argument for no ids, an id outside the vocabulary, a memory that would be
  // longer than max_positions tokens, or an earlier segment where the encoder sees everything;
  // CacheFullError if there is no room.
  Encoding(std::shared_ptr<Model> model, std::vector<SegmentPtr> memory, std::vector<int64_t> ids,
           bool is_document);
  // The same for frames [n, mel_bins] of speech, two for each token.
  Encoding(std::shared_ptr<Model> model, std::vector<float> frames);

  // Computes the next piece; true once all is done. At most kRows tokens go through about half a
  // layer in one piece.
  bool advance();
  bool is_done() const { return layer_ == num_layers(); }
  // The finished segment; throws std::invalid_argument before that.
  SegmentPtr segment() const;
  // What the encoder has made of its tokens, [n, D], the final norm included; throws likewise.
  std::vector<float> states() const;

  static constexpr int64_t kRows = 64;

 private:
  int64_t num_layers() const { return model_->config.num_encoder_layers + 1; }
  void begin(int64_t num_tokens, bool is_document);
  void embed_rows(int64_t begin, int64_t end);
  void hear_rows(int64_t begin, int64_t end);
  void project_rows(int64_t begin, int64_t end);
  void finish_rows(int64_t begin, int64_t end);
  void cross_rows(int64_t begin, int64_t end);
  void gru_rows(int64_t begin, int64_t end);
  void gru_outputs(int64_t begin, int64_t end);
  std::byte* own_page(int64_t block) const;

  std::shared_ptr<Model> model_;
  std::vector<SegmentPtr> memory_;
  std::vector<int64_t> ids_;
  std::vector<float> frames_;
  std::shared_ptr<Segment> segment_;
  Pages own_pages_;  // keys and values of the layer in progress where no later turn reads them
  Buffer<float> x_;       // [n, D] what the layers have made of the tokens so far
  Buffer<float> query_;   // [n, H K] of the layer in progress
  std::vector<float> state_;  // gru: [L, D]
  int64_t layer_ = 0;     // the last one is the projection for the decoder
  bool is_second_half_ = false;
  int64_t row_ = 0;
};

// All pieces of an Encoding at once.
SegmentPtr encode(const std::shared_ptr<Model>& model, const std::vector<SegmentPtr>& memory,
                  const std::vector<int64_t>& ids, bool is_document);

// Feeds one token to each of B states, all different and of this model, each with its own memory and
// length; logits [B, V] of what comes next. Throws, before anything changes, std::invalid_argument for
// a wrong state or id, or a state that already has target_positions tokens, and CacheFullError.
void decode_step(Model& model, const std::vector<DecoderState*>& states,
                 const std::vector<int64_t>& ids, float* logits);

// Takes the suppressed ids [count] out of logits [rows, V] (they become -inf), then scores each row.
// Throws std::invalid_argument for an id outside the vocabulary.
void score_rows(Model& model, float* logits, int64_t rows, const std::vector<int64_t>& suppressed,
                RowScore* scores);

}  // namespace duologue
