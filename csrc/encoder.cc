// The encoder: one new turn against the stored keys and values, or the carried state, of earlier ones.
//
// A layer of the transformer takes two sweeps over the rows of the turn: the first stores their keys
// and values, which all rows need before the second can attend to them. Everything else is row by row,
// so a sweep may stop between any two rows, and the result does not depend on where it does.
#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "model.h"

namespace duologue {

// Queries that one piece of work takes through a head: enough that each key it loads is used often.
constexpr int64_t kQueriesPerPiece = 4 * kMaxQueries;

// Where the next dialogue turn begins; a trimmed memory goes on from its last turn's position.
static int64_t next_position(const std::vector<SegmentPtr>& memory) {
  int64_t position = 0;
  for (const SegmentPtr& earlier : memory) {
    if (!earlier->is_document) position = earlier->start + earlier->length;
  }
  return position;
}

static void check_memory(const Model& model, const std::vector<SegmentPtr>& memory,
                         int64_t num_tokens) {
  if (model.config.is_full && !memory.empty()) {
    throw std::invalid_argument("this encoder sees everything at once: the memory must be empty");
  }
  int64_t total = num_tokens;
  for (const SegmentPtr& earlier : memory) {
    model.check(earlier);
    total += earlier->length;
  }
  if (total > model.config.max_positions) {
    throw std::invalid_argument("the memory would hold " + std::to_string(total) +
                                " tokens, more than max_positions, " +
                                std::to_string(model.config.max_positions));
  }
}

Encoding::Encoding(std::shared_ptr<Model> model, std::vector<SegmentPtr> memory,
                   std::vector<int64_t> ids, bool is_document)
    : model_(std::move(model)), memory_(std::move(memory)), ids_(std::move(ids)) {
  if (model_->config.mel_bins > 0) throw std::invalid_argument("this encoder hears, it reads no ids");
  if (ids_.empty()) throw std::invalid_argument("a segment needs at least one id");
  model_->check_ids(ids_, model_->config.source_vocab_size);
  begin(static_cast<int64_t>(ids_.size()), is_document);
}

Encoding::Encoding(std::shared_ptr<Model> model, std::vector<float> frames)
    : model_(std::move(model)), frames_(std::move(frames)) {
  const int64_t bins = model_->config.mel_bins;
  if (bins == 0) throw std::invalid_argument("this encoder reads ids, it hears no frames");
  const int64_t num_frames = static_cast<int64_t>(frames_.size()) / bins;
  if (num_frames < 1) throw std::invalid_argument("a segment needs at least one frame");
  if (num_frames * bins != static_cast<int64_t>(frames_.size())) {
    throw std::invalid_argument("frames must have mel_bins values each");
  }
  begin((num_frames + 1) / 2, /*is_document=*/false);
}

void Encoding::begin(int64_t n, bool is_document) {
  check_memory(*model_, memory_, n);
  const Config& config = model_->config;
  segment_ = std::make_shared<Segment>();
  segment_->length = n;
  segment_->is_document = is_document;
  segment_->start = is_document ? 0 : next_position(memory_);
  segment_->width = config.key_width();
  segment_->store = model_->store;
  const int64_t blocks = segment_->num_blocks();
  segment_->pages = Pages(model_->pool, model_->num_planes(is_document) * blocks);
  // What fills up a segment is saved with it: nothing of another memory that had these pages.
  for (int64_t plane = 0; n % kBlock != 0 && plane < segment_->num_planes(); ++plane) {
    std::memset(segment_->page(plane, blocks - 1), 0, model_->pool->page_bytes());
  }
  x_.reserve(n * config.d_model);
  if (model_->is_gru()) {
    state_.assign(config.num_encoder_layers * config.d_model, 0.0f);
    for (const SegmentPtr& earlier : memory_) {
      if (!is_document && !earlier->is_document) state_ = earlier->carried;
    }
  } else {
    query_.reserve(n * config.query_width());
    if (!model_->keeps_encoder(is_document)) own_pages_ = Pages(model_->pool, blocks);
  }
}

std::byte* Encoding::own_page(int64_t block) const {
  return model_->keeps_encoder(segment_->is_document) ? segment_->page(layer_, block)
                                                      : own_pages_[block];
}

// x_ of these rows = what the first layer reads.
void Encoding::embed_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  const int64_t n = end - begin;
  float* x = x_.data() + begin * model.config.d_model;
  if (model.config.mel_bins > 0) {
    hear_rows(begin, end);
  } else {
    embed(model, model.source_embed(), ids_.data() + begin, x, n);
  }
  if (model.is_gru()) return;
  std::vector<int64_t> positions(static_cast<size_t>(n));
  std::iota(positions.begin(), positions.end(), segment_->start + begin);
  finish_embedding(model, model.weights.encoder, positions.data(), x, n);
}

