// Duologue's native engine: the arithmetic of inference, from ids to logits.
//
// This header is the table of contents: every function that works on arrays is declared here, once,
// with its shapes. Arrays are row-major float32 unless a line says otherwise; `s8` is int8_t.
// B rows of a batch, S or T tokens, D d_model, F d_ff, H heads, G heads of keys and values, K head_dim,
// V vocabulary, L layers.
//
//   Kernels      what is written for each instruction set: plain pointers and sizes, no allocation
//   linear.h     packed weights and y = x W^T over threads
//   pages.h      where keys and values live; arena.h: where weights do
//   config.h     configuration
//   model.h      weights, Segment (one encoded turn), DecoderState (one decoding row)
//   layers.cc    what encoder and decoder have in common: norms, branches, embeddings, positions
//   encoder.cc   Encoding        decoder.cc   decode_step()
//
// Reading order: core.h, lanes.h, norm.cc, linear.h, stores.h, attention.cc, recurrent.cc, threads.h,
// pages.h, config.h, model.h, layers.cc, encoder.cc, decoder.cc, bindings.cc.
#pragma once

#include <cstdint>

namespace duologue {

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Tokens of one page of stored keys and values.
constexpr int64_t kBlock = 16;

// How keys and values are stored. A page holds those of up to kBlock tokens in one layer; with E the
// even number that their width G K is rounded up to:
//   f32   keys [E][kBlock], then values [G][kBlock][K], float32
//   bf16  keys [E/2][kBlock][2], then values [G][kBlock/2][K][2], the upper 16 bits of float32, rounded
// What one head reads of a page is two contiguous stretches. The gru has one head, as wide as E.
// The tokens of a page are neighbours in its keys, so that one vector holds one key dimension of 16
// tokens and a score needs no sum across the lanes. In bf16 two key dimensions, and the values of two
// tokens, share a 32-bit lane: what the bf16 dot product wants, and a shift makes both float32.
// The same on every processor, because memories are saved in this layout.
enum class Store { kF32, kBf16 };

constexpr int64_t page_bytes(Store store, int64_t width) {
  return 2 * kBlock * round_up(width, 2) * (store == Store::kF32 ? 4 : 2);
}

// How the values of a weight matrix are stored. s8: w = byte * scale of its output. s4: w = (nibble - 8)
// * scale of its output and group of kGroup inputs.
enum class Format { kF32, kBf16, kS8, kS4 };

constexpr int64_t kGroup = 32;

// A weight matrix as the kernels read it; packed by Linear (linear.h), which fills up with zeros.
//   f32   [panels][in][panel_f32]
//   bf16  [panels][in/2][panel_f32][2]
//   s8    [panels][in/4][panel_s8][4]; each byte plus the set's weight_offset
//         scale [panels][panel_s8]
//   s4    [panels][in/kGroup][kGroup/8][panel_s4][4]; of each 8 inputs the first 4 in the lower halves
//         scale [panels][in/kGroup][panel_s4]
struct PackedWeight {
  Format format;
  const void* data;
  const float* scale;
  int64_t in;
  int64_t out;
};

// What belongs to one row of activations in bytes: x = bytes * scale; sum is that of the bytes.
struct QuantizedRow {
  float scale;
  int32_t sum;
};

// One product y (+)= x W^T; a kernel call does a range of its panels and rows.
//   x_f32     [rows, in]
//   x_s8      s8, s4: [rows, s8_stride] bytes, zero from `in` on; x_rows [rows] belongs to them
//   x_groups  s4: [rows, s8_stride / kGroup] sums of the bytes
//   x_pairs   bf16, where the set has has_bf16_dot: [rows, in/2] pairs
//   y         [rows, out]
//   is_added  true adds to what is in y (residual)
struct LinearTask {
  PackedWeight w;
  const float* x_f32;
  const int8_t* x_s8;
  const QuantizedRow* x_rows;
  const int32_t* x_groups;
  const uint32_t* x_pairs;
  int64_t s8_stride;
  float* y;
  bool is_added;
};

// What is known of one row of logits: logits - log_norm are natural log-probabilities.
struct RowScore {
  int64_t best;
  float log_norm;
};

struct Tile {
  int64_t panel_begin, panel_end, row_begin, row_end;
};

// The first `length` tokens, 1 to kBlock, of a page.
struct Span {
  const void* page;
  int64_t length;
};

// A page to write to, and the widths of what is written: all of a token's keys, and a head's.
struct PutTask {
  void* page;
  int64_t width;
  int64_t head_dim;
};

// Attention of queries over spans, as if these were one array.
//   q, out    first query and first result; rows lie q_stride and out_stride apart
//   width     of a token's stored keys
//   group     how many neighbouring heads of queries share a head of keys and values
//   scores    scratch of scores_size() floats; begins with [kMaxQueries][spans][kBlock], the weights of
//             the last call
//   scale     factor of the scores; then soft_cap * tanh(score / soft_cap), if it is not 0
//   bias      added to the first query's scores of the tokens of the first biased_spans spans, which are
//             full but the last: readable to the end of that one's block. The next query's begins one
//             float before it, because a bias depends on the distance alone. nullptr: none
struct AttendTask {
  const float* q;
  int64_t q_stride;
  float* out;
  int64_t out_stride;
  const Span* spans;
  int64_t num_spans;
  int64_t width;
  int64_t group;
  float* scores;
  float scale;
  float soft_cap;
  const float* bias;
  int64_t biased_spans;
};

constexpr int64_t kMaxQueries = 4;

// Scratch of one attention: weights, their bf16 pairs, and the queries' bf16 pairs.
constexpr int64_t scores_size(int64_t num_spans, int64_t width) {
  return kMaxQueries * (2 * num_spans * kBlock + width);
}

// What a feed-forward does to its inside. kGelu is exact: x times the normal distribution function;
// kGeluTanh its usual approximation. Hendrycks & Gimpel 2016, arXiv:1606.08415
enum class Activation { kSilu, kRelu, kGelu, kGeluTanh };

// The functions that are compiled once for each instruction set. Callers have checked all shapes.
struct Kernels {
  const char* name;
  int64_t panel_f32;      // outputs of one packed f32 or bf16 panel
  int64_t panel_s8;       // of one packed s8 panel
  int64_t panel_s4;       // of one packed s4 panel
  uint8_t weight_offset;  // added to packed s8 weights: 128 where the product wants them unsigned
  bool has_bf16_dot;      // multiplies pairs of bf16

