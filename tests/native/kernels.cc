// The functions of one row against their formulas, on every instruction set.
#include <algorithm>
#include <cmath>
#include <limits>

#include "shared.h"

namespace duologue {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Below, at and above a vector.
constexpr int64_t kWidths[] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 64, 130};

static double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Calls body(kernels, width, random) for each instruction set and width.
static void for_each_width(
    const std::function<void(const Kernels&, int64_t width, Random& random)>& body) {
  for_each_isa([&](const Kernels& kernels) {
    for (const int64_t width : kWidths) {
      Random random(static_cast<uint64_t>(width));
      set_case(std::string(kernels.name) + " width " + std::to_string(width));
      body(kernels, width, random);
    }
  });
}

static void check_quantized(const Kernels& kernels, const std::vector<float>& x) {
  const int64_t n = static_cast<int64_t>(x.size()), padded = round_up(n, 64);
  PlainBytes expected = plain_quantize(x.data(), n);
  expected.bytes.resize(static_cast<size_t>(padded));
  std::vector<int8_t> bytes(static_cast<size_t>(padded), int8_t{99});
  const QuantizedRow row = kernels.quantize(x.data(), bytes.data(), n, padded);
  int32_t sum = 0;
  for (const int8_t byte : expected.bytes) sum += byte;
  CHECK(is_same(bytes, expected.bytes));
  CHECK(row.scale == expected.scale);
  CHECK(row.sum == sum);
}

static void quantize_rounds_to_the_nearest() {
  for_each_width([](const Kernels& kernels, int64_t width, Random& random) {
    check_quantized(kernels, random.floats(width, 10.0f));
    check_quantized(kernels, std::vector<float>(static_cast<size_t>(width), 0.0f));
    std::vector<float> halves = {127.0f};
    while (static_cast<int64_t>(halves.size()) < width) {
      halves.push_back(static_cast<float>(random.integer(-100, 100)) + 0.5f);
    }
    check_quantized(kernels, halves);
  });
}

// The sum is always that of the bytes: VNNI takes it off again.
static void quantize_sums_the_bytes_of_any_row() {
  for_each_width([](const Kernels& kernels, int64_t width, Random& random) {
    for (const float size : {1e-44f, 1e-38f, 3e38f, kInfinity, -kInfinity, NAN}) {
      std::vector<float> x = random.floats(width);
      for (float& value : x) value = std::isfinite(size) ? value * size : size;
      std::vector<int8_t> bytes(static_cast<size_t>(width));
      const QuantizedRow row = kernels.quantize(x.data(), bytes.data(), width, width);
      int32_t sum = 0;
      for (const int8_t byte : bytes) sum += byte;
      CHECK(row.sum == sum);
    }
  });
}

static void to_pairs_rounds_to_even() {
  for_each_width([](const Kernels& kernels, int64_t width, Random& random) {
    std::vector<float> x = random.floats(width, 3.0f);
    x[0] = 1.00390625f;  // halfway between two: down to the even one
    if (width > 1) x[1] = 1.01171875f;  // halfway: up
    if (width > 2) x[2] = NAN;
    std::vector<uint32_t> pairs(static_cast<size_t>((width + 1) / 2));
    kernels.to_pairs(x.data(), pairs.data(), width);
    for (int64_t i = 0; i < width; ++i) {
      const uint16_t bits = static_cast<uint16_t>(pairs[i / 2] >> (i % 2 * 16));
      if (i == 2) {
        CHECK(std::isnan(from_bf16(bits)));
      } else {
        CHECK(bits == to_bf16(x[i]));
      }
    }
    if (width % 2 != 0) CHECK(pairs.back() >> 16 == 0);
  });
}

static void rms_norm_is_its_formula() {
  for_each_width([](const Kernels& kernels, int64_t width, Random& random) {
    const std::vector<float> x = random.floats(width, 5.0f), weight = random.floats(width);
    double squares = 0.0;
    for (const float value : x) squares += double{value} * value;
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(width) + 1e-6);
    std::vector<double> expected;
    for (int64_t i = 0; i < width; ++i) expected.push_back(x[i] * inverse * weight[i]);
    std::vector<float> y(x.size());
    kernels.rms_norm(x.data(), weight.data(), y.data(), width, 1e-6f);
    CHECK_CLOSE(y, expected, 1e-6);
    std::vector<float> zeros(x.size(), 0.0f);
    kernels.rms_norm(zeros.data(), weight.data(), zeros.data(), width, 1e-6f);
    CHECK_CLOSE(zeros, std::vector<double>(x.size(), 0.0), 0.0);
  });
}

static void check_softmax(const Kernels& kernels, const std::vector<float>& x) {
  const int64_t n = static_cast<int64_t>(x.size());
  const double top = *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (const float value : x) sum += std::exp(value - top);
  std::vector<double> expected, logs;
  for (const float value : x) {
    expected.push_back(std::exp(value - top) / sum);
    logs.push_back(value - top - std::log(sum));
  }
  std::vector<float> y = x, own(x.size());
  kernels.softmax(y.data(), n);
  CHECK_CLOSE(y, expected, 1e-6);
  kernels.log_softmax(x.data(), own.data(), n);
  CHECK_CLOSE(own, logs, 1e-6);
  y = x;
  kernels.log_softmax(y.data(), y.data(), n);
  CHECK(is_same(y, own));
}

