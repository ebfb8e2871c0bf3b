// Small models with seeded random weights.
#pragma once

#include <map>
#include <memory>

#include "model.h"
#include "shared.h"

namespace duologue {

Config tiny_config(Cell cell);

// How the weights of a model are kept: all float32; all bytes; or in 4 bits, those around attention bf16.
enum class Precision { kF32, kS8, kMixed };
constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kS8, Precision::kMixed};
constexpr Cell kCells[] = {Cell::kTransformer, Cell::kGru};

// Every weight that a configuration asks for; views point into this.
class TinyWeights {
 public:
  TinyWeights(const Config& config, Precision precision);

  std::map<std::string, WeightView> views() const;

 private:
  void add_matrix(const std::string& name, int64_t out, int64_t in);
  void add_vector(const std::string& name, int64_t size, float around);
  void add_transformer(const Config& config);
  void add_gru(const Config& config);

  Precision precision_;
  Random random_{11};
  std::map<std::string, Matrix> matrices_;
  std::map<std::string, std::vector<float>> vectors_;
};

// float32 keys and values for float32 weights, else bfloat16.
std::shared_ptr<Model> tiny_model(Cell cell, Precision precision, const std::string& isa = "",
                                  int64_t threads = 1, int64_t cache_bytes = int64_t{1} << 26);

// A segment to encode.
struct Part {
  std::vector<int64_t> ids;
  bool is_document;
};

// Documents between and before turns; lengths below, at and above a page.
std::vector<Part> tiny_parts(const Model& model);

// The first `count` parts, one after another.
std::vector<SegmentPtr> encode_parts(const std::shared_ptr<Model>& model,
                                     const std::vector<Part>& parts, size_t count);

using StatePtr = std::shared_ptr<DecoderState>;

// Logits [B, V] after one token for each state.
std::vector<float> step(Model& model, const std::vector<StatePtr>& states,
                        const std::vector<int64_t>& ids);

}  // namespace duologue
