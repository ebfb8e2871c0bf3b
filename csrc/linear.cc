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
  panel_ = kernels.panel_f32;
  if (weight.f32 != nullptr) {
    pack_f32(weight, arena);
    return;
  }
  if (weight.bf16 != nullptr) {
    pack_bf16(weight, arena);
    return;
  }
  if (in() > kMaxInputsS8) {
    throw std::invalid_argument("an int8 or int4 weight can have at most " +
                                std::to_string(kMaxInputsS8) + " inputs, not " +
                                std::to_string(in()));
  }
  if (weight.s8 != nullptr) {
    panel_ = kernels.panel_s8;
    weight_offset_ = kernels.weight_offset;
    pack_s8(weight, arena);
  } else {
    panel_ = kernels.panel_s4;
    pack_s4(weight, arena);
  }
}

void Linear::pack_f32(const WeightView& weight, Arena& arena) {
  float* packed = arena.take<float>(round_up(out(), panel_) * in());
  for (int64_t o = 0; o < out(); ++o) {
    float* start = packed + o / panel_ * panel_ * in() + o % panel_;
    for (int64_t i = 0; i < in(); ++i) start[i * panel_] = weight.f32[o * in() + i];
  }
  packed_.format = Format::kF32;
  packed_.data = packed;
}

// Where value i of output o lies among 16-bit values.
static int64_t place_bf16(int64_t o, int64_t i, int64_t panel, int64_t in) {
  return o / panel * panel * round_up(in, 2) + i / 2 * panel * 2 + o % panel * 2 + i % 2;
}

void Linear::pack_bf16(const WeightView& weight, Arena& arena) {
  uint16_t* packed = arena.take<uint16_t>(round_up(out(), panel_) * round_up(in(), 2));
  for (int64_t o = 0; o < out(); ++o) {
    for (int64_t i = 0; i < in(); ++i) {
      packed[place_bf16(o, i, panel_, in())] = weight.bf16[o * in() + i];
    }
  }
  packed_.format = Format::kBf16;
  packed_.data = packed;
}

void Linear::pack_s8(const WeightView& weight, Arena& arena) {
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
  packed_.format = Format::kS8;
  packed_.data = packed;
  packed_.scale = scale;
}

// Where the byte of value i of output o lies; inputs 4 apart share one.
static int64_t place_s4(int64_t o, int64_t i, int64_t panel, int64_t in) {
  return o / panel * panel * round_up(in, kGroup) / 2 + i / 8 * panel * 4 + o % panel * 4 + i % 4;
}

void Linear::pack_s4(const WeightView& weight, Arena& arena) {
  const int64_t groups = (in() + kGroup - 1) / kGroup, bytes = (in() + 1) / 2;
  uint8_t* packed = arena.take<uint8_t>(round_up(out(), panel_) * groups * kGroup / 2);
  float* scale = arena.take<float>(round_up(out(), panel_) * groups);
  for (int64_t o = 0; o < out(); ++o) {
    for (int64_t i = 0; i < in(); ++i) {
      const int nibble = weight.s4[o * bytes + i / 2] >> (i % 2 * 4) & 15;
      packed[place_s4(o, i, panel_, in())] |= static_cast<uint8_t>(nibble << (i / 4 % 2 * 4));
    }
    for (int64_t g = 0; g < groups; ++g) {
      scale[(o / panel_ * groups + g) * panel_ + o % panel_] = weight.scale[o * groups + g];
    }
  }
  packed_.format = Format::kS4;
  packed_.data = packed;
  packed_.scale = scale;
}

