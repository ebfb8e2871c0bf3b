// The decoder: one token further for every row of a ragged batch. Products run over all rows at once;
// attention runs row by row over each row's own memory, in place.
#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "model.h"

namespace duologue {

using States = std::vector<DecoderState*>;

static void add_cross_spans(const DecoderState& state, int64_t layer, std::vector<Span>& spans) {
  for (const SegmentPtr& segment : state.memory) {
    segment->add_spans(state.model->first_cross_plane(segment->is_document) + layer, spans);
  }
}

// The tokens fed so far and the one in progress.
static void add_self_spans(const DecoderState& state, int64_t layer, std::vector<Span>& spans) {
  int64_t left = state.length + 1;
  for (const std::shared_ptr<Pages>& block : state.blocks) {
    spans.push_back({(*block)[layer], std::min(left, kBlock)});
    left -= kBlock;
  }
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

// Adds factor * weights [spans][kBlock], of the spans from `first` on, to a row of the token in progress.
static void add_to_record(DecoderState& state, int64_t record, const AttendTask& task, int64_t first,
                          float factor) {
  float* row = state.record.data() +
               (state.length * state.num_records() + record) * state.num_memory_tokens;
  for (int64_t s = first; s < task.num_spans; ++s) {
    const float* weights = task.scores + s * kBlock;
    for (int64_t t = 0; t < task.spans[s].length; ++t) *row++ += factor * weights[t];
  }
}

// What a head of a layer has attended to, in the spans from `first` on, goes into the record.
static void record_head(DecoderState& state, const AttendTask& task, int64_t first, const Head& head) {
  const Config& config = state.model->config;
  if (state.recorded_heads.empty()) {
    const int64_t heads = config.num_heads * config.num_decoder_layers;
    return add_to_record(state, 0, task, first, 1.0f / static_cast<float>(heads));
  }
  for (size_t i = 0; i < state.recorded_heads.size(); ++i) {
    if (state.recorded_heads[i] == head) {
      add_to_record(state, static_cast<int64_t>(i), task, first, 1.0f);
    }
  }
}

// Scratch of one thread; the longest row decides.
static int64_t largest_scores(const Model& model, const States& states) {
  int64_t spans = 0;
  for (const DecoderState* state : states) {
    int64_t memory = 0;
    for (const SegmentPtr& segment : state->memory) memory += segment->num_blocks();
    const int64_t own = state->length / kBlock + 1;
    spans = std::max(spans, model.config.is_merged ? memory + own : std::max(memory, own));
  }
  return scores_size(spans, model.config.key_width());
}

// What the rows of an attention see: their own tokens, the memory, or first the one and then the other.
struct Sight {
  int64_t layer;
  bool is_self;
  bool is_cross;
};

// mixed [B, H K] = attention of each row's query over what it sees. Rows are shared out to the threads;
// fewer rows than threads are cut by their heads, unless a row records what it attends to.
//   query  first row; the next lies q_stride further
static void attend_rows(Model& model, const States& states, const Sight& sight, const float* query,
                        int64_t q_stride) {
  const Config& config = model.config;
  const int64_t rows = static_cast<int64_t>(states.size()), width = config.query_width();
  const int64_t size = largest_scores(model, states), threads = model.runtime.pool.num_threads();
  float* scores = model.workspace.scores.reserve(threads * size);
  float* mixed = model.workspace.mixed.reserve(rows * width);
  const DistanceBias& bias =
      distance_bias(model.weights.decoder, config.decoder_window, sight.layer);
  const bool is_recorded =
      sight.is_cross && std::any_of(states.begin(), states.end(), [](const DecoderState* state) {
        return state->is_recording;
      });
  const int64_t parts = rows < threads && !is_recorded ? std::min(threads, config.num_heads) : 1;

  model.runtime.pool.parallel_for(rows * parts, [&](int64_t piece, int64_t thread) {
    const int64_t row = piece / parts, part = piece % parts;
    DecoderState& state = *states[row];
    std::vector<Span> spans;
    if (sight.is_self) add_self_spans(state, sight.layer, spans);
    const int64_t num_self = static_cast<int64_t>(spans.size());
    if (sight.is_cross) add_cross_spans(state, sight.layer, spans);
    AttendTask task = model.attend_task(spans, scores + thread * size);
    task.biased_spans = num_self;
    task.q = query + row * q_stride;
    task.out = mixed + row * width;
    const int64_t end = (part + 1) * config.num_heads / parts;
    for (int64_t head = part * config.num_heads / parts; head < end; ++head) {
      if (sight.is_self) task.bias = bias.of(head, state.length);
      model.attend(task, head, 1);
      if (is_recorded && state.is_recording) {
        record_head(state, task, num_self, {sight.layer, head});
      }
    }
  });
}

// Of the tokens fed so far, and of the memory where both attentions are one.
static void self_attention(Model& model, const States& states, int64_t index) {
  const Config& config = model.config;
  const TransformerLayer& layer = model.weights.decoder.layers[index];
  const int64_t rows = static_cast<int64_t>(states.size());
  const int64_t q = config.query_width(), width = config.qkv_width();
  float* x = model.workspace.x.data();

  const float* in = begin_branch(model, layer.self_branch, x, rows);
  float* wide =
      project_qkv(model, layer.self, in, rows, is_windowed(config.decoder_window, index));
  for_rows(model.runtime, rows, [&](int64_t row) {
    DecoderState& state = *states[row];
    const float* key = wide + row * width + q;
    model.put((*state.blocks.back())[index], state.length % kBlock, key, key + config.key_width());
  });
  attend_rows(model, states, {index, true, config.is_merged}, wide, width);
  end_branch(model, layer.self_branch, layer.self.out, model.workspace.mixed.data(), x, rows);
}

static void cross_attention(Model& model, const States& states, int64_t index) {
  const TransformerLayer& layer = model.weights.decoder.layers[index];
  const int64_t rows = static_cast<int64_t>(states.size()), q = model.config.query_width();
  float* x = model.workspace.x.data();
  float* query = model.workspace.wide.reserve(rows * q);

  const float* in = begin_branch(model, layer.cross_branch, x, rows);
  dense(model.runtime, layer.cross_q, in, query, rows);
  attend_rows(model, states, {index, false, true}, query, q);
  end_branch(model, layer.cross_branch, layer.cross_out, model.workspace.mixed.data(), x, rows);
}

// workspace.x [B, D] becomes the states before the final norm.
static void step_transformer(Model& model, const States& states) {
  const Config& config = model.config;
  const int64_t rows = static_cast<int64_t>(states.size());
  float* x = model.workspace.x.data();
  std::vector<int64_t> positions;
  for (const DecoderState* state : states) positions.push_back(state->length);
  finish_embedding(model, model.weights.decoder, positions.data(), x, rows);
  make_angles(model, config.decoder_window, positions.data(), rows);
  for (int64_t index = 0; index < config.num_decoder_layers; ++index) {
    self_attention(model, states, index);
    if (!config.is_merged) cross_attention(model, states, index);
    feed_forward(model, model.weights.decoder.layers[index], x, rows);
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
    std::vector<Span> spans;
    add_cross_spans(state, 0, spans);
    std::copy_n(space.x.data() + row * d, d, input + row * 2 * d);
    AttendTask task = attend_task(spans, d, space.scores.data() + thread * size);
    task.q = query + row * d;
    task.out = input + row * 2 * d + d;
    model.attend_additive(task);
    if (state.is_recording) add_to_record(state, 0, task, 0, 1.0f);
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
  model.check_ids(ids, model.config.vocab_size);
  std::set<const DecoderState*> seen;
  for (const DecoderState* state : states) {
    if (state == nullptr || state->model.get() != &model) {
      throw std::invalid_argument("a decoder state belongs to another model");
    }
    if (!seen.insert(state).second) {
      throw std::invalid_argument("a decoder state is in the batch twice: fork it");
    }
    if (state->length >= model.config.target_positions) {
      throw std::invalid_argument("a decoder input cannot be longer than target_positions, " +
                                  std::to_string(model.config.target_positions));
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
  for (DecoderState* state : states) {
    if (state->is_recording) {
      state->record.resize((state->length + 1) * state->num_records() * state->num_memory_tokens);
    }
  }
  if (!model.is_gru()) open_blocks(model, states);

  ThreadPool::Pass pass(model.runtime.pool);
  embed(model, model.weights.embed, ids.data(), space.x.data(), rows);
  if (model.is_gru()) {
    step_gru(model, states);
  } else {
    step_transformer(model, states);
  }
  const float* hidden = space.x.data();
  if (model.config.has_final_norm) {
    float* normed = space.normed.reserve(rows * d);
    norm_rows(model, model.weights.decoder.norm, hidden, normed, rows);
    hidden = normed;
  }
  output_logits(model, hidden, rows, logits);
  for (DecoderState* state : states) ++state->length;
}

void score_rows(Model& model, float* logits, int64_t rows, const std::vector<int64_t>& suppressed,
                RowScore* scores) {
  model.check_ids(suppressed, model.config.vocab_size);
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
