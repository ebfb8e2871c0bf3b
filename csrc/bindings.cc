// The Python module duologue._native: checks of shapes and types, and release of the GIL. Nothing is
// computed here.
//
// No array argument is converted: an array of another type, order or device is a TypeError, because
// a silent copy would hide a mistake. std::invalid_argument becomes ValueError.
#include "bindings.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "isa.h"
#include "model.h"

namespace duologue {

using StatePtr = std::shared_ptr<DecoderState>;

// `source` is any object with the attributes of ModelConfig.
static Config read_config(nb::handle source) {
  const auto size = [&](const char* name) { return nb::cast<int64_t>(source.attr(name)); };
  const std::string cell = nb::cast<std::string>(source.attr("cell"));
  require(cell == "transformer" || cell == "gru", "cell must be transformer or gru");
  Config config;
  config.cell = cell == "gru" ? Cell::kGru : Cell::kTransformer;
  config.vocab_size = size("vocab_size");
  config.d_model = size("d_model");
  config.d_ff = size("d_ff");
  config.num_heads = size("num_heads");
  config.num_encoder_layers = size("num_encoder_layers");
  config.num_decoder_layers = size("num_decoder_layers");
  config.max_positions = size("max_positions");
  config.rope_theta = nb::cast<double>(source.attr("rope_theta"));
  config.norm_eps = static_cast<float>(nb::cast<double>(source.attr("norm_eps")));
  return config;
}

template <class Array>
static std::vector<int64_t> shape_of(const Array& array) {
  std::vector<int64_t> shape;
  for (size_t axis = 0; axis < array.ndim(); ++axis) {
    shape.push_back(static_cast<int64_t>(array.shape(axis)));
  }
  return shape;
}

// f32: name -> float32 array. s8: name -> (int8 array [out, in], float32 scale [out]). The views point
// into the caller's arrays, which must live while they are used.
static std::map<std::string, WeightView> read_weights(const nb::dict& f32, const nb::dict& s8) {
  std::map<std::string, WeightView> views;
  for (const auto& [key, value] : f32) {
    const std::string name = nb::cast<std::string>(key);
    Input<float> array;
    if (!nb::try_cast(value, array, /*convert=*/false)) {
      throw std::invalid_argument(name + " must be a C-contiguous float32 array");
    }
    WeightView view;
    view.f32 = array.data();
    view.shape = shape_of(array);
    views[name] = std::move(view);
  }
  for (const auto& [key, value] : s8) {
    const std::string name = nb::cast<std::string>(key);
    nb::tuple pair;
    Matrix8 array;
    Vector scale;
    if (!nb::try_cast(value, pair, false) || nb::len(pair) != 2 ||
        !nb::try_cast(pair[0], array, false) || !nb::try_cast(pair[1], scale, false) ||
        scale.shape(0) != array.shape(0)) {
      throw std::invalid_argument(name + " must be (int8 [out, in], float32 [out]), C-contiguous");
    }
    WeightView view;
    view.s8 = array.data();
    view.scale = scale.data();
    view.shape = shape_of(array);
    views[name] = std::move(view);
  }
  return views;
}

static std::shared_ptr<Model> make_model(nb::handle source, const nb::dict& f32, const nb::dict& s8,
                                         int64_t threads, const std::string& isa) {
  const Config config = read_config(source);
  const std::map<std::string, WeightView> views = read_weights(f32, s8);
  nb::gil_scoped_release release;
  return std::make_shared<Model>(config, views, threads, isa);
}

static Result<float> step(Model& model, const std::vector<StatePtr>& states,
                          const std::vector<int64_t>& ids) {
  std::vector<DecoderState*> pointers;
  for (const StatePtr& state : states) pointers.push_back(state.get());
  NewArray<float> logits({states.size(), static_cast<size_t>(model.config.vocab_size)});
  {
    nb::gil_scoped_release release;
    decode_step(model, pointers, ids, logits.data.get());
  }
  return logits.release();
}

static Result<float> attention(const DecoderState& state) {
  require(state.is_recording, "this decoder state was not started with record_attention");
  std::lock_guard<std::mutex> lock(state.model->mutex);
  const size_t rows = static_cast<size_t>(state.length);
  const size_t tokens = static_cast<size_t>(state.num_memory_tokens);
  NewArray<float> array({rows, tokens});
  std::memcpy(array.data.get(), state.record.data(), rows * tokens * sizeof(float));
  return array.release();
}

// The arrays of a segment, for saving: keys [P, blocks, D, kBlock], values [P, S, D], carried [C, D].
static nb::tuple arrays(const Segment& segment) {
  const size_t planes = segment.planes.size(), d = static_cast<size_t>(segment.d_model);
  const size_t length = static_cast<size_t>(segment.length);
  const size_t blocks = (length + kBlock - 1) / kBlock;
  NewArray<float> keys({planes, blocks, d, size_t{kBlock}});
  NewArray<float> values({planes, length, d});
  NewArray<float> carried({static_cast<size_t>(segment.carried.size()) / d, d});
  for (size_t i = 0; i < planes; ++i) {
    const KeyValues& plane = segment.planes[i];
    std::copy_n(plane.keys.data(), plane.keys.size(), keys.data.get() + i * plane.keys.size());
    std::copy_n(plane.values.data(), plane.values.size(),
                values.data.get() + i * plane.values.size());
  }
  std::copy_n(segment.carried.data(), segment.carried.size(), carried.data.get());
  return nb::make_tuple(keys.release(), values.release(), carried.release());
}

// The inverse of arrays(); that the shapes fit a model is checked when it gets the segment.
static std::shared_ptr<Segment> make_segment(const Input<float, nb::ndim<4>>& keys,
                                             const Input<float, nb::ndim<3>>& values,
                                             const Matrix& carried, int64_t start,
                                             bool is_document) {
  const size_t planes = values.shape(0), length = values.shape(1), d = values.shape(2);
  require(planes > 0 && length > 0 && d > 0 && start >= 0, "an encoded segment cannot be empty");
  require(keys.shape(0) == planes && keys.shape(1) == (length + kBlock - 1) / kBlock &&
              keys.shape(2) == d && keys.shape(3) == kBlock && carried.shape(1) == d,
          "the arrays of an encoded segment do not fit each other");
  auto segment = std::make_shared<Segment>();
  segment->length = static_cast<int64_t>(length);
  segment->start = start;
  segment->is_document = is_document;
  segment->d_model = static_cast<int64_t>(d);
  for (size_t i = 0; i < planes; ++i) {
    KeyValues plane(segment->length, segment->d_model);
    std::copy_n(keys.data() + i * plane.keys.size(), plane.keys.size(), plane.keys.data());
    std::copy_n(values.data() + i * plane.values.size(), plane.values.size(), plane.values.data());
    segment->planes.push_back(std::move(plane));
  }
  segment->carried = Buffer<float>(static_cast<int64_t>(carried.size()));
  std::copy_n(carried.data(), carried.size(), segment->carried.data());
  return segment;
}

}  // namespace duologue

