// The decoder: one token further for every row of a ragged batch. Products run over all rows at once;
// attention runs row by row over each row's own memory, in place.
#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "model.h"

namespace duologue {

using States = std::vector<DecoderState*>;

static std::vector<Span> cross_spans(const DecoderState& state, int64_t layer) {
  std::vector<Span> spans;
  for (const SegmentPtr& segment : state.memory) {
    segment->add_spans(state.model->first_cross_plane(segment->is_document) + layer, spans);
  }
  return spans;
}

// The tokens fed so far and the one in progress.
static std::vector<Span> self_spans(const DecoderState& state, int64_t layer) {
  std::vector<Span> spans;
  int64_t left = state.length + 1;
  for (const std::shared_ptr<Pages>& block : state.blocks) {
    spans.push_back({(*block)[layer], std::min(left, kBlock)});
    left -= kBlock;
  }
  return spans;
}

// Room for the token in progress of every state; all of it or none.
static void open_blocks(const Model& model, const States& states) {
  std::vector<std::pair<DecoderState*, std::shared_ptr<Pages>>> opened;
  for (DecoderState* state : states) {
    if (static_cast<int64_t>(state->blocks.size()) * kBlock > state->length) continue;
    opened.emplace_back(state,
                        std::make_shared<Pages>(model.pool, model.config.num_decoder_layers));
  }
  for (auto& [state, block] : opened) state->blocks.push_back(std::move(block));
}

// Adds factor * weights [spans][kBlock] to the last row of the record.
static void add_to_record(DecoderState& state, const std::vector<Span>& spans, const float* weights,
                          float factor) {
  float* row = state.record.data() + state.length * state.num_memory_tokens;
  for (const Span& span : spans) {
    for (int64_t t = 0; t < span.length; ++t) *row++ += factor * weights[t];
    weights += kBlock;
  }
}

// Scratch of one thread; the longest row decides.
static int64_t largest_scores(const Model& model, const States& states) {
  int64_t spans = 0;
  for (const DecoderState* state : states) {
    int64_t memory = 0;
    for (const SegmentPtr& segment : state->memory) memory += segment->num_blocks();
    spans = std::max({spans, memory, state->length / kBlock + 1});
  }
  return scores_size(spans, model.config.d_model);
}

// mixed [B, D] = attention of each row's query over its own spans. Rows are shared out to the threads;
// fewer rows than threads are cut by their heads, unless a row records what it attends to.
//   query     first row; the next lies q_stride further
//   spans_of  DecoderState to the spans that its row attends to
template <class SpansOf>
static void attend_rows(Model& model, const States& states, const float* query, int64_t q_stride,
                        bool is_recorded, const SpansOf& spans_of) {
  const Config& config = model.config;
  const int64_t rows = static_cast<int64_t>(states.size()), d = config.d_model;
  const int64_t size = largest_scores(model, states), threads = model.runtime.pool.num_threads();
  float* scores = model.workspace.scores.reserve(threads * size);
  float* mixed = model.workspace.mixed.reserve(rows * d);
  const float share = 1.0f / static_cast<float>(config.num_heads * config.num_decoder_layers);
  const bool is_cut = rows < threads && !is_recorded;
  const int64_t parts = is_cut ? std::min(threads, config.num_heads) : 1;

  model.runtime.pool.parallel_for(rows * parts, [&](int64_t piece, int64_t thread) {
    const int64_t row = piece / parts, part = piece % parts;
    DecoderState& state = *states[row];
    const std::vector<Span> spans = spans_of(state);
    AttendTask task = attend_task(spans, d, scores + thread * size);
    task.q = query + row * q_stride;
    task.out = mixed + row * d;
    const int64_t end = (part + 1) * config.num_heads / parts;
    for (int64_t head = part * config.num_heads / parts; head < end; ++head) {
      model.attend(task, head, 1);
      if (is_recorded && state.is_recording) add_to_record(state, spans, task.scores, share);
    }
  });
}

static void self_attention(Model& model, const States& states, int64_t index) {
  const Config& config = model.config;
  const TransformerLayer& layer = model.weights.decoder[index];
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t d = config.d_model, half = config.head_dim() / 2;
  Workspace& space = model.workspace;
  float* wide = space.wide.reserve(rows * 3 * d);

  norm_rows(model, space.x.data(), layer.self_norm, space.normed.data(), rows);
  linear(model.runtime, layer.qkv, space.normed.data(), wide, rows);
  for_rows(model.runtime, rows, [&](int64_t row) {
    DecoderState& state = *states[row];
    float* qkv = wide + row * 3 * d;
    model.runtime.kernels.rotate(qkv, space.cosine.data() + row * half,
                                 space.sine.data() + row * half, 2 * config.num_heads,
                                 config.head_dim());
    model.put((*state.blocks.back())[index], state.length % kBlock, qkv + d, qkv + 2 * d);
  });
  attend_rows(model, states, wide, 3 * d, false,
              [&](const DecoderState& state) { return self_spans(state, index); });
  linear(model.runtime, layer.out, space.mixed.data(), space.x.data(), rows, /*is_added=*/true);
}

static void cross_attention(Model& model, const States& states, int64_t index) {
  const TransformerLayer& layer = model.weights.decoder[index];
  const int64_t rows = static_cast<int64_t>(states.size()), d = model.config.d_model;
  Workspace& space = model.workspace;
  float* query = space.wide.reserve(rows * d);
  const bool is_recorded = std::any_of(states.begin(), states.end(),
                                       [](const DecoderState* state) { return state->is_recording; });

  norm_rows(model, space.x.data(), layer.cross_norm, space.normed.data(), rows);
  linear(model.runtime, layer.cross_q, space.normed.data(), query, rows);
  attend_rows(model, states, query, d, is_recorded,
              [&](const DecoderState& state) { return cross_spans(state, index); });
  linear(model.runtime, layer.cross_out, space.mixed.data(), space.x.data(), rows,
         /*is_added=*/true);
}

// workspace.x [B, D] becomes the states before the final norm.
static void step_transformer(Model& model, const States& states) {
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t half = model.config.head_dim() / 2;
  Workspace& space = model.workspace;
  float* cosine = space.cosine.reserve(rows * half);
  float* sine = space.sine.reserve(rows * half);
  for (int64_t row = 0; row < rows; ++row) {
    model.rotary_angles(states[row]->length, 1, cosine + row * half, sine + row * half);
  }
  for (int64_t index = 0; index < model.config.num_decoder_layers; ++index) {
    self_attention(model, states, index);
    cross_attention(model, states, index);
    feed_forward(model, model.weights.decoder[index], space.x.data(), rows);
  }
}

// input [B, 2D] = each row's embedding and its context, chosen by the previous step's top state.
static void read_memory(Model& model, const States& states, float* input) {
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t d = model.config.d_model, size = largest_scores(model, states);
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
    AttendTask task = attend_task(spans, d, space.scores.data() + thread * size);
    task.q = query + row * d;
    task.out = input + row * 2 * d + d;
    model.attend_additive(task);
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
    if (state == nullptr || state->model.get() != &model) {
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
  if (!model.is_gru()) open_blocks(model, states);

  ThreadPool::Pass pass(model.runtime.pool);
  model.embed(ids.data(), rows, space.x.data());
  if (model.is_gru()) {
    step_gru(model, states);
  } else {
    step_transformer(model, states);
  }
  norm_rows(model, space.x.data(), model.weights.decoder_norm, space.normed.data(), rows);
  output_logits(model, space.normed.data(), rows, logits);
  for (DecoderState* state : states) ++state->length;
}

void score_rows(Model& model, float* logits, int64_t rows, const std::vector<int64_t>& suppressed,
                RowScore* scores) {
  model.check_ids(suppressed);
  std::lock_guard<std::mutex> lock(model.mutex);
  ThreadPool::Pass pass(model.runtime.pool);
  const int64_t vocab_size = model.config.vocab_size;
  model.runtime.pool.parallel_for(rows, [&](int64_t row, int64_t) {
    float* own = logits + row * vocab_size;
    for (const int64_t id : suppressed) own[id] = -INFINITY;
    scores[row] = model.runtime.kernels.score(own, vocab_size);
  });
}

}  // namespace duologue
