// Small models with seeded random weights.
#pragma once

#include <map>
#include <memory>

#include "model.h"
#include "shared.h"

namespace duologue {

// What a tiny model is like. Ours; and what others have, a few of their parts in each:
//   kRelative  relative positions, soft caps of scores and logits, unlike embeddings and output
//   kPost      LayerNorm after each branch, biases, tables of positions, normed embeddings
//   kWindows   windows, shared keys, normed heads, norms around each branch, merged attention
//   kSpeech    the mel front end
enum class Shape { kTransformer, kGru, kRelative, kPost, kWindows, kSpeech };
constexpr Shape kShapes[] = {Shape::kTransformer, Shape::kGru,     Shape::kRelative,
                             Shape::kPost,        Shape::kWindows, Shape::kSpeech};
constexpr Shape kOurs[] = {Shape::kTransformer, Shape::kGru};
const char* name_of(Shape shape);

Config tiny_config(Shape shape);

// How the weights of a model are kept: all float32; all bytes; or in 4 bits, those around attention bf16.
enum class Precision { kF32, kS8, kMixed };
constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kS8, Precision::kMixed};

// Every weight that a configuration asks for; views point into this.
class TinyWeights {
 public:
  TinyWeights(const Config& config, Precision precision);

  std::map<std::string, WeightView> views() const;

 private:
  void add_matrix(const std::string& name, int64_t out, int64_t in);
  void add_dense(const std::string& name, int64_t out, int64_t in, bool has_bias);
  void add_vector(const std::string& name, int64_t size, float around);
  void add_table(const std::string& name, int64_t rows, int64_t columns);
  void add_norm(const Config& config, const std::string& name);
  void add_branch(const Config& config, const std::string& name);
  void add_side(const Config& config, bool is_encoder);
  void add_layer(const Config& config, const std::string& prefix, bool is_encoder);
  void add_self_attention(const Config& config, const std::string& name, bool is_merged);
  void add_gru(const Config& config);

  Precision precision_;
  Random random_{11};
  std::map<std::string, Matrix> matrices_;
  std::map<std::string, std::vector<float>> vectors_;
  std::map<std::string, std::vector<int64_t>> tables_;  // shapes of those vectors that are tables
};

WeightSource source_of(std::map<std::string, WeightView> views);

// float32 keys and values for float32 weights, else bfloat16.
std::shared_ptr<Model> tiny_model(Shape shape, Precision precision, const std::string& isa = "",
                                  int64_t threads = 1, int64_t cache_bytes = int64_t{1} << 26);

// A segment to encode.
struct Part {
  std::vector<int64_t> ids;
  bool is_document;
};

// Documents between and before turns; lengths below, at and above a page.
std::vector<Part> tiny_parts(const Model& model);

// The first `count` parts, one after another; where the encoder sees everything, in one segment, or as
// much speech.
std::vector<SegmentPtr> encode_parts(const std::shared_ptr<Model>& model,
                                     const std::vector<Part>& parts, size_t count);

using StatePtr = std::shared_ptr<DecoderState>;

// Logits [B, V] after one token for each state.
std::vector<float> step(Model& model, const std::vector<StatePtr>& states,
                        const std::vector<int64_t>& ids);

}  // namespace duologue
