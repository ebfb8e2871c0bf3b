#include "linear.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace duologue {

// 255 * 127 * in must stay below 2^31 (VNNI sums unsigned bytes times signed bytes).
constexpr int64_t kMaxInputsS8 = 65536;
// Quantised rows start at multiples of this, so that they can be read by whole vectors.
constexpr int64_t kRowBytes = 64;

Linear::Linear(const Kernels& kernels, const WeightView& weight)
    : in_(weight.shape[1]), out_(weight.shape[0]) {
  if (weight.f32 != nullptr) {
    panel_ = kernels.panel_f32;
    float* packed = f32_.reserve(round_up(out_, panel_) * in_);
    for (int64_t o = 0; o < out_; ++o) {
      float* start = packed + o / panel_ * panel_ * in_ + o % panel_;
      for (int64_t i = 0; i < in_; ++i) start[i * panel_] = weight.f32[o * in_ + i];
    }
    return;
  }
  if (in_ > kMaxInputsS8) {
    throw std::invalid_argument("an int8 weight can have at most " + std::to_string(kMaxInputsS8) +
                                " inputs, not " + std::to_string(in_));
  }
  panel_ = kernels.panel_s8;
  weight_offset_ = kernels.weight_offset;
  const int64_t padded = round_up(in_, 4);
  // What pads a row of weights meets activations that are 0, what pads a panel is never written to y.
  uint8_t* packed = s8_.reserve(round_up(out_, panel_) * padded);
  for (int64_t o = 0; o < out_; ++o) {
    uint8_t* start = packed + o / panel_ * panel_ * padded + o % panel_ * 4;
    for (int64_t i = 0; i < in_; ++i) {
      start[i / 4 * panel_ * 4 + i % 4] =
          static_cast<uint8_t>(weight.s8[o * in_ + i] + weight_offset_);
    }
  }
  std::copy(weight.scale, weight.scale + out_, scale_.reserve(round_up(out_, panel_)));
}

void Linear::read_row(int64_t row, float factor, float* y) const {
  if (!is_quantized()) {
    const float* start = f32_.data() + row / panel_ * panel_ * in_ + row % panel_;
    for (int64_t i = 0; i < in_; ++i) y[i] = factor * start[i * panel_];
    return;
  }
  const uint8_t* start = s8_.data() + row / panel_ * panel_ * round_up(in_, 4) + row % panel_ * 4;
  const float scale = factor * scale_.data()[row];
  for (int64_t i = 0; i < in_; ++i) {
    const uint8_t byte = start[i / 4 * panel_ * 4 + i % 4];
    y[i] = scale * static_cast<float>(static_cast<int8_t>(byte - weight_offset_));
  }
}

// Fills the runtime's buffers with x [rows, in] as bytes.
static void quantize_rows(Runtime& runtime, const float* x, int64_t rows, int64_t in) {
  const int64_t stride = round_up(in, kRowBytes);
  int8_t* bytes = runtime.quantized.reserve(rows * stride);
  QuantizedRow* quantized = runtime.quantized_rows.reserve(rows);
  for_rows(runtime, rows, [&](int64_t row) {
    quantized[row] = runtime.kernels.quantize(x + row * in, bytes + row * stride, in, stride);
  });
}

void linear(Runtime& runtime, const Linear& weight, const float* x, float* y, int64_t rows,
            bool is_added) {
  const Kernels& kernels = runtime.kernels;
  const bool is_s8 = weight.is_quantized();
  if (is_s8) quantize_rows(runtime, x, rows, weight.in());
  const LinearTask task = {weight.packed(),
                           x,
                           runtime.quantized.data(),
                           runtime.quantized_rows.data(),
                           round_up(weight.in(), kRowBytes),
                           y,
                           is_added};

  // A piece is as many panels as make some microseconds of work: less, and the threads would spend
  // their time on agreeing who does what. Many rows are cut too, so that narrow layers keep all busy.
  constexpr int64_t kRowsPerPiece = 24;
  constexpr int64_t kProductsPerPiece = 32 * 1024;
  const int64_t panel = is_s8 ? kernels.panel_s8 : kernels.panel_f32;
  const int64_t panels = (weight.out() + panel - 1) / panel;
  const int64_t row_pieces = (rows + kRowsPerPiece - 1) / kRowsPerPiece;
  const int64_t products = panel * weight.in() * std::min(rows, kRowsPerPiece);
  const int64_t step = std::clamp<int64_t>((kProductsPerPiece + products - 1) / products, 1, panels);
  const int64_t panel_pieces = (panels + step - 1) / step;

  runtime.pool.parallel_for(panel_pieces * row_pieces, [&](int64_t piece, int64_t) {
    const int64_t first_panel = piece / row_pieces * step;
    const int64_t first_row = piece % row_pieces * kRowsPerPiece;
    const Tile tile = {first_panel, std::min(first_panel + step, panels), first_row,
                       std::min(first_row + kRowsPerPiece, rows)};
    (is_s8 ? kernels.linear_s8 : kernels.linear_f32)(task, tile);
  });
}

}  // namespace duologue
