// The model: configuration, weights, and what is carried from call to call.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "linear.h"
#include "pages.h"

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

// One encoded turn. Never changes once it has been encoded; memories and decoders share it.
//   pages    [planes][blocks]. Planes of a transformer: keys and values of each encoder layer (dialogue
//            only: nobody attends to a document in the encoder), then the cross-attention's of each
//            decoder layer. Of a gru: one, additive-attention keys and encoder states
//   carried  gru: the encoder's state [L, D] after this turn; empty for a document
//   start    position of the first token
struct Segment {
  int64_t length = 0;
  int64_t start = 0;
  bool is_document = false;
  int64_t d_model = 0;
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

struct TransformerLayer {
  std::vector<float> self_norm, cross_norm, ff_norm;
  Linear qkv, out, cross_q, cross_kv, cross_out, gate_up, down;
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

// Read-only after loading. Which parts are filled depends on the cell.
struct Weights {
  std::unique_ptr<Arena> arena = std::make_unique<Arena>();  // where the matrices lie
  Linear embed;
  std::vector<float> encoder_norm, decoder_norm;
  std::vector<TransformerLayer> encoder, decoder;  // encoder layers have no cross-attention
  std::vector<GruLayer> gru_encoder, gru_decoder;
  Linear attn_query, attn_key;
  std::vector<float> attn_score;
  Sketch sketch;
};

// Packs `views` for the kernels. Throws std::invalid_argument that lists every weight that is
// missing, surplus, or of the wrong shape or type.
Weights load_weights(const Config& config, const Kernels& kernels,
                     const std::map<std::string, WeightView>& views, bool is_two_stage);

// Coarse copy of an int8 matrix. output.cc
Sketch make_sketch(const Kernels& kernels, const WeightView& weight, Arena& arena);

// Arrays of the pass in progress; contents do not outlive it.
struct Workspace {
  Buffer<float> x, normed, wide, mixed, active, hidden, cosine, sine, scores;
};

// How a model runs.
//   threads      of one pass, the caller's included
//   isa          name of the instruction set; empty: the fastest
//   store        of keys and values
//   cache_bytes  most that keys and values of all memories and decoders take together
//   is_two_stage  make a Sketch of an int8 output matrix and use it where one row decodes; see output.cc
struct RunOptions {
  int64_t threads = 1;
  std::string isa;
  Store store = Store::kF32;
  int64_t cache_bytes = int64_t{1} << 30;
  bool is_two_stage = false;
};

// What attention over spans has in common, whoever asks: queries and results are added by the caller.
inline AttendTask attend_task(const std::vector<Span>& spans, int64_t d_model, float* scores) {
  AttendTask task = {};
  task.q_stride = d_model;
  task.out_stride = d_model;
  task.spans = spans.data();
  task.num_spans = static_cast<int64_t>(spans.size());
  task.d_model = d_model;
  task.scores = scores;
  return task;
}

class Model {
 public:
  // Throws std::invalid_argument for impossible sizes, unfitting weights or an unknown `isa`.
  Model(const Config& config, const std::map<std::string, WeightView>& views,
        const RunOptions& options);

  const Config config;
  const Store store;
  Runtime runtime;
  const Weights weights;
  const std::shared_ptr<PagePool> pool;
  Workspace workspace;
  // Held by every call that uses the workspace or changes a DecoderState.
  std::mutex mutex;

  bool is_gru() const { return config.cell == Cell::kGru; }
  // Planes of a segment, and where those that the decoder reads begin.
  int64_t num_planes(bool is_document) const;
  int64_t first_cross_plane(bool is_document) const;

  // Kernels for this model's store.
  void put(void* page, int64_t index, const float* key, const float* value) const;
  void attend(const AttendTask& task, int64_t head, int64_t num_queries) const;
  void attend_additive(const AttendTask& task) const;

