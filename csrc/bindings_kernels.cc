// duologue._native.log_softmax, and the submodule `kernels`: each kernel of each instruction set on
// small arrays, one thread, for the tests that hold them against NumPy formulas.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "bindings.h"
#include "isa.h"
#include "linear.h"
#include "model.h"

namespace duologue {

template <class Body>
static Result<float> map_rows(const Matrix& x, size_t columns, const Body& body) {
  NewArray<float> y({x.shape(0), columns});
  {
    nb::gil_scoped_release release;
    for (size_t row = 0; row < x.shape(0); ++row) {
      body(x.data() + row * x.shape(1), y.data.get() + row * columns);
    }
  }
  return y.release();
}

static Result<float> log_softmax(const Matrix& x, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  require(x.shape(1) > 0, "log_softmax needs at least one column");
  const int64_t n = static_cast<int64_t>(x.shape(1));
  return map_rows(x, x.shape(1),
                  [&](const float* from, float* to) { kernels.log_softmax(from, to, n); });
}

static Result<float> softmax(const Matrix& x, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const int64_t n = static_cast<int64_t>(x.shape(1));
  return map_rows(x, x.shape(1), [&](const float* from, float* to) {
    std::memcpy(to, from, n * sizeof(float));
    kernels.softmax(to, n);
  });
}

static Result<float> rms_norm(const Matrix& x, const Vector& weight, float eps,
                              const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  require(weight.shape(0) == x.shape(1), "weight must have one value for each column");
  const int64_t n = static_cast<int64_t>(x.shape(1));
  return map_rows(x, x.shape(1), [&](const float* from, float* to) {
    kernels.rms_norm(from, weight.data(), to, n, eps);
  });
}

static Result<float> layer_norm(const Matrix& x, const Vector& weight, const Vector& bias, float eps,
                                const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  require(weight.shape(0) == x.shape(1) && bias.shape(0) == x.shape(1),
          "weight and bias must have one value for each column");
  const int64_t n = static_cast<int64_t>(x.shape(1));
  return map_rows(x, x.shape(1), [&](const float* from, float* to) {
    kernels.layer_norm(from, weight.data(), bias.data(), to, n, eps);
  });
}

static Result<float> activate(const Matrix& x, const std::string& name, bool is_gated,
                              const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const std::vector<std::string> names = {"silu", "relu", "gelu", "gelu_tanh"};
  const auto found = std::find(names.begin(), names.end(), name);
  require(found != names.end(), "no such activation");
  require(!is_gated || x.shape(1) % 2 == 0, "a gated activation needs gates and as many values");
  const size_t n = is_gated ? x.shape(1) / 2 : x.shape(1);
  return map_rows(x, n, [&](const float* from, float* to) {
    kernels.activate(static_cast<Activation>(found - names.begin()), is_gated, from, to,
                     static_cast<int64_t>(n));
  });
}

static Result<float> soft_cap(const Matrix& x, float cap, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const int64_t n = static_cast<int64_t>(x.shape(1));
  return map_rows(x, x.shape(1), [&](const float* from, float* to) {
    std::memcpy(to, from, n * sizeof(float));
    kernels.soft_cap(to, n, cap);
  });
}

static nb::tuple quantize(const Matrix& x, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const int64_t n = static_cast<int64_t>(x.shape(1));
  NewArray<int8_t> bytes({x.shape(0), x.shape(1)});
  NewArray<float> scale({x.shape(0)});
  for (size_t row = 0; row < x.shape(0); ++row) {
    scale.data[row] =
        kernels.quantize(x.data() + row * n, bytes.data.get() + row * n, n, n).scale;
  }
  return nb::make_tuple(bytes.release(), scale.release());
}

static Result<float> run_linear(const Matrix& x, const WeightView& weight, int64_t threads,
                                const std::string& isa) {
  require(static_cast<int64_t>(x.shape(1)) == weight.shape[1], "x and w must have equal columns");
  Runtime runtime(select_kernels(isa), threads);
  Arena arena;
  const Linear packed(runtime.kernels, weight, arena);
  const int64_t rows = static_cast<int64_t>(x.shape(0));
  NewArray<float> y({x.shape(0), static_cast<size_t>(packed.out())});
  {
    nb::gil_scoped_release release;
    ThreadPool::Pass pass(runtime.pool);
    linear(runtime, packed, x.data(), y.data.get(), rows);
  }
  return y.release();
}

static Result<float> linear_f32(const Matrix& x, const Matrix& w, int64_t threads,
                                const std::string& isa) {
  WeightView weight;
  weight.f32 = w.data();
  weight.shape = {static_cast<int64_t>(w.shape(0)), static_cast<int64_t>(w.shape(1))};
  return run_linear(x, weight, threads, isa);
}

static Result<float> linear_s8(const Matrix& x, const Matrix8& w, const Vector& scale,
                               int64_t threads, const std::string& isa) {
  require(scale.shape(0) == w.shape(0), "w must have one scale for each row");
  WeightView weight;
  weight.s8 = w.data();
  weight.scale = scale.data();
  weight.shape = {static_cast<int64_t>(w.shape(0)), static_cast<int64_t>(w.shape(1))};
  return run_linear(x, weight, threads, isa);
}

static Result<float> linear_bf16(const Matrix& x, const Input<uint16_t, nb::ndim<2>>& w,
                                 int64_t threads, const std::string& isa) {
  WeightView weight;
  weight.bf16 = w.data();
  weight.shape = {static_cast<int64_t>(w.shape(0)), static_cast<int64_t>(w.shape(1))};
  return run_linear(x, weight, threads, isa);
}

static Result<float> linear_s4(const Matrix& x, const Input<uint8_t, nb::ndim<2>>& w,
                               const Matrix& scale, int64_t threads, const std::string& isa) {
  const size_t in = x.shape(1), group = static_cast<size_t>(kGroup);
  require(w.shape(1) == (in + 1) / 2, "w must have half a byte for each column of x");
  require(scale.shape(0) == w.shape(0) && scale.shape(1) == (in + group - 1) / group,
          "w must have one scale for each row and group");
  WeightView weight;
  weight.s4 = w.data();
  weight.scale = scale.data();
  weight.shape = {static_cast<int64_t>(w.shape(0)), static_cast<int64_t>(in)};
  return run_linear(x, weight, threads, isa);
}

static Result<float> rotate(const Matrix& x, const Vector& cosine, const Vector& sine,
                            int64_t heads, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const int64_t n = static_cast<int64_t>(x.shape(1)), head_dim = heads > 0 ? n / heads : 0;
  require(heads > 0 && head_dim % 2 == 0 && heads * head_dim == n, "heads must divide the columns");
  require(2 * static_cast<int64_t>(cosine.shape(0)) == head_dim &&
              2 * static_cast<int64_t>(sine.shape(0)) == head_dim,
          "there must be one angle for each pair");
  return map_rows(x, x.shape(1), [&](const float* from, float* to) {
    std::memcpy(to, from, n * sizeof(float));
    kernels.rotate(to, cosine.data(), sine.data(), heads, head_dim);
  });
}

// keys and values [S, D] in pages that hold the given numbers of tokens, as a memory would.
struct Stored {
  Store store = Store::kF32;
  std::shared_ptr<PagePool> pool;
  std::vector<Pages> pages;
  std::vector<Span> spans;
  Buffer<float> scores;
};

static Stored store_tokens(const Kernels& kernels, const Matrix& keys, const Matrix& values,
                           const std::vector<int64_t>& lengths, int64_t heads,
                           const std::string& name) {
  require(name == "f32" || name == "bf16", "store must be f32 or bf16");
  Stored stored;
  stored.store = name == "f32" ? Store::kF32 : Store::kBf16;
  const int64_t d = static_cast<int64_t>(keys.shape(1));
  const auto put = name == "f32" ? kernels.put_f32 : kernels.put_bf16;
  stored.pool = std::make_shared<PagePool>(page_bytes(stored.store, d), int64_t{1} << 26);
  int64_t first = 0;
  for (const int64_t length : lengths) {
    require(length > 0 && first + length <= static_cast<int64_t>(keys.shape(0)), "wrong lengths");
    for (int64_t t = 0; t < length; ++t) {
      if (t % kBlock == 0) {
        stored.pages.emplace_back(stored.pool, 1);
        // What an earlier use may have left: no number.
        std::memset(stored.pages.back()[0], 0xFF, static_cast<size_t>(stored.pool->page_bytes()));
        stored.spans.push_back({stored.pages.back()[0], 0});
      }
      const PutTask task = {stored.pages.back()[0], d, round_up(d, 2) / heads};
      const int64_t row = first + t;
      put(task, t % kBlock, keys.data() + row * d, values.data() + row * d);
      ++stored.spans.back().length;
    }
    first += length;
  }
  return stored;
}

static AttendTask make_task(Stored& stored, int64_t d) {
  const int64_t size = scores_size(static_cast<int64_t>(stored.spans.size()), d);
  return attend_task(stored.spans, d, stored.scores.reserve(size));
}

static void check_attention(const Matrix& q, const Matrix& keys, const Matrix& values) {
  require(keys.shape(1) > 0 && q.shape(1) % keys.shape(1) == 0 && keys.shape(1) == values.shape(1) &&
              keys.shape(0) == values.shape(0),
          "q, keys and values must fit each other");
}

// keys, values: [n, G K]; scale 0: 1 / sqrt(K). bias [heads, tokens + rows - 1]: row r and token t get the
// value at rows - 1 - r + t; all spans are full but the last.
static Result<float> attend(const Matrix& q, const Matrix& keys, const Matrix& values,
                            const std::vector<int64_t>& lengths, int64_t heads,
                            const std::string& isa, const std::string& store, float scale,
                            float soft_cap, const std::optional<Matrix>& bias) {
  const Kernels& kernels = select_kernels(isa);
  check_attention(q, keys, values);
  const int64_t width = static_cast<int64_t>(q.shape(1)), rows = static_cast<int64_t>(q.shape(0));
  const int64_t d = static_cast<int64_t>(keys.shape(1)), head_dim = heads > 0 ? width / heads : 0;
  require(heads > 0 && width % heads == 0 && head_dim % 2 == 0 && d % head_dim == 0,
          "heads must divide the columns evenly");
  Stored stored = store_tokens(kernels, keys, values, lengths, d / head_dim, store);
  AttendTask task = make_task(stored, d);
  task.q_stride = task.out_stride = width;
  task.group = width / d;
  task.scale = scale != 0.0f ? scale : 1.0f / std::sqrt(static_cast<float>(head_dim));
  task.soft_cap = soft_cap;
  const int64_t stride = task.num_spans * kBlock + rows - 1;
  std::vector<float> padded(static_cast<size_t>(heads * stride));
  if (bias) {
    const int64_t columns = static_cast<int64_t>(bias->shape(1));
    require(static_cast<int64_t>(bias->shape(0)) == heads && columns <= stride,
            "bias must have a row for each head, and no more columns than distances");
    task.biased_spans = task.num_spans;
    for (int64_t head = 0; head < heads; ++head) {
      std::copy_n(bias->data() + head * columns, columns, padded.data() + head * stride);
    }
  }
  const auto attend = stored.store == Store::kF32 ? kernels.attend_f32 : kernels.attend_bf16;
  NewArray<float> out({q.shape(0), q.shape(1)});
  for (int64_t row = 0; row < rows; row += kMaxQueries) {
    task.q = q.data() + row * width;
    task.out = out.data.get() + row * width;
    const int64_t count = rows - row < kMaxQueries ? rows - row : kMaxQueries;
    for (int64_t head = 0; head < heads; ++head) {
      if (task.biased_spans > 0) task.bias = padded.data() + head * stride + rows - 1 - row;
      attend(task, head, head_dim, count);
    }
  }
  return out.release();
}

static Result<float> attend_additive(const Matrix& q, const Matrix& keys, const Matrix& values,
                                     const std::vector<int64_t>& lengths, const Vector& score,
                                     const std::string& isa, const std::string& store) {
  const Kernels& kernels = select_kernels(isa);
  check_attention(q, keys, values);
  require(score.shape(0) == q.shape(1), "score must have one value for each column");
  const int64_t d = static_cast<int64_t>(q.shape(1));
  Stored stored = store_tokens(kernels, keys, values, lengths, 1, store);
  AttendTask task = make_task(stored, d);
  return map_rows(q, q.shape(1), [&](const float* from, float* to) {
    task.q = from;
    task.out = to;
    (stored.store == Store::kF32 ? kernels.attend_additive_f32
                                 : kernels.attend_additive_bf16)(task, score.data());
  });
}

// gates [2, 3D] are the products of input and state, biases [2, 3D] theirs; h [1, D].
static Result<float> gru_cell(const Matrix& gates, const Matrix& biases, const Matrix& h,
                              const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const size_t n = h.shape(1);
  require(h.shape(0) == 1 && gates.shape(0) == 2 && gates.shape(1) == 3 * n &&
              biases.shape(0) == 2 && biases.shape(1) == 3 * n,
          "gates and biases must be [2, 3D], h [1, D]");
  return map_rows(h, n, [&](const float* from, float* to) {
    std::memcpy(to, from, n * sizeof(float));
    kernels.gru_cell(gates.data(), gates.data() + 3 * n, biases.data(), biases.data() + 3 * n, to,
                     static_cast<int64_t>(n));
  });
}

void bind_kernels(nb::module_& module) {
  using namespace nb::literals;
  module.def("log_softmax", &log_softmax, "x"_a.noconvert(), "isa"_a = "",
             "Natural log of the softmax of each row: [B, V] -> [B, V] float32.");
  nb::module_ kernels = module.def_submodule("kernels", "Each kernel by itself, for tests.");
  kernels.def("softmax", &softmax, "x"_a.noconvert(), "isa"_a);
  kernels.def("rms_norm", &rms_norm, "x"_a.noconvert(), "weight"_a.noconvert(), "eps"_a, "isa"_a);
  kernels.def("layer_norm", &layer_norm, "x"_a.noconvert(), "weight"_a.noconvert(),
              "bias"_a.noconvert(), "eps"_a, "isa"_a);
  kernels.def("activate", &activate, "x"_a.noconvert(), "activation"_a, "gated"_a, "isa"_a);
  kernels.def("soft_cap", &soft_cap, "x"_a.noconvert(), "cap"_a, "isa"_a);
  kernels.def("quantize", &quantize, "x"_a.noconvert(), "isa"_a);
  kernels.def("linear_f32", &linear_f32, "x"_a.noconvert(), "w"_a.noconvert(), "threads"_a,
              "isa"_a);
  kernels.def("linear_s8", &linear_s8, "x"_a.noconvert(), "w"_a.noconvert(),
              "scale"_a.noconvert(), "threads"_a, "isa"_a);
  kernels.def("linear_bf16", &linear_bf16, "x"_a.noconvert(), "w"_a.noconvert(), "threads"_a,
              "isa"_a);
  kernels.def("linear_s4", &linear_s4, "x"_a.noconvert(), "w"_a.noconvert(),
              "scale"_a.noconvert(), "threads"_a, "isa"_a);
  kernels.def("rotate", &rotate, "x"_a.noconvert(), "cosine"_a.noconvert(), "sine"_a.noconvert(),
              "heads"_a, "isa"_a);
  kernels.def("attend", &attend, "q"_a.noconvert(), "keys"_a.noconvert(), "values"_a.noconvert(),
              "lengths"_a, "heads"_a, "isa"_a, "store"_a = "f32", "scale"_a = 0.0f,
              "soft_cap"_a = 0.0f, "bias"_a.noconvert() = nb::none());
  kernels.def("attend_additive", &attend_additive, "q"_a.noconvert(), "keys"_a.noconvert(),
              "values"_a.noconvert(), "lengths"_a, "score"_a.noconvert(), "isa"_a,
              "store"_a = "f32");
  kernels.def("gru_cell", &gru_cell, "gates"_a.noconvert(), "biases"_a.noconvert(),
              "h"_a.noconvert(), "isa"_a);
}

}  // namespace duologue