NB_MODULE(_native, module) {
  using namespace duologue;
  using namespace nb::literals;
  module.doc() = "The arithmetic of inference: see csrc/core.h.";
  module.def("isa_names", &isa_names,
             "Names of the instruction sets that this build and this processor support.");
  module.def(
      "default_isa", [] { return std::string(select_kernels("").name); },
      "The instruction set in use: DUOLOGUE_ISA, or the fastest. ValueError for an unknown name.");

  nb::class_<Segment>(module, "Segment", "One encoded turn; never changes.")
      .def(nb::new_(&make_segment), "keys"_a.noconvert(), "values"_a.noconvert(),
           "carried"_a.noconvert(), "start"_a, "is_document"_a)
      .def("arrays", &arrays, "(keys, values, carried): what the constructor takes.")
      .def_ro("length", &Segment::length)
      .def_ro("start", &Segment::start)
      .def_ro("is_document", &Segment::is_document)
      .def_prop_ro("num_bytes", &Segment::num_bytes);

  nb::class_<DecoderState>(module, "DecoderState", "What one decoding row carries.")
      .def("fork", &DecoderState::fork, nb::call_guard<nb::gil_scoped_release>())
      .def("attention", &attention,
           "[length, S] float32: cross-attention weights, mean over heads and layers.")
      .def_ro("length", &DecoderState::length)
      .def_ro("record_attention", &DecoderState::is_recording);

  nb::class_<Model>(module, "Model", "Packed weights, threads and scratch memory.")
      .def(nb::new_(&make_model), "config"_a, "f32"_a, "s8"_a, "threads"_a, "isa"_a = "")
      .def(
          "encode",
          [](Model& model, const std::vector<std::shared_ptr<Segment>>& memory,
             const std::vector<int64_t>& ids, bool is_document) {
            nb::gil_scoped_release release;
            const std::vector<SegmentPtr> segments(memory.begin(), memory.end());
            return std::const_pointer_cast<Segment>(encode(model, segments, ids, is_document));
          },
          "memory"_a, "ids"_a, "is_document"_a)
      .def(
          "start",
          [](std::shared_ptr<Model> model, const std::vector<std::shared_ptr<Segment>>& memory,
             bool record_attention) {
            const std::vector<SegmentPtr> segments(memory.begin(), memory.end());
            return std::make_shared<DecoderState>(std::move(model), segments, record_attention);
          },
          "memory"_a, "record_attention"_a)
      .def("decode_step", &step, "states"_a, "ids"_a,
           "logits [B, V] float32 after one token for each state.")
      .def_prop_ro("isa", [](const Model& model) { return std::string(model.runtime.kernels.name); })
      .def_prop_ro("threads", [](const Model& model) { return model.runtime.pool.num_threads(); });

  bind_kernels(module);
}
