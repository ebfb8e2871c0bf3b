// The decoder: one token further for every row of a ragged batch. Products run over all rows at once;
// attention runs row by row over each row's own memory, in place.
#include <algorithm>
#include <set>
#include <stdexcept>

#include "model.h"

namespace duologue {

using States = std::vector<DecoderState*>;


static std::vector<Span> cross_spans(const DecoderState& state, size_t layer) {
  std::vector<Span> spans;
  for (const SegmentPtr& segment : state.memory) {
    spans.push_back(segment->span(state.model->first_cross_plane(segment->is_document) + layer));
  }
  return spans;
}

// The tokens fed so far and the one in progress.
static std::vector<Span> self_spans(const DecoderState& state, size_t layer) {
  std::vector<Span> spans;
  int64_t left = state.length + 1;
  for (const auto& block : state.blocks) {
    const KeyValues& plane = (*block)[layer];
    spans.push_back({plane.keys.data(), plane.values.data(), std::min(left, kBlock)});
    left -= kBlock;
  }
  return spans;
}

// Room for the token in progress.
static void open_block(DecoderState& state) {
  if (static_cast<int64_t>(state.blocks.size()) * kBlock > state.length) return;
  auto block = std::make_shared<std::vector<KeyValues>>();
  for (int64_t layer = 0; layer < state.model->config.num_decoder_layers; ++layer) {
    block->emplace_back(kBlock, state.model->config.d_model);
  }
  state.blocks.push_back(std::move(block));
}

// Adds factor * weights, which lie as spans padded to kBlock, to the last row of the record.
static void add_to_record(DecoderState& state, const std::vector<Span>& spans, const float* weights,
                          float factor) {
  float* row = state.record.data() + state.length * state.num_memory_tokens;
  for (const Span& span : spans) {
    for (int64_t t = 0; t < span.length; ++t) *row++ += factor * weights[t];
    weights += round_up(span.length, kBlock);
  }
}

struct RowAttention {
  const float* q;  // [H, K]
  float* out;      // [H, K]
  float* scores;   // [kMaxQueries, padded tokens]
  bool is_recorded;
};

static void attend_row(Model& model, DecoderState& state, const std::vector<Span>& spans,
                       const RowAttention& row) {
  const Config& config = model.config;
  AttendTask task = {};
  task.q = row.q;
  task.out = row.out;
  task.spans = spans.data();
  task.num_spans = static_cast<int64_t>(spans.size());
  task.d_model = config.d_model;
  task.scores = row.scores;
  const float share = 1.0f / static_cast<float>(config.num_heads * config.num_decoder_layers);
  for (int64_t head = 0; head < config.num_heads; ++head) {
    model.runtime.kernels.attend(task, head, config.head_dim(), 1);
    if (row.is_recorded) add_to_record(state, spans, task.scores, share);
  }
}

// Attention weights of one row and one head; the longest row decides.
static int64_t scores_size(const States& states) {
  int64_t longest = 0;
  for (const DecoderState* state : states) {
    int64_t memory = 0;
    for (const SegmentPtr& segment : state->memory) memory += round_up(segment->length, kBlock);
    longest = std::max({longest, memory, round_up(state->length + 1, kBlock)});
  }
  return longest;
}

static void self_attention(Model& model, const States& states, size_t index) {
  const Config& config = model.config;
  const TransformerLayer& layer = model.weights.decoder[index];
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t d = config.d_model, half = config.head_dim() / 2, size = scores_size(states);
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;

  norm_rows(model, space.x.data(), layer.self_norm, space.normed.data(), rows);
  linear(runtime, layer.qkv, space.normed.data(), space.wide.data(), rows);
  runtime.pool.parallel_for(rows, [&](int64_t row, int64_t thread) {
    DecoderState& state = *states[row];
    float* query = space.wide.data() + row * 3 * d;
    runtime.kernels.rotate(query, space.cosine.data() + row * half, space.sine.data() + row * half,
                           2 * config.num_heads, config.head_dim());
    (*state.blocks.back())[index].put(state.length % kBlock, d, query + d, query + 2 * d);
    attend_row(model, state, self_spans(state, index),
               {query, space.mixed.data() + row * d, space.scores.data() + thread * size, false});
  });
  linear(runtime, layer.out, space.mixed.data(), space.x.data(), rows, /*is_added=*/true);
}

static void cross_attention(Model& model, const States& states, size_t index) {
  const TransformerLayer& layer = model.weights.decoder[index];
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t d = model.config.d_model, size = scores_size(states);
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;

  norm_rows(model, space.x.data(), layer.cross_norm, space.normed.data(), rows);
  linear(runtime, layer.cross_q, space.normed.data(), space.wide.data(), rows);
  runtime.pool.parallel_for(rows, [&](int64_t row, int64_t thread) {
    DecoderState& state = *states[row];
    attend_row(model, state, cross_spans(state, index),
               {space.wide.data() + row * d, space.mixed.data() + row * d,
                space.scores.data() + thread * size, state.is_recording});
  });
  linear(runtime, layer.cross_out, space.mixed.data(), space.x.data(), rows, /*is_added=*/true);
}

// workspace.x [B, D] becomes the states before the final norm.
static void step_transformer(Model& model, const States& states) {
  const Config& config = model.config;
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t half = config.head_dim() / 2;
  Workspace& space = model.workspace;
  space.wide.reserve(rows * std::max(3 * config.d_model, 2 * config.d_ff));
  space.mixed.reserve(rows * config.d_model);
  space.scores.reserve(model.runtime.pool.num_threads() * scores_size(states));
  float* cosine = space.cosine.reserve(rows * half);
  float* sine = space.sine.reserve(rows * half);
  for (int64_t row = 0; row < rows; ++row) {
    model.rotary_angles(states[row]->length, 1, cosine + row * half, sine + row * half);
    open_block(*states[row]);
  }
  for (size_t index = 0; index < model.weights.decoder.size(); ++index) {
    self_attention(model, states, index);
    cross_attention(model, states, index);
    feed_forward(model, model.weights.decoder[index], rows);
  }
}

// input [B, 2D] = each row's embedding and its context, chosen by the previous step's top state.
static void read_memory(Model& model, const States& states, float* input) {
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t d = model.config.d_model, size = scores_size(states);
  const int64_t top = (model.config.num_decoder_layers - 1) * d;
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;
  float* previous = space.hidden.reserve(rows * d);
  float* query = space.mixed.reserve(rows * d);
  space.scores.reserve(runtime.pool.num_threads() * size);

  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(states[row]->hidden.data() + top, d, previous + row * d);
  }
  linear(runtime, model.weights.attn_query, previous, query, rows);
  runtime.pool.parallel_for(rows, [&](int64_t row, int64_t thread) {
    DecoderState& state = *states[row];
    const std::vector<Span> spans = cross_spans(state, 0);
    std::copy_n(space.x.data() + row * d, d, input + row * 2 * d);
    AttendTask task = {};
    task.q = query + row * d;
    task.out = input + row * 2 * d + d;
    task.spans = spans.data();
    task.num_spans = static_cast<int64_t>(spans.size());
    task.d_model = d;
    task.scores = space.scores.data() + thread * size;
    runtime.kernels.attend_additive(task, model.weights.attn_score.data());
    if (state.is_recording) add_to_record(state, spans, task.scores, 1.0f);
  });
}

