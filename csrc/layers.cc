// What encoder and decoder have in common: norms, residual branches, embeddings and positions.
#include <algorithm>
#include <cmath>
#include <limits>

#include "model.h"

namespace duologue {

// --- distances -----------------------------------------------------------------------------------------

bool is_windowed(const Window& window, int64_t layer) {
  return std::find(window.layers.begin(), window.layers.end(), layer) != window.layers.end();
}

const DistanceBias& distance_bias(const Side& side, const Window& window, int64_t layer) {
  const DistanceBias& own = side.layers[static_cast<size_t>(layer)].self.bias;
  if (!own.values.empty()) return own;
  return is_windowed(window, layer) ? side.window : side.relative;
}

// Calls set(index, distance) for each distance of `bias`, which gets room for `heads`.
template <class Set>
static void fill_bias(DistanceBias& bias, int64_t heads, int64_t num_positions, bool is_causal,
                      const Set& set) {
  const int64_t count = is_causal ? num_positions : 2 * num_positions - 1;
  bias.zero = num_positions - 1;
  bias.stride = heads > 1 ? count : 0;
  bias.values.assign(static_cast<size_t>(heads * count + kBlock), 0.0f);
  for (int64_t i = 0; i < count; ++i) set(i, i - bias.zero);
}

// In float32, as the models were trained: at the border of two buckets the rounding decides.
static int64_t bucket_of(int64_t distance, int64_t buckets, int64_t largest, bool is_both_ways) {
  int64_t first = 0;
  if (is_both_ways) {
    buckets /= 2;
    if (distance > 0) first = buckets;
    distance = std::abs(distance);
  } else {
    distance = std::max<int64_t>(0, -distance);
  }
  const int64_t exact = buckets / 2;
  if (distance < exact) return first + distance;
  const float ratio = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(static_cast<double>(largest) /
                                                  static_cast<double>(exact)));
  const float steps = ratio * static_cast<float>(buckets - exact);
  // Compared before it becomes an integer: a largest distance of one bucket makes it infinite.
  if (!(steps < static_cast<float>(buckets - 1 - exact))) return first + buckets - 1;
  return first + exact + static_cast<int64_t>(steps);
}

DistanceBias relative_bias(const Config& config, const std::vector<float>& weights,
                           bool is_encoder) {
  DistanceBias bias;
  const int64_t heads = config.num_heads;
  const int64_t positions = is_encoder ? config.max_positions : config.target_positions;
  fill_bias(bias, heads, positions, !is_encoder, [&](int64_t index, int64_t distance) {
    const int64_t bucket =
        bucket_of(distance, config.relative_buckets, config.relative_distance, is_encoder);
    for (int64_t head = 0; head < heads; ++head) {
      bias.values[static_cast<size_t>(head * bias.stride + index)] =
          weights[static_cast<size_t>(bucket * heads + head)];
    }
  });
  return bias;
}

DistanceBias window_bias(const Window& window, int64_t num_positions) {
  DistanceBias bias;
  fill_bias(bias, 1, num_positions, /*is_causal=*/false, [&](int64_t index, int64_t distance) {
    const bool is_seen = -window.before <= distance && distance <= window.after;
    bias.values[static_cast<size_t>(index)] = is_seen ? 0.0f : -INFINITY;
  });
  return bias;
}

// --- norms and branches --------------------------------------------------------------------------------

// y [rows, out] = the bias in every row, or += it.
static void add_bias(Runtime& runtime, const std::vector<float>& bias, float* y, int64_t rows,
                     bool is_added) {
  const int64_t n = static_cast<int64_t>(bias.size());
  for_rows(runtime, rows, [&](int64_t row) {
    float* own = y + row * n;
    for (int64_t j = 0; j < n; ++j) own[j] = is_added ? own[j] + bias[j] : bias[j];
  });
}

void dense(Runtime& runtime, const Dense& layer, const float* x, float* y, int64_t rows) {
  const bool has_bias = !layer.bias.empty();
  if (has_bias) add_bias(runtime, layer.bias, y, rows, /*is_added=*/false);
  linear(runtime, layer.weight, x, y, rows, /*is_added=*/has_bias);
}

void norm_rows(Model& model, const Norm& norm, const float* x, float* y, int64_t rows) {
  const int64_t d = model.config.d_model;
  const float eps = model.config.norm_eps;
  const Kernels& kernels = model.runtime.kernels;
  for_rows(model.runtime, rows, [&](int64_t row) {
    if (model.config.norm == NormKind::kRms) {
      kernels.rms_norm(x + row * d, norm.weight.data(), y + row * d, d, eps);
    } else {
      kernels.layer_norm(x + row * d, norm.weight.data(), norm.bias.data(), y + row * d, d, eps);
    }
  });
}

const float* begin_branch(Model& model, const Branch& branch, const float* x, int64_t rows) {
  if (model.config.norm_place == NormPlace::kPost) return x;
  float* normed = model.workspace.normed.reserve(rows * model.config.d_model);
  norm_rows(model, branch.norm, x, normed, rows);
  return normed;
}

void end_branch(Model& model, const Branch& branch, const Dense& last, const float* in, float* x,
                int64_t rows) {
  const int64_t d = model.config.d_model;
  if (model.config.norm_place == NormPlace::kBoth) {
    float* result = model.workspace.normed.reserve(rows * d);
    dense(model.runtime, last, in, result, rows);
    norm_rows(model, branch.post, result, result, rows);
    for_rows(model.runtime, rows, [&](int64_t row) {
      for (int64_t j = row * d; j < (row + 1) * d; ++j) x[j] += result[j];
    });
    return;
  }
  if (!last.bias.empty()) add_bias(model.runtime, last.bias, x, rows, /*is_added=*/true);
  linear(model.runtime, last.weight, in, x, rows, /*is_added=*/true);
  if (model.config.norm_place == NormPlace::kPost) norm_rows(model, branch.norm, x, x, rows);
}