static void softmax_is_its_formula() {
  for_each_width([](const Kernels& kernels, int64_t width, Random& random) {
    check_softmax(kernels, random.floats(width, 8.0f));
    check_softmax(kernels, std::vector<float>(static_cast<size_t>(width), -3e38f));
    std::vector<float> apart = random.floats(width);
    apart[static_cast<size_t>(width / 2)] = 1e4f;
    apart[0] -= 1e4f;
    check_softmax(kernels, apart);
  });
}

static double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu: return x * sigmoid(x);
    case Activation::kRelu: return std::max(x, 0.0);
    case Activation::kGelu: return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    default: return x * sigmoid(2.0 * std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x));
  }
}

static void activate_is_its_formula() {
  for_each_width([](const Kernels& kernels, int64_t width, Random& random) {
    for (const Activation activation :
         {Activation::kSilu, Activation::kRelu, Activation::kGelu, Activation::kGeluTanh}) {
      for (const bool is_gated : {false, true}) {
        std::vector<float> x = random.floats(2 * width, 8.0f);
        x[0] = width % 2 == 0 ? 1e30f : -1e30f;
        std::vector<double> expected;
        for (int64_t i = 0; i < width; ++i) {
          expected.push_back(activated(activation, x[i]) * (is_gated ? x[width + i] : 1.0));
        }
        std::vector<float> y(static_cast<size_t>(width));
        kernels.activate(activation, is_gated, x.data(), y.data(), width);
        CHECK_CLOSE(y, expected, 1e-6);
        kernels.activate(activation, is_gated, x.data(), x.data(), width);
        CHECK(is_same(y, {x.begin(), x.begin() + width}));
      }
    }
  });
}

static void layer_norm_is_its_formula() {
  for_each_width([](const Kernels& kernels, int64_t width, Random& random) {
    std::vector<float> x = random.floats(width, 3.0f);
    const std::vector<float> weight = random.floats(width), bias = random.floats(width);
    double mean = 0.0, squares = 0.0;
    for (const float value : x) mean += value / static_cast<double>(width);
    for (const float value : x) squares += (value - mean) * (value - mean);
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(width) + 1e-2);
    std::vector<double> expected;
    for (int64_t i = 0; i < width; ++i) {
      expected.push_back((x[i] - mean) * inverse * weight[i] + bias[i]);
    }
    kernels.layer_norm(x.data(), weight.data(), bias.data(), x.data(), width, 1e-2f);
    CHECK_CLOSE(x, expected, 1e-5);
  });
}

static void rotate_turns_the_halves_of_each_head() {
  for_each_isa([](const Kernels& kernels) {
    for (const int64_t head_dim : {2, 6, 16, 34, 64}) {
      set_case(std::string(kernels.name) + " head_dim " + std::to_string(head_dim));
      Random random(6);
      const int64_t heads = 3, half = head_dim / 2;
      std::vector<float> x = random.floats(heads * head_dim), cosine, sine;
      for (int64_t j = 0; j < half; ++j) {
        const float angle = random.uniform(0.0f, 6.0f);
        cosine.push_back(std::cos(angle));
        sine.push_back(std::sin(angle));
      }
      std::vector<double> expected(x.size());
      for (int64_t i = 0; i < heads * half; ++i) {
        const int64_t first = i / half * head_dim + i % half, second = first + half;
        const double c = cosine[i % half], s = sine[i % half];
        expected[first] = x[first] * c - x[second] * s;
        expected[second] = x[second] * c + x[first] * s;
      }
      kernels.rotate(x.data(), cosine.data(), sine.data(), heads, head_dim);
      CHECK_CLOSE(x, expected, 1e-6);
    }
  });
}

static void gru_cell_is_its_formula() {
  for_each_width([](const Kernels& kernels, int64_t n, Random& random) {
    const std::vector<float> gate_x = random.floats(3 * n, 4.0f), gate_h = random.floats(3 * n, 4.0f);
    const std::vector<float> bias_x = random.floats(3 * n), bias_h = random.floats(3 * n);
    std::vector<float> h = random.floats(n);
    std::vector<double> expected;
    for (int64_t i = 0; i < n; ++i) {
      const auto x = [&](int64_t gate) { return double{gate_x[gate * n + i]} + bias_x[gate * n + i]; };
      const auto s = [&](int64_t gate) { return double{gate_h[gate * n + i]} + bias_h[gate * n + i]; };
      const double reset = sigmoid(x(0) + s(0)), update = sigmoid(x(1) + s(1));
      expected.push_back((1.0 - update) * std::tanh(x(2) + reset * s(2)) + update * h[i]);
    }
    kernels.gru_cell(gate_x.data(), gate_h.data(), bias_x.data(), bias_h.data(), h.data(), n);
    CHECK_CLOSE(h, expected, 2e-6);
  });
}

std::vector<Test> kernel_tests() {
  return {
      {"kernels: quantize rounds to the nearest, halves to even", quantize_rounds_to_the_nearest},
      {"kernels: quantize sums the bytes of any row", quantize_sums_the_bytes_of_any_row},
      {"kernels: to_pairs rounds to even", to_pairs_rounds_to_even},
      {"kernels: rms_norm is its formula", rms_norm_is_its_formula},
      {"kernels: softmax and log_softmax are their formulas", softmax_is_its_formula},
      {"kernels: activate is its formula", activate_is_its_formula},
      {"kernels: layer_norm is its formula", layer_norm_is_its_formula},
      {"kernels: rotate turns the halves of each head", rotate_turns_the_halves_of_each_head},
      {"kernels: gru_cell is its formula", gru_cell_is_its_formula},
  };
}

}  // namespace duologue