// Two convolutions of width 3, the second of stride 2, as products of windows of neighbours. Radford et
// al. 2022, arXiv:2212.04356, section 2.2
void Encoding::hear_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  Runtime& runtime = model.runtime;
  const int64_t d = model.config.d_model, bins = model.config.mel_bins, n = end - begin;
  const int64_t num_frames = static_cast<int64_t>(frames_.size()) / bins;
  // Row i of the second looks at rows 2i - 1 to 2i + 1 of the first.
  const int64_t first = 2 * begin - 1, num_first = 2 * n + 1;
  float* windows = model.workspace.wide.reserve(std::max(num_first * 3 * bins, n * 3 * d));
  float* heard = model.workspace.active.reserve(num_first * d);
  std::fill_n(windows, num_first * 3 * bins, 0.0f);
  for (int64_t row = 0; row < num_first; ++row) {
    for (int64_t tap = 0; tap < 3; ++tap) {
      const int64_t frame = first + row + tap - 1;
      if (frame < 0 || frame >= num_frames) continue;
      std::copy_n(frames_.data() + frame * bins, bins, windows + (row * 3 + tap) * bins);
    }
  }
  const auto gelu = [&](float* x, int64_t rows) {
    for_rows(runtime, rows, [&](int64_t row) {
      runtime.kernels.activate(Activation::kGelu, /*is_gated=*/false, x + row * d, x + row * d, d);
    });
  };
  dense(runtime, model.weights.conv1, windows, heard, num_first);
  gelu(heard, num_first);
  for (int64_t row = 0; row < num_first; ++row) {
    if (first + row < 0 || first + row >= num_frames) std::fill_n(heard + row * d, d, 0.0f);
  }
  for (int64_t row = 0; row < n; ++row) {
    std::copy_n(heard + 2 * row * d, 3 * d, windows + row * 3 * d);
  }
  float* x = x_.data() + begin * d;
  dense(runtime, model.weights.conv2, windows, x, n);
  gelu(x, n);
}

// Keys and values of these rows into their pages, queries into query_.
void Encoding::project_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  const Config& config = model.config;
  const TransformerLayer& layer = model.weights.encoder.layers[layer_];
  const int64_t n = end - begin, q = config.query_width(), width = config.qkv_width();
  std::vector<int64_t> positions(static_cast<size_t>(n));
  std::iota(positions.begin(), positions.end(), segment_->start + begin);
  make_angles(model, config.encoder_window, positions.data(), n);

  if (layer_ == 0) embed_rows(begin, end);
  const float* in = begin_branch(model, layer.self_branch, x_.data() + begin * config.d_model, n);
  const float* wide =
      project_qkv(model, layer.self, in, n, is_windowed(config.encoder_window, layer_));
  for_rows(model.runtime, n, [&](int64_t row) {
    const float* query = wide + row * width;
    const int64_t token = begin + row;
    model.put(own_page(token / kBlock), token % kBlock, query + q, query + q + config.key_width());
    std::copy_n(query, q, query_.data() + token * q);
  });
}

// mixed [n, H K] = attention over spans of these rows, the first of which is at `position`.
static void attend_rows(Model& model, const std::vector<Span>& spans, const DistanceBias& bias,
                        int64_t position, const float* query, float* mixed, int64_t n) {
  const Config& config = model.config;
  const int64_t q = config.query_width();
  const int64_t size = scores_size(static_cast<int64_t>(spans.size()), config.key_width());
  float* scores = model.workspace.scores.reserve(model.runtime.pool.num_threads() * size);
  const int64_t groups = (n + kQueriesPerPiece - 1) / kQueriesPerPiece;
  model.runtime.pool.parallel_for(groups * config.num_heads, [&](int64_t piece, int64_t thread) {
    const int64_t head = piece / groups;
    const int64_t first = piece % groups * kQueriesPerPiece;
    const int64_t last = std::min(first + kQueriesPerPiece, n);
    AttendTask task = model.attend_task(spans, scores + thread * size);
    task.biased_spans = task.num_spans;
    for (int64_t row = first; row < last; row += kMaxQueries) {
      task.q = query + row * q;
      task.out = mixed + row * q;
      task.bias = bias.of(head, position + row);
      model.attend(task, head, std::min(kMaxQueries, last - row));
    }
  });
}

