// The encoder: one new turn against the stored keys and values, or the carried state, of earlier ones.
#include <algorithm>
#include <stdexcept>

#include "model.h"

namespace duologue {

// Queries that one piece of work takes through a head: enough that each key it loads is used often.
constexpr int64_t kQueriesPerPiece = 4 * kMaxQueries;

// mixed [n, D] = attention of the queries in wide [n, 3D] over spans.
static void attend_all(Model& model, const std::vector<Span>& spans, int64_t n) {
  const Config& config = model.config;
  const int64_t d = config.d_model;
  int64_t stride = 0;
  for (const Span& span : spans) stride += round_up(span.length, kBlock);
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;
  space.scores.reserve(runtime.pool.num_threads() * kMaxQueries * stride);

  const int64_t groups = (n + kQueriesPerPiece - 1) / kQueriesPerPiece;
  runtime.pool.parallel_for(groups * config.num_heads, [&](int64_t piece, int64_t thread) {
    const int64_t head = piece / groups;
    const int64_t begin = piece % groups * kQueriesPerPiece;
    const int64_t end = std::min(begin + kQueriesPerPiece, n);
    AttendTask task = {};
    task.q_stride = 3 * d;
    task.out_stride = d;
    task.spans = spans.data();
    task.num_spans = static_cast<int64_t>(spans.size());
    task.d_model = d;
    task.scores = space.scores.data() + thread * kMaxQueries * stride;
    for (int64_t row = begin; row < end; row += kMaxQueries) {
      task.q = space.wide.data() + row * 3 * d;
      task.out = space.mixed.data() + row * d;
      runtime.kernels.attend(task, head, config.head_dim(), std::min(kMaxQueries, end - row));
    }
  });
}

// x [n, D] += attention(norm(x)); leaves the new tokens' keys and values in `own`.
static void encoder_attention(Model& model, const TransformerLayer& layer, std::vector<Span> spans,
                              KeyValues& own, int64_t n) {
  const Config& config = model.config;
  const int64_t d = config.d_model, half = config.head_dim() / 2;
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;
  float* x = space.x.data();
  float* normed = space.normed.data();
  float* wide = space.wide.data();

  norm_rows(model, x, layer.self_norm, normed, n);
  linear(runtime, layer.qkv, normed, wide, n);
  for_rows(runtime, n, [&](int64_t row) {
    float* query = wide + row * 3 * d;
    const float* cosine = space.cosine.data() + row * half;
    const float* sine = space.sine.data() + row * half;
    // Query and key lie side by side: one call turns the heads of both.
    runtime.kernels.rotate(query, cosine, sine, 2 * config.num_heads, config.head_dim());
    own.put(row, d, query + d, query + 2 * d);
  });
  spans.push_back({own.keys.data(), own.values.data(), n});
  attend_all(model, spans, n);
  linear(runtime, layer.out, space.mixed.data(), x, n, /*is_added=*/true);
}

static void encode_transformer(Model& model, const std::vector<SegmentPtr>& memory,
                               const std::vector<int64_t>& ids, Segment& segment) {
  const Config& config = model.config;
  const int64_t n = segment.length, d = config.d_model, half = config.head_dim() / 2;
  Workspace& space = model.workspace;
  space.x.reserve(n * d);
  space.normed.reserve(n * d);
  space.mixed.reserve(n * d);
  space.wide.reserve(n * std::max(3 * d, 2 * config.d_ff));
  model.rotary_angles(segment.start, n, space.cosine.reserve(n * half),
                      space.sine.reserve(n * half));
  if (segment.is_document) space.document = KeyValues(n, d);

  model.embed(ids, space.x.data());
  for (size_t index = 0; index < model.weights.encoder.size(); ++index) {
    std::vector<Span> spans;
    for (const SegmentPtr& earlier : memory) {
      if (!segment.is_document && !earlier->is_document) spans.push_back(earlier->span(index));
    }
    KeyValues& own = segment.is_document ? space.document : segment.planes[index];
    encoder_attention(model, model.weights.encoder[index], std::move(spans), own, n);
    feed_forward(model, model.weights.encoder[index], n);
  }
  norm_rows(model, space.x.data(), model.weights.encoder_norm, space.normed.data(), n);

  const size_t first_cross = model.first_cross_plane(segment.is_document);
  for (size_t index = 0; index < model.weights.decoder.size(); ++index) {
    linear(model.runtime, model.weights.decoder[index].cross_kv, space.normed.data(),
           space.wide.data(), n);
    for_rows(model.runtime, n, [&](int64_t row) {
      const float* key = space.wide.data() + row * 2 * d;
      segment.planes[first_cross + index].put(row, d, key, key + d);
    });
  }
}

// The state [L, D] that the dialogue has reached: zero before its first turn.
static void copy_carried(const std::vector<SegmentPtr>& memory, bool is_document, float* state,
                         int64_t size) {
  std::fill(state, state + size, 0.0f);
  for (const SegmentPtr& earlier : memory) {
    if (is_document || earlier->is_document) continue;
    std::copy(earlier->carried.data(), earlier->carried.data() + size, state);
  }
}

// Layer by layer over the whole turn: so the products of the inputs are made for all tokens at once,
// and only those of the state follow one another.
static void encode_gru(Model& model, const std::vector<SegmentPtr>& memory,
                       const std::vector<int64_t>& ids, Segment& segment) {
  const int64_t n = segment.length, d = model.config.d_model;
  const int64_t layers = model.config.num_encoder_layers;
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;
  float* x = space.x.reserve(n * d);
  float* normed = space.normed.reserve(n * d);
  float* gate_x = space.wide.reserve(n * 3 * d);
  float* gate_h = space.mixed.reserve(3 * d);
  float* state = space.hidden.reserve(layers * d);
  copy_carried(memory, segment.is_document, state, layers * d);

  model.embed(ids, x);
  for (int64_t index = 0; index < layers; ++index) {
    const GruLayer& layer = model.weights.gru_encoder[index];
    float* h = state + index * d;
    linear(runtime, layer.input, x, gate_x, n);
    for (int64_t t = 0; t < n; ++t) {
      linear(runtime, layer.hidden, h, gate_h, 1);
      runtime.kernels.gru_cell(gate_x + t * 3 * d, gate_h, layer.bias_input.data(),
                               layer.bias_hidden.data(), h, d);
      for (int64_t j = 0; j < d; ++j) x[t * d + j] += h[j];
    }
  }
  if (!segment.is_document) {
    segment.carried = Buffer<float>(layers * d);
    std::copy(state, state + layers * d, segment.carried.data());
  }
  norm_rows(model, x, model.weights.encoder_norm, normed, n);
  linear(runtime, model.weights.attn_key, normed, gate_x, n);
  for (int64_t t = 0; t < n; ++t) segment.planes[0].put(t, d, gate_x + t * d, normed + t * d);
}

// Where the next dialogue turn begins; a trimmed memory goes on from its last turn's position.
static int64_t next_position(const std::vector<SegmentPtr>& memory) {
  int64_t position = 0;
  for (const SegmentPtr& earlier : memory) {
    if (!earlier->is_document) position = earlier->start + earlier->length;
  }
  return position;
}

SegmentPtr encode(Model& model, const std::vector<SegmentPtr>& memory,
                  const std::vector<int64_t>& ids, bool is_document) {
  if (ids.empty()) throw std::invalid_argument("a segment needs at least one id");
  model.check_ids(ids);
  int64_t total = static_cast<int64_t>(ids.size());
  for (const SegmentPtr& earlier : memory) {
    model.check(*earlier);
    total += earlier->length;
  }
  if (total > model.config.max_positions) {
    throw std::invalid_argument("the memory would hold " + std::to_string(total) +
                                " tokens, more than max_positions, " +
                                std::to_string(model.config.max_positions));
  }

  auto segment = std::make_shared<Segment>();
  segment->length = static_cast<int64_t>(ids.size());
  segment->is_document = is_document;
  segment->start = is_document ? 0 : next_position(memory);
  segment->d_model = model.config.d_model;
  for (size_t plane = 0; plane < model.num_planes(is_document); ++plane) {
    segment->planes.emplace_back(segment->length, model.config.d_model);
  }

  std::lock_guard<std::mutex> lock(model.mutex);
  ThreadPool::Pass pass(model.runtime.pool);
  if (model.is_gru()) {
    encode_gru(model, memory, ids, *segment);
  } else {
    encode_transformer(model, memory, ids, *segment);
  }
  return segment;
}

}  // namespace duologue