// workspace.x [B, D] becomes the states before the final norm.
static void step_gru(Model& model, const States& states) {
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t d = model.config.d_model;
  Workspace& space = model.workspace;
  Runtime& runtime = model.runtime;
  float* x = space.x.data();
  float* input = space.active.reserve(rows * 2 * d);
  float* gate_x = space.wide.reserve(rows * 6 * d);
  float* gate_h = gate_x + rows * 3 * d;
  read_memory(model, states, input);

  for (size_t index = 0; index < model.weights.gru_decoder.size(); ++index) {
    const GruLayer& layer = model.weights.gru_decoder[index];
    float* previous = space.hidden.data();
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(states[row]->hidden.data() + index * d, d, previous + row * d);
    }
    linear(runtime, layer.input, index == 0 ? input : x, gate_x, rows);
    linear(runtime, layer.hidden, previous, gate_h, rows);
    for_rows(runtime, rows, [&](int64_t row) {
      float* h = states[row]->hidden.data() + index * d;
      runtime.kernels.gru_cell(gate_x + row * 3 * d, gate_h + row * 3 * d, layer.bias_input.data(),
                               layer.bias_hidden.data(), h, d);
      for (int64_t j = 0; j < d; ++j) x[row * d + j] += h[j];
    });
  }
}

static void check_step(const Model& model, const States& states, const std::vector<int64_t>& ids) {
  if (states.empty()) throw std::invalid_argument("a decoding step needs at least one state");
  if (states.size() != ids.size()) {
    throw std::invalid_argument("a decoding step needs one id for each state");
  }
  model.check_ids(ids);
  std::set<const DecoderState*> seen;
  for (const DecoderState* state : states) {
    if (state->model.get() != &model) {
      throw std::invalid_argument("a decoder state belongs to another model");
    }
    if (!seen.insert(state).second) {
      throw std::invalid_argument("a decoder state is in the batch twice: fork it");
    }
    if (state->length >= model.config.max_positions) {
      throw std::invalid_argument("a decoder input cannot be longer than max_positions, " +
                                  std::to_string(model.config.max_positions));
    }
  }
}

void decode_step(Model& model, const States& states, const std::vector<int64_t>& ids,
                 float* logits) {
  std::lock_guard<std::mutex> lock(model.mutex);
  check_step(model, states, ids);
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t d = model.config.d_model;
  Workspace& space = model.workspace;
  space.x.reserve(rows * d);
  space.normed.reserve(rows * d);
  for (DecoderState* state : states) {
    if (state->is_recording) {
      state->record.resize((state->length + 1) * state->num_memory_tokens);
    }
  }

  ThreadPool::Pass pass(model.runtime.pool);
  model.embed(ids, space.x.data());
  if (model.is_gru()) {
    step_gru(model, states);
  } else {
    step_transformer(model, states);
  }
  norm_rows(model, space.x.data(), model.weights.decoder_norm, space.normed.data(), rows);
  linear(model.runtime, model.weights.embed, space.normed.data(), logits, rows);
  for (DecoderState* state : states) ++state->length;
}

}  // namespace duologue