  // Throws std::invalid_argument when `segment` cannot have come from a model of these sizes.
  void check(const SegmentPtr& segment) const;
  // Throws std::invalid_argument when an id is outside the vocabulary.
  void check_ids(const std::vector<int64_t>& ids) const;

  // x [count, D] = embeddings of ids [count] times sqrt(D).
  void embed(const int64_t* ids, int64_t count, float* x);
  // Cosines and sines [count, K/2] of the rotary angles for positions start, start + 1, ...
  void rotary_angles(int64_t start, int64_t count, float* cosine, float* sine) const;

 private:
  std::vector<float> frequency_;  // [K/2] radians a position
};

// y [rows, D] = RMSNorm of x [rows, D]; y may be x.
void norm_rows(Model& model, const float* x, const std::vector<float>& weight, float* y,
               int64_t rows);

// x [rows, D] += down(silu(gate(norm(x))) * up(norm(x))); uses the workspace's normed, wide and active.
void feed_forward(Model& model, const TransformerLayer& layer, float* x, int64_t rows);

// logits [rows, V] of normed states x [rows, D].
//
// In two stages for a single row: coarse logits of all ids first; then the exact product for every panel
// that holds an id which could be the best, or come close to it, given how far a coarse logit is off.
// What is exact is so to the bit; the rest is far below the best, and approximate.
void output_logits(Model& model, const float* x, int64_t rows, float* logits);

// What one decoding row carries from one step to the next. Only decode_step() changes it.
//   memory   what it reads; shared
//   length   tokens fed so far
//   blocks   transformer: for each kBlock tokens a page for each decoder layer; full blocks never
//            change and are shared between forks
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
  std::vector<std::shared_ptr<Pages>> blocks;
  std::vector<float> hidden;
  bool is_recording = false;
  std::vector<float> record;
};

// One turn on its way into a memory, in pieces of bounded work, so that others can decode in between.
// Only the new tokens are computed; a document sees itself alone.
class Encoding {
 public:
  // Throws std::invalid_argument for no ids, an id outside the vocabulary, or a memory that would be
  // longer than max_positions tokens; CacheFullError if there is no room.
  Encoding(std::shared_ptr<Model> model, std::vector<SegmentPtr> memory, std::vector<int64_t> ids,
           bool is_document);

  // Computes the next piece; true once all is done. At most kRows tokens go through about half a
  // layer in one piece.
  bool advance();
  bool is_done() const { return layer_ == num_layers(); }
  // The finished segment; throws std::invalid_argument before that.
  SegmentPtr segment() const;

  static constexpr int64_t kRows = 64;

 private:
  int64_t num_layers() const { return model_->config.num_encoder_layers + 1; }
  void project_rows(int64_t begin, int64_t end);
  void finish_rows(int64_t begin, int64_t end);
  void cross_rows(int64_t begin, int64_t end);
  void gru_rows(int64_t begin, int64_t end);
  void gru_outputs(int64_t begin, int64_t end);
  std::byte* own_page(int64_t block) const;

  std::shared_ptr<Model> model_;
  std::vector<SegmentPtr> memory_;
  std::vector<int64_t> ids_;
  std::shared_ptr<Segment> segment_;
  Pages document_pages_;  // keys and values of a document's layer, which no later turn reads
  Buffer<float> x_;       // [n, D] what the layers have made of the tokens so far
  Buffer<float> query_;   // [n, D] of the layer in progress
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
// a wrong state or id, or a state that already has max_positions tokens, and CacheFullError.
void decode_step(Model& model, const std::vector<DecoderState*>& states,
                 const std::vector<int64_t>& ids, float* logits);

// Takes the suppressed ids [count] out of logits [rows, V] (they become -inf), then scores each row.
// Throws std::invalid_argument for an id outside the vocabulary.
void score_rows(Model& model, float* logits, int64_t rows, const std::vector<int64_t>& suppressed,
                RowScore* scores);

}  // namespace duologue