// The rest of the layer for these rows: attention, then the feed-forward.
void Encoding::finish_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  const Config& config = model.config;
  const TransformerLayer& layer = model.weights.encoder.layers[layer_];
  const int64_t n = end - begin, q = config.query_width();
  std::vector<Span> spans;
  for (const SegmentPtr& earlier : memory_) {
    if (!segment_->is_document && !earlier->is_document) earlier->add_spans(layer_, spans);
  }
  for (int64_t block = 0; block < segment_->num_blocks(); ++block) {
    spans.push_back({own_page(block), std::min(kBlock, segment_->length - block * kBlock)});
  }
  float* x = x_.data() + begin * config.d_model;
  float* mixed = model.workspace.mixed.reserve(n * q);
  attend_rows(model, spans, distance_bias(model.weights.encoder, config.encoder_window, layer_),
              begin, query_.data() + begin * q, mixed, n);
  end_branch(model, layer.self_branch, layer.self.out, mixed, x, n);
  feed_forward(model, layer, x, n);
}

// What the decoder's layers will attend to.
void Encoding::cross_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  const Config& config = model.config;
  const int64_t n = end - begin, d = config.d_model, width = config.key_width();
  float* states = x_.data() + begin * d;
  if (config.has_final_norm) norm_rows(model, model.weights.encoder.norm, states, states, n);
  const int64_t first_plane = model.first_cross_plane(segment_->is_document);
  const std::vector<TransformerLayer>& layers = model.weights.decoder.layers;
  for (size_t index = 0; index < layers.size(); ++index) {
    const float* keys = project_memory(model, layers[index], states, n);
    for_rows(model.runtime, n, [&](int64_t row) {
      const int64_t token = begin + row;
      const float* key = keys + row * 2 * width;
      std::byte* page = segment_->page(first_plane + static_cast<int64_t>(index), token / kBlock);
      model.put(page, token % kBlock, key, key + width);
    });
  }
}

// One layer over these rows: the products of the inputs are made for all rows at once, and only those
// of the state follow one another.
void Encoding::gru_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  const GruLayer& layer = model.weights.gru_encoder[layer_];
  const int64_t n = end - begin, d = model.config.d_model;
  float* x = x_.data() + begin * d;
  float* h = state_.data() + layer_ * d;
  float* gate_x = model.workspace.wide.reserve(n * 3 * d);
  float* gate_h = model.workspace.mixed.reserve(3 * d);
  if (layer_ == 0) embed_rows(begin, end);
  linear(model.runtime, layer.input, x, gate_x, n);
  for (int64_t t = 0; t < n; ++t) {
    linear(model.runtime, layer.hidden, h, gate_h, 1);
    model.runtime.kernels.gru_cell(gate_x + t * 3 * d, gate_h, layer.bias_input.data(),
                                   layer.bias_hidden.data(), h, d);
    for (int64_t j = 0; j < d; ++j) x[t * d + j] += h[j];
  }
}

void Encoding::gru_outputs(int64_t begin, int64_t end) {
  Model& model = *model_;
  const int64_t n = end - begin, d = model.config.d_model;
  float* states = x_.data() + begin * d;
  float* keys = model.workspace.wide.reserve(n * d);
  norm_rows(model, model.weights.encoder.norm, states, states, n);
  linear(model.runtime, model.weights.attn_key, states, keys, n);
  for (int64_t row = 0; row < n; ++row) {
    const int64_t token = begin + row;
    model.put(segment_->page(0, token / kBlock), token % kBlock, keys + row * d, states + row * d);
  }
}

bool Encoding::advance() {
  if (is_done()) return true;
  std::lock_guard<std::mutex> lock(model_->mutex);
  ThreadPool::Pass pass(model_->runtime.pool);
  const int64_t begin = row_, end = std::min(row_ + kRows, segment_->length);
  const bool is_last_layer = layer_ == model_->config.num_encoder_layers;
  if (model_->is_gru()) {
    is_last_layer ? gru_outputs(begin, end) : gru_rows(begin, end);
  } else if (is_last_layer) {
    cross_rows(begin, end);
  } else {
    is_second_half_ ? finish_rows(begin, end) : project_rows(begin, end);
  }
  row_ = end;
  if (row_ < segment_->length) return false;
  row_ = 0;
  const bool has_second_half = !model_->is_gru() && !is_last_layer;
  if (has_second_half && !is_second_half_) {
    is_second_half_ = true;
    return false;
  }
  is_second_half_ = false;
  ++layer_;
  if (is_done() && model_->is_gru() && !segment_->is_document) segment_->carried = state_;
  return is_done();
}

SegmentPtr Encoding::segment() const {
  if (!is_done()) throw std::invalid_argument("this segment has not been encoded to its end");
  return segment_;
}

std::vector<float> Encoding::states() const {
  if (!is_done()) throw std::invalid_argument("this segment has not been encoded to its end");
  return {x_.data(), x_.data() + segment_->length * model_->config.d_model};
}

SegmentPtr encode(const std::shared_ptr<Model>& model, const std::vector<SegmentPtr>& memory,
                  const std::vector<int64_t>& ids, bool is_document) {
  Encoding encoding(model, memory, ids, is_document);
  while (!encoding.advance()) {
  }
  return encoding.segment();
}

}  // namespace duologue
