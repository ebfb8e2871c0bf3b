#include "linear.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace duologue {

// 255 * 127 * in must stay below 2^31 (VNNI sums unsigned bytes times signed bytes).
constexpr int64_t kMaxInputsS8 = 65536;
// Quantised rows start at multiples of this, so that they can be read by whole vectors.
constexpr int64_t kRowBytes = 64;

Linear::Linear(const Kernels& kernels, const WeightView& weight, Arena& arena) {
  packed_.out = weight.shape[0];
  packed_.in = weight.shape[1];
  if (weight.f32 != nullptr) {
    panel_ = kernels.panel_f32;
    pack_f32(weight, arena);
  } else {
    panel_ = kernels.panel_s8;
    weight_offset_ = kernels.weight_offset;
    pack_s8(weight, arena);
  }
}

void Linear::pack_f32(const WeightView& weight, Arena& arena) {
  float* packed = arena.take<float>(round_up(out(), panel_) * in());
  for (int64_t o = 0; o < out(); ++o) {
    float* start = packed + o / panel_ * panel_ * in() + o % panel_;
    for (int64_t i = 0; i < in(); ++i) start[i * panel_] = weight.f32[o * in() + i];
  }
  packed_.f32 = packed;
}

void Linear::pack_s8(const WeightView& weight, Arena& arena) {
  if (in() > kMaxInputsS8) {
    throw std::invalid_argument("an int8 weight can have at most " + std::to_string(kMaxInputsS8) +
                                " inputs, not " + std::to_string(in()));
  }
  const int64_t padded = round_up(in(), 4);
  // What pads a row of weights meets activations that are 0, what pads a panel is never written to y.
  uint8_t* packed = arena.take<uint8_t>(round_up(out(), panel_) * padded);
  for (int64_t o = 0; o < out(); ++o) {
    uint8_t* start = packed + o / panel_ * panel_ * padded + o % panel_ * 4;
    for (int64_t i = 0; i < in(); ++i) {
      start[i / 4 * panel_ * 4 + i % 4] =
          static_cast<uint8_t>(weight.s8[o * in() + i] + weight_offset_);
    }
  }
  float* scale = arena.take<float>(round_up(out(), panel_));
  std::copy(weight.scale, weight.scale + out(), scale);
  packed_.s8 = packed;
  packed_.scale = scale;
}

void Linear::read_row(int64_t row, float factor, float* y) const {
  if (!is_quantized()) {
    const float* start = packed_.f32 + row / panel_ * panel_ * in() + row % panel_;
    for (int64_t i = 0; i < in(); ++i) y[i] = factor * start[i * panel_];
    return;
  }
  const uint8_t* start =
      packed_.s8 + row / panel_ * panel_ * round_up(in(), 4) + row % panel_ * 4;
  const float scale = factor * packed_.scale[row];
  for (int64_t i = 0; i < in(); ++i) {
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
  constexpr int64_t kRowsPerPiece = 64;
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
