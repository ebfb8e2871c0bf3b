// The encoder: one new turn against the stored keys and values, or the carried state, of earlier ones.
//
// A layer of the transformer takes two sweeps over the rows of the turn: the first stores their keys
// and values, which all rows need before the second can attend to them. Everything else is row by row,
// so a sweep may stop between any two rows, and the result does not depend on where it does.
#include <algorithm>
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

static void check_input(const Model& model, const std::vector<SegmentPtr>& memory,
                        const std::vector<int64_t>& ids) {
  if (ids.empty()) throw std::invalid_argument("a segment needs at least one id");
  model.check_ids(ids);
  int64_t total = static_cast<int64_t>(ids.size());
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
  check_input(*model_, memory_, ids_);
  const Config& config = model_->config;
  const int64_t n = static_cast<int64_t>(ids_.size()), d = config.d_model;
  segment_ = std::make_shared<Segment>();
  segment_->length = n;
  segment_->is_document = is_document;
  segment_->start = is_document ? 0 : next_position(memory_);
  segment_->d_model = d;
  segment_->store = model_->store;
  const int64_t blocks = segment_->num_blocks();
  segment_->pages = Pages(model_->pool, model_->num_planes(is_document) * blocks);
  // What fills up a segment is saved with it: nothing of another memory that had these pages.
  for (int64_t plane = 0; n % kBlock != 0 && plane < segment_->num_planes(); ++plane) {
    std::memset(segment_->page(plane, blocks - 1), 0, model_->pool->page_bytes());
  }
  x_.reserve(n * d);
  if (model_->is_gru()) {
    state_.assign(config.num_encoder_layers * d, 0.0f);
    for (const SegmentPtr& earlier : memory_) {
      if (!is_document && !earlier->is_document) state_ = earlier->carried;
    }
  } else {
    query_.reserve(n * d);
    if (is_document) document_pages_ = Pages(model_->pool, blocks);
  }
}

std::byte* Encoding::own_page(int64_t block) const {
  return segment_->is_document ? document_pages_[block] : segment_->page(layer_, block);
}

// Keys and values of these rows into their pages, queries into query_.
void Encoding::project_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  const Config& config = model.config;
  const TransformerLayer& layer = model.weights.encoder[layer_];
  const int64_t n = end - begin, d = config.d_model, half = config.head_dim() / 2;
  Workspace& space = model.workspace;
  float* normed = space.normed.reserve(n * d);
  float* wide = space.wide.reserve(n * 3 * d);
  float* cosine = space.cosine.reserve(n * half);
  float* sine = space.sine.reserve(n * half);
  model.rotary_angles(segment_->start + begin, n, cosine, sine);

  if (layer_ == 0) model.embed(ids_.data() + begin, n, x_.data() + begin * d);
  norm_rows(model, x_.data() + begin * d, layer.self_norm, normed, n);
  linear(model.runtime, layer.qkv, normed, wide, n);
  for_rows(model.runtime, n, [&](int64_t row) {
    float* query = wide + row * 3 * d;
    // Query and key lie side by side: one call turns the heads of both.
    model.runtime.kernels.rotate(query, cosine + row * half, sine + row * half,
                                 2 * config.num_heads, config.head_dim());
    const int64_t token = begin + row;
    model.put(own_page(token / kBlock), token % kBlock, query + d, query + 2 * d);
    std::copy_n(query, d, query_.data() + token * d);
  });
}

// mixed [end - begin, D] = attention of these rows over spans.
static void attend_rows(Model& model, const std::vector<Span>& spans, const float* query,
                        float* mixed, int64_t n) {
  const Config& config = model.config;
  const int64_t d = config.d_model;
  const int64_t size = scores_size(static_cast<int64_t>(spans.size()), d);
  float* scores = model.workspace.scores.reserve(model.runtime.pool.num_threads() * size);
  const int64_t groups = (n + kQueriesPerPiece - 1) / kQueriesPerPiece;
  model.runtime.pool.parallel_for(groups * config.num_heads, [&](int64_t piece, int64_t thread) {
    const int64_t head = piece / groups;
    const int64_t first = piece % groups * kQueriesPerPiece;
    const int64_t last = std::min(first + kQueriesPerPiece, n);
    AttendTask task = attend_task(spans, d, scores + thread * size);
    for (int64_t row = first; row < last; row += kMaxQueries) {
      task.q = query + row * d;
      task.out = mixed + row * d;
      model.attend(task, head, std::min(kMaxQueries, last - row));
    }
  });
}

// The rest of the layer for these rows: x += attention, x += feed_forward.
void Encoding::finish_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  const TransformerLayer& layer = model.weights.encoder[layer_];
  const int64_t n = end - begin, d = model.config.d_model;
  std::vector<Span> spans;
  for (const SegmentPtr& earlier : memory_) {
    if (!segment_->is_document && !earlier->is_document) earlier->add_spans(layer_, spans);
  }
  for (int64_t block = 0; block < segment_->num_blocks(); ++block) {
    spans.push_back({own_page(block), std::min(kBlock, segment_->length - block * kBlock)});
  }
  float* x = x_.data() + begin * d;
  float* mixed = model.workspace.mixed.reserve(n * d);
  attend_rows(model, spans, query_.data() + begin * d, mixed, n);
  linear(model.runtime, layer.out, mixed, x, n, /*is_added=*/true);
  feed_forward(model, layer, x, n);
}

// What the decoder's layers will attend to.
void Encoding::cross_rows(int64_t begin, int64_t end) {
  Model& model = *model_;
  const int64_t n = end - begin, d = model.config.d_model;
  float* normed = model.workspace.normed.reserve(n * d);
  float* wide = model.workspace.wide.reserve(n * 2 * d);
  norm_rows(model, x_.data() + begin * d, model.weights.encoder_norm, normed, n);
  const int64_t first_plane = model.first_cross_plane(segment_->is_document);
  for (size_t index = 0; index < model.weights.decoder.size(); ++index) {
    linear(model.runtime, model.weights.decoder[index].cross_kv, normed, wide, n);
    for_rows(model.runtime, n, [&](int64_t row) {
      const int64_t token = begin + row;
      const float* key = wide + row * 2 * d;
      std::byte* page = segment_->page(first_plane + static_cast<int64_t>(index), token / kBlock);
      model.put(page, token % kBlock, key, key + d);
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
  if (layer_ == 0) model.embed(ids_.data() + begin, n, x);
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
  float* normed = model.workspace.normed.reserve(n * d);
  float* keys = model.workspace.wide.reserve(n * d);
  norm_rows(model, x_.data() + begin * d, model.weights.encoder_norm, normed, n);
  linear(model.runtime, model.weights.attn_key, normed, keys, n);
  for (int64_t row = 0; row < n; ++row) {
    const int64_t token = begin + row;
    model.put(segment_->page(0, token / kBlock), token % kBlock, keys + row * d, normed + row * d);
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

SegmentPtr encode(const std::shared_ptr<Model>& model, const std::vector<SegmentPtr>& memory,
                  const std::vector<int64_t>& ids, bool is_document) {
  Encoding encoding(model, memory, ids, is_document);
  while (!encoding.advance()) {
  }
  return encoding.segment();
}

}  // namespace duologue
