// y = x W^T in every format against loops in double, on every instruction set.
#include <algorithm>
#include <cmath>

#include "shared.h"

namespace duologue {

struct Shape {
  int64_t rows, in, out;
};

// Below, at and above a vector, a panel, a group of 4-bit weights, and the rows of one pass.
constexpr Shape kShapes[] = {{1, 1, 1},    {1, 300, 64}, {2, 31, 17},  {3, 65, 7},
                             {5, 32, 16},  {7, 33, 70},  {13, 64, 130}, {67, 40, 65}};

// y [rows, out] by the runtime that a model uses, added to what is in y.
static void run_linear(const Kernels& kernels, const Matrix& matrix, const std::vector<float>& x,
                       std::vector<float>& y, int64_t threads, bool is_added) {
  Runtime runtime(kernels, threads);
  Arena arena;
  const Linear weight(kernels, matrix.view(), arena);
  ThreadPool::Pass pass(runtime.pool);
  linear(runtime, weight, x.data(), y.data(), static_cast<int64_t>(x.size()) / matrix.in, is_added);
}

static std::vector<float> product(const Kernels& kernels, const Matrix& matrix,
                                  const std::vector<float>& x, int64_t threads = 1) {
  std::vector<float> y(x.size() / matrix.in * matrix.out);
  run_linear(kernels, matrix, x, y, threads, false);
  return y;
}

// What a product takes of x: bytes of it if the weights are, pairs of bf16 at some.
static std::vector<double> as_taken(const std::vector<float>& x, const Matrix& matrix) {
  std::vector<double> taken(x.begin(), x.end());
  if (matrix.format != Format::kS8 && matrix.format != Format::kS4) return taken;
  const size_t in = static_cast<size_t>(matrix.in);
  for (size_t start = 0; start < x.size(); start += in) {
    const PlainBytes row = plain_quantize(x.data() + start, matrix.in);
    for (size_t i = 0; i < in; ++i) taken[start + i] = double{row.scale} * row.bytes[i];
  }
  return taken;
}

static std::vector<double> plain_product(const std::vector<float>& x, const Matrix& matrix) {
  const std::vector<double> taken = as_taken(x, matrix);
  const int64_t rows = static_cast<int64_t>(x.size()) / matrix.in;
  std::vector<double> y(rows * matrix.out);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < matrix.out; ++o) {
      for (int64_t i = 0; i < matrix.in; ++i) {
        y[r * matrix.out + o] += taken[r * matrix.in + i] * matrix.values[o * matrix.in + i];
      }
    }
  }
  return y;
}

static void is_the_product() {
  for (const Format format : kFormats) {
    for (const Shape& shape : kShapes) {
      Random random(1);
      const Matrix matrix(format, shape.out, shape.in, random);
      const std::vector<float> x = round_to_bf16(random.floats(shape.rows * shape.in));
      const std::vector<float> before = random.floats(shape.rows * shape.out);
      std::vector<double> expected = plain_product(x, matrix), sum = expected;
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += before[i];
      for_each_isa([&](const Kernels& kernels) {
        set_case(std::string(kernels.name) + " " + name_of(format) + " " +
                 std::to_string(shape.rows) + "x" + std::to_string(shape.in) + "x" +
                 std::to_string(shape.out));
        CHECK_CLOSE(product(kernels, matrix, x), expected, 2e-6);
        std::vector<float> y = before;
        run_linear(kernels, matrix, x, y, 1, true);
        CHECK_CLOSE(y, sum, 2e-6);
      });
    }
  }
}

static void is_exact_at_the_largest_bytes() {
  Random random(2);
  Matrix matrix(Format::kS8, 5, 1100, random);
  std::fill(matrix.scale.begin(), matrix.scale.end(), 1.0f);
  std::fill(matrix.s8.begin(), matrix.s8.end(), int8_t{-128});
  const std::vector<float> x(2 * 1100, -127.0f);
  for_each_isa([&](const Kernels& kernels) {
    set_case(kernels.name);
    CHECK(is_same(product(kernels, matrix, x), std::vector<float>(10, 127.0f * 128.0f * 1100.0f)));
  });
}

static void s8_has_the_same_bits_everywhere() {
  Random random(3);
  const Matrix matrix(Format::kS8, 75, 99, random);
  const std::vector<float> x = random.floats(11 * 99, 3.0f);
  const std::vector<float> expected = product(select_kernels("portable"), matrix, x);
  for_each_isa([&](const Kernels& kernels) {
    set_case(kernels.name);
    CHECK(is_same(product(kernels, matrix, x), expected));
  });
}

static void threads_and_other_rows_change_no_bit() {
  for (const Format format : kFormats) {
    Random random(4);
    const Matrix matrix(format, 700, 129, random);
    const std::vector<float> x = random.floats(70 * 129);
    for_each_isa([&](const Kernels& kernels) {
      set_case(std::string(kernels.name) + " " + name_of(format));
      const std::vector<float> expected = product(kernels, matrix, x);
      CHECK(is_same(product(kernels, matrix, x, 3), expected));
      for (const int64_t row : {0, 41, 69}) {
        const std::vector<float> alone(x.begin() + row * 129, x.begin() + (row + 1) * 129);
        CHECK(is_same(product(kernels, matrix, alone),
                      {expected.begin() + row * 700, expected.begin() + (row + 1) * 700}));
      }
    });
  }
}

static void read_row_gives_the_values_back() {
  for (const Format format : kFormats) {
    Random random(5);
    const Matrix matrix(format, 67, 37, random);
    for_each_isa([&](const Kernels& kernels) {
      set_case(std::string(kernels.name) + " " + name_of(format));
      Arena arena;
      const Linear weight(kernels, matrix.view(), arena);
      std::vector<float> result(67 * 37);
      for (int64_t row = 0; row < 67; ++row) weight.read_row(row, 4.0f, result.data() + row * 37);
      std::vector<double> expected = matrix.values;
      for (double& value : expected) value *= 4.0;
      CHECK_CLOSE(result, expected, 1e-6);
    });
  }
}

std::vector<Test> linear_tests() {
  return {
      {"linear: is the product with the transpose", is_the_product},
      {"linear: sums of the largest bytes are exact", is_exact_at_the_largest_bytes},
      {"linear: s8 has the same bits on every instruction set", s8_has_the_same_bits_everywhere},
      {"linear: threads and other rows change no bit", threads_and_other_rows_change_no_bit},
      {"linear: read_row gives the values back", read_row_gives_the_values_back},
  };
}

}  // namespace duologue