void Linear::read_row(int64_t row, float factor, float* y) const {
  const uint8_t* bytes = static_cast<const uint8_t*>(packed_.data);
  const int64_t groups = (in() + kGroup - 1) / kGroup;
  for (int64_t i = 0; i < in(); ++i) {
    float value = 0.0f;
    if (format() == Format::kF32) {
      value = static_cast<const float*>(packed_.data)[(row / panel_ * in() + i) * panel_ +
                                                      row % panel_];
    } else if (format() == Format::kBf16) {
      const uint32_t word =
          uint32_t{static_cast<const uint16_t*>(packed_.data)[place_bf16(row, i, panel_, in())]}
          << 16;
      std::memcpy(&value, &word, 4);
    } else if (format() == Format::kS8) {
      const uint8_t byte = bytes[row / panel_ * panel_ * round_up(in(), 4) + row % panel_ * 4 +
                                 i / 4 * panel_ * 4 + i % 4];
      value = static_cast<float>(static_cast<int8_t>(byte - weight_offset_)) * packed_.scale[row];
    } else {
      const int nibble = bytes[place_s4(row, i, panel_, in())] >> (i / 4 % 2 * 4) & 15;
      value = static_cast<float>(nibble - 8) *
              packed_.scale[(row / panel_ * groups + i / kGroup) * panel_ + row % panel_];
    }
    y[i] = factor * value;
  }
}

// Fills the runtime's buffers with x [rows, in] as bytes, and with the sums of their groups.
static void quantize_rows(Runtime& runtime, const float* x, int64_t rows, int64_t in,
                          bool has_groups) {
  const int64_t stride = round_up(in, kRowBytes), groups = stride / kGroup;
  int8_t* bytes = runtime.quantized.reserve(rows * stride);
  QuantizedRow* quantized = runtime.quantized_rows.reserve(rows);
  int32_t* sums = has_groups ? runtime.groups.reserve(rows * groups) : nullptr;
  for_rows(runtime, rows, [&](int64_t row) {
    int8_t* own = bytes + row * stride;
    quantized[row] = runtime.kernels.quantize(x + row * in, own, in, stride);
    for (int64_t g = 0; has_groups && g < groups; ++g) {
      int32_t sum = 0;
      for (int64_t i = 0; i < kGroup; ++i) sum += own[g * kGroup + i];
      sums[row * groups + g] = sum;
    }
  });
}

static void pair_rows(Runtime& runtime, const float* x, int64_t rows, int64_t in) {
  const int64_t steps = (in + 1) / 2;
  uint32_t* pairs = runtime.pairs.reserve(rows * steps);
  for_rows(runtime, rows, [&](int64_t row) {
    runtime.kernels.to_pairs(x + row * in, pairs + row * steps, in);
  });
}

static LinearTask make_task(Runtime& runtime, const Linear& weight, float* y) {
  LinearTask task = {};
  task.w = weight.packed();
  task.x_s8 = runtime.quantized.data();
  task.x_rows = runtime.quantized_rows.data();
  task.x_groups = runtime.groups.data();
  task.x_pairs = runtime.pairs.data();
  task.s8_stride = round_up(weight.in(), kRowBytes);
  task.y = y;
  return task;
}

void linear(Runtime& runtime, const Linear& weight, const float* x, float* y, int64_t rows,
            bool is_added) {
  const Kernels& kernels = runtime.kernels;
  const Format format = weight.format();
  auto product = kernels.linear_f32;
  if (format == Format::kBf16) {
    product = kernels.linear_bf16;
    if (kernels.has_bf16_dot) pair_rows(runtime, x, rows, weight.in());
  } else if (format != Format::kF32) {
    product = format == Format::kS8 ? kernels.linear_s8 : kernels.linear_s4;
    quantize_rows(runtime, x, rows, weight.in(), format == Format::kS4);
  }
  LinearTask task = make_task(runtime, weight, y);
  task.x_f32 = x;
  task.is_added = is_added;

  // A piece is as many panels as make some microseconds of work: less, and the threads would spend
  // their time on agreeing who does what. Many rows are cut too, so that narrow layers keep all busy.
  constexpr int64_t kRowsPerPiece = 64;
  constexpr int64_t kProductsPerPiece = 32 * 1024;
  const int64_t panel = weight.panel();
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
    product(task, tile);
  });
}

void linear_panels(Runtime& runtime, const Linear& weight, float* y, int64_t rows,
                   const std::vector<int64_t>& panels) {
  const LinearTask task = make_task(runtime, weight, y);
  runtime.pool.parallel_for(static_cast<int64_t>(panels.size()), [&](int64_t piece, int64_t) {
    const int64_t panel = panels[static_cast<size_t>(piece)];
    runtime.kernels.linear_s8(task, {panel, panel + 1, 0, rows});
  });
}

}  // namespace duologue