  // linear_f32.h, linear_bf16.h, linear_s4.h, linear_*.cc ---------------------------------------------
  // y[r, o] (+)= sum_i x[r, i] w[o, i]
  void (*linear_f32)(const LinearTask& task, const Tile& tile);
  // The same with weights, and where the set has has_bf16_dot also x, rounded to bf16
  void (*linear_bf16)(const LinearTask& task, const Tile& tile);
  // y[r, o] (+)= x_rows[r].scale scale[o] sum_i x_s8[r, i] w_s8[o, i]; the sum is exact in int32, so
  // every instruction set gives the same integers (Linear refuses an `in` that could overflow)
  void (*linear_s8)(const LinearTask& task, const Tile& tile);
  // y[r, o] (+)= x_rows[r].scale sum_g scale[o, g] sum_{i in g} x_s8[r, i] w_s4[o, i]; the sums of
  // groups are exact
  void (*linear_s4)(const LinearTask& task, const Tile& tile);

  // norm.cc: each works on one row ------------------------------------------------------------------
  // pairs [ceil(n/2)] = x [n] rounded to bf16, two neighbours each
  void (*to_pairs)(const float* x, uint32_t* pairs, int64_t n);
  // q [padded] s8 = round(x / scale) with scale = max|x| / 127, zero from n on
  QuantizedRow (*quantize)(const float* x, int8_t* q, int64_t n, int64_t padded);
  // y = x / sqrt(mean(x^2) + eps) * weight. Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4
  void (*rms_norm)(const float* x, const float* weight, float* y, int64_t n, float eps);
  // y = (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias. Ba et al. 2016, arXiv:1607.06450
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float* y, int64_t n,
                     float eps);
  // x [n] becomes exp(x - max) / sum
  void (*softmax)(float* x, int64_t n);
  // y = x - max - log(sum(exp(x - max))); y may be x
  void (*log_softmax)(const float* x, float* y, int64_t n);
  // The largest of x [n], the first of equals, and log(sum(exp(x))); n > 0, not all -inf
  RowScore (*score)(const float* x, int64_t n);
  // y [n] = act(x[0:n]), times x[n:2n] if gated; y may be x. Shazeer 2020, arXiv:2002.05202
  void (*activate)(Activation activation, bool is_gated, const float* x, float* y, int64_t n);
  // x [n] = cap * tanh(x / cap)
  void (*soft_cap)(float* x, int64_t n, float cap);

  // attention.cc ------------------------------------------------------------------------------------
  // x [H, K] turned by the angles whose cosines and sines are [K/2]: halves of a head are the pairs.
  // Su et al. 2021, arXiv:2104.09864, section 3.4.2
  void (*rotate)(float* x, const float* cosine, const float* sine, int64_t heads, int64_t head_dim);
  // Writes the key [G K] and value [G K] of the token at `index` of a page; indices come in rising order.
  void (*put_f32)(const PutTask& task, int64_t index, const float* key, const float* value);
  void (*put_bf16)(const PutTask& task, int64_t index, const float* key, const float* value);
  // out = softmax(scale q . k + bias) v of one head for 1 to kMaxQueries queries; zero without tokens.
  // Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1
  void (*attend_f32)(const AttendTask& task, int64_t head, int64_t head_dim, int64_t num_queries);
  void (*attend_bf16)(const AttendTask& task, int64_t head, int64_t head_dim, int64_t num_queries);

  // recurrent.cc ------------------------------------------------------------------------------------
  // out = softmax_m(score . tanh(q + key_m)) value_m for one query [D]; zero without tokens.
  // Bahdanau et al. 2015, arXiv:1409.0473, appendix A.1.2
  void (*attend_additive_f32)(const AttendTask& task, const float* score);
  void (*attend_additive_bf16)(const AttendTask& task, const float* score);
  // h [D] becomes the next state, from the products gate_x, gate_h [3D] (reset, update, new) and the
  // biases bias_x, bias_h [3D]. Cho et al. 2014, arXiv:1406.1078; the reset gate multiplies the
  // product, as in PyTorch's GRUCell
  void (*gru_cell)(const float* gate_x, const float* gate_h, const float* bias_x,
                   const float* bias_h, float* h, int64_t n);
};

}  // namespace duologue