void feed_forward(Model& model, const TransformerLayer& layer, float* x, int64_t rows) {
  const Config& config = model.config;
  const int64_t f = config.d_ff, up = config.is_gated ? 2 * f : f;
  Workspace& space = model.workspace;
  float* wide = space.wide.reserve(rows * up);
  float* active = space.active.reserve(rows * f);
  const float* in = begin_branch(model, layer.ff_branch, x, rows);
  dense(model.runtime, layer.up, in, wide, rows);
  for_rows(model.runtime, rows, [&](int64_t row) {
    model.runtime.kernels.activate(config.activation, config.is_gated, wide + row * up,
                                   active + row * f, f);
  });
  end_branch(model, layer.ff_branch, layer.down, active, x, rows);
}

// --- embeddings and positions --------------------------------------------------------------------------

void embed(Model& model, const Linear& table, const int64_t* ids, float* x, int64_t rows) {
  for_rows(model.runtime, rows, [&](int64_t row) {
    table.read_row(ids[row], model.config.embed_scale, x + row * model.config.d_model);
  });
}

void finish_embedding(Model& model, const Side& side, const int64_t* positions, float* x,
                      int64_t rows) {
  const int64_t d = model.config.d_model;
  if (model.config.has_table()) {
    for_rows(model.runtime, rows, [&](int64_t row) {
      const float* table = side.positions.data() + positions[row] * d;
      for (int64_t j = 0; j < d; ++j) x[row * d + j] += table[j];
    });
  }
  if (model.config.has_embed_norm) norm_rows(model, side.embed_norm, x, x, rows);
}

void make_angles(Model& model, const Window& window, const int64_t* positions, int64_t rows) {
  if (model.config.positions != Positions::kRotary) return;
  const int64_t half = model.config.head_dim / 2;
  for (const bool has_window : {false, true}) {
    if (has_window && window.layers.empty()) continue;
    const std::vector<float>& frequency = model.frequency(has_window);
    Angles& angles = model.workspace.angles[has_window];
    float* cosine = angles.cosine.reserve(rows * half);
    float* sine = angles.sine.reserve(rows * half);
    for (int64_t i = 0; i < rows * half; ++i) {
      const float angle = static_cast<float>(positions[i / half]) * frequency[i % half];
      cosine[i] = std::cos(angle);
      sine[i] = std::sin(angle);
    }
  }
}

// RMSNorm of each of `heads` heads x [heads, K].
static void norm_heads(const Model& model, const std::vector<float>& weight, float* x,
                       int64_t heads) {
  const int64_t k = model.config.head_dim;
  for (int64_t head = 0; head < heads; ++head) {
    model.runtime.kernels.rms_norm(x + head * k, weight.data(), x + head * k, k,
                                   model.config.norm_eps);
  }
}

// wide [rows, (H + 2 G) K]: the products alone.
static void multiply_qkv(Model& model, const SelfAttention& attention, const float* x, float* wide,
                         int64_t rows) {
  const Config& config = model.config;
  if (attention.kv.weight.out() == 0) return dense(model.runtime, attention.qkv, x, wide, rows);
  const int64_t q = config.query_width(), kv = 2 * config.key_width();
  float* queries = model.workspace.mixed.reserve(rows * q);
  float* keys = model.workspace.keys.reserve(rows * kv);
  dense(model.runtime, attention.q, x, queries, rows);
  dense(model.runtime, attention.kv, x, keys, rows);
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(queries + row * q, q, wide + row * (q + kv));
    std::copy_n(keys + row * kv, kv, wide + row * (q + kv) + q);
  }
}

float* project_qkv(Model& model, const SelfAttention& attention, const float* x, int64_t rows,
                   bool has_window) {
  const Config& config = model.config;
  const int64_t width = config.qkv_width(), half = config.head_dim / 2;
  float* wide = model.workspace.wide.reserve(rows * width);
  multiply_qkv(model, attention, x, wide, rows);
  const Angles& angles = model.workspace.angles[has_window];
  for_rows(model.runtime, rows, [&](int64_t row) {
    float* query = wide + row * width;
    if (config.has_qk_norm) {
      norm_heads(model, attention.q_norm, query, config.num_heads);
      norm_heads(model, attention.k_norm, query + config.query_width(), config.kv_heads);
    }
    if (config.positions == Positions::kRotary) {
      // Queries and keys lie side by side: one call turns the heads of both.
      model.runtime.kernels.rotate(query, angles.cosine.data() + row * half,
                                   angles.sine.data() + row * half,
                                   config.num_heads + config.kv_heads, config.head_dim);
    }
  });
  return wide;
}

float* project_memory(Model& model, const TransformerLayer& layer, const float* x, int64_t rows) {
  const Config& config = model.config;
  const int64_t width = 2 * config.key_width();
  float* keys = model.workspace.keys.reserve(rows * width);
  dense(model.runtime, config.is_merged ? layer.self.kv : layer.cross_kv, x, keys, rows);
  if (config.is_merged && config.has_qk_norm) {
    for_rows(model.runtime, rows, [&](int64_t row) {
      norm_heads(model, layer.self.k_norm, keys + row * width, config.kv_heads);
    });
  }
  return keys;
}

}  // namespace duologue
