// The Python module duologue._native: checks of shapes and types, and release of the GIL. Nothing is
// computed here.
//
// No array argument is converted: an array of another type, order or device is a TypeError, because
// a silent copy would hide a mistake. std::invalid_argument becomes ValueError.
#include "bindings.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "isa.h"
#include "model.h"

namespace duologue {

using StatePtr = std::shared_ptr<DecoderState>;

template <class Array>
static std::vector<int64_t> shape_of(const Array& array) {
  std::vector<int64_t> shape;
  for (size_t axis = 0; axis < array.ndim(); ++axis) {
    shape.push_back(static_cast<int64_t>(array.shape(axis)));
  }
  return shape;
}

// One weight: a float32 array, a uint16 array (bf16), a pair (int8 [out, in], float32 [out]), or a triple
// (uint8 [out, ceil(in/2)], float32 [out, ceil(in/32)], in). False if it is none of these.
static bool read_weight(nb::handle value, WeightView& view) {
  Input<float> f32;
  Input<uint16_t> bf16;
  if (nb::try_cast(value, f32, /*convert=*/false)) {
    view.f32 = f32.data();
    view.shape = shape_of(f32);
    return true;
  }
  if (nb::try_cast(value, bf16, false)) {
    view.bf16 = bf16.data();
    view.shape = shape_of(bf16);
    return true;
  }
  nb::tuple parts;
  if (!nb::try_cast(value, parts, false)) return false;
  if (Matrix8 bytes; nb::len(parts) == 2 && nb::try_cast(parts[0], bytes, false)) {
    Vector scale;
    if (!nb::try_cast(parts[1], scale, false) || scale.shape(0) != bytes.shape(0)) return false;
    view.s8 = bytes.data();
    view.scale = scale.data();
    view.shape = shape_of(bytes);
    return true;
  }
  Input<uint8_t, nb::ndim<2>> nibbles;
  Matrix scale;
  size_t in = 0;
  if (nb::len(parts) != 3 || !nb::try_cast(parts[0], nibbles, false) ||
      !nb::try_cast(parts[1], scale, false) || !nb::try_cast(parts[2], in, false)) {
    return false;
  }
  const size_t group = static_cast<size_t>(kGroup);
  if (nibbles.shape(1) != (in + 1) / 2 || scale.shape(0) != nibbles.shape(0) ||
      scale.shape(1) != (in + group - 1) / group) {
    return false;
  }
  view.s4 = nibbles.data();
  view.scale = scale.data();
  view.shape = {static_cast<int64_t>(nibbles.shape(0)), static_cast<int64_t>(in)};
  return true;
}

// The weights of a mapping; what is asked for is held until something else is. Calls come without the GIL.
class MappedWeights {
 public:
  explicit MappedWeights(nb::object mapping) : mapping_(std::move(mapping)) {}

  WeightSource source() {
    WeightSource source;
    for (nb::handle key : mapping_) source.names.insert(nb::cast<std::string>(key));
    source.fetch = [this](const std::string& name) { return fetch(name); };
    return source;
  }

 private:
  WeightView fetch(const std::string& name) {
    nb::gil_scoped_acquire acquire;
    current_ = nb::object();  // before the next one is made
    current_ = mapping_[name.c_str()];
    WeightView view;
    if (!read_weight(current_, view)) {
      throw std::invalid_argument(
          name + " must be C-contiguous: a float32 array, a uint16 array (bf16), (int8 [out, in], "
                 "float32 [out]), or (uint8 [out, in/2], float32 [out, in/32], in)");
    }
    return view;
  }

  nb::object mapping_, current_;
};

static std::shared_ptr<Model> make_model(nb::handle config_source, nb::object weights,
                                         int64_t threads, const std::string& isa,
                                         const std::string& store, int64_t cache_bytes,
                                         bool is_two_stage) {
  const Config config = read_config(config_source);
  require(store == "auto" || store == "f32" || store == "bf16", "store must be auto, f32 or bf16");
  MappedWeights mapped(std::move(weights));
  const WeightSource source = mapped.source();
  RunOptions options = {threads, isa, std::nullopt, cache_bytes, is_two_stage};
  if (store != "auto") options.store = store == "f32" ? Store::kF32 : Store::kBf16;
  nb::gil_scoped_release release;
  return std::make_shared<Model>(config, source, options);
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

// (best [B] int64, log_norm [B] float32) of logits [B, V], which are changed.
static nb::tuple score(Model& model, const nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& logits,
                       const std::vector<int64_t>& suppressed) {
  require(static_cast<int64_t>(logits.shape(1)) == model.config.vocab_size,
          "logits must have one column for each id");
  const size_t rows = logits.shape(0);
  std::vector<RowScore> scores(rows);
  {
    nb::gil_scoped_release release;
    score_rows(model, logits.data(), static_cast<int64_t>(rows), suppressed, scores.data());
  }
  NewArray<int64_t> best({rows});
  NewArray<float> log_norm({rows});
  for (size_t row = 0; row < rows; ++row) {
    best.data[row] = scores[row].best;
    log_norm.data[row] = scores[row].log_norm;
  }
  return nb::make_tuple(best.release(), log_norm.release());
}

// What a state recorded: [length, S], or [length, heads, S] of single heads.
static Result<float> recorded(const DecoderState& state, bool is_by_head) {
  require(state.is_recording && is_by_head != state.recorded_heads.empty(),
          "this decoder state was not started to record that");
  std::lock_guard<std::mutex> lock(state.model->mutex);
  std::vector<size_t> shape = {static_cast<size_t>(state.length)};
  if (is_by_head) shape.push_back(state.recorded_heads.size());
  shape.push_back(static_cast<size_t>(state.num_memory_tokens));
  NewArray<float> array(shape);
  std::copy(state.record.begin(), state.record.end(), array.data.get());
  return array.release();
}

// The arrays of a segment, for saving: pages [P, blocks, page bytes] u8, carried [C, D].
static nb::tuple arrays(const Segment& segment) {
  const size_t blocks = static_cast<size_t>(segment.num_blocks());
  const size_t bytes = static_cast<size_t>(page_bytes(segment.store, segment.width));
  NewArray<uint8_t> pages({static_cast<size_t>(segment.num_planes()), blocks, bytes});
  for (int64_t i = 0; i < segment.pages.count(); ++i) {
    std::memcpy(pages.data.get() + static_cast<size_t>(i) * bytes, segment.pages[i], bytes);
  }
  const size_t d = static_cast<size_t>(segment.width);  // only a gru carries states, as wide as its keys
  NewArray<float> carried({segment.carried.size() / d, d});
  std::copy(segment.carried.begin(), segment.carried.end(), carried.data.get());
  return nb::make_tuple(pages.release(), carried.release());
}

// Whether a saved page holds numbers alone: an exponent of ones is an infinity or none at all.
static bool is_finite(Store store, const uint8_t* bytes, size_t size) {
  for (size_t i = 0; i < size; i += 4) {
    uint32_t word;
    std::memcpy(&word, bytes + i, 4);
    if ((word & 0x7F800000u) == 0x7F800000u) return false;
    if (store == Store::kBf16 && (word & 0x7F80u) == 0x7F80u) return false;
  }
  return true;
}

// The inverse of arrays(), in pages of the model's pool.
static std::shared_ptr<Segment> restore(const Model& model,
                                        const Input<uint8_t, nb::ndim<3>>& pages,
                                        const Matrix& carried, int64_t length, int64_t start,
                                        bool is_document) {
  require(0 < length && length <= model.config.max_positions,
          "an encoded segment has at least one token and at most max_positions");
  // A trimmed memory goes on counting, but not to where positions would overflow.
  require(0 <= start && start <= int64_t{1} << 40, "an encoded segment starts at no possible position");
  auto segment = std::make_shared<Segment>();
  segment->length = length;
  segment->start = start;
  segment->is_document = is_document;
  segment->width = model.config.key_width();
  segment->store = model.store;
  const int64_t planes = model.num_planes(is_document), bytes = model.pool->page_bytes();
  require(static_cast<int64_t>(pages.shape(0)) == planes &&
              static_cast<int64_t>(pages.shape(1)) == segment->num_blocks() &&
              static_cast<int64_t>(pages.shape(2)) == bytes &&
              static_cast<int64_t>(carried.shape(1)) == segment->width,
          "the arrays of an encoded segment do not fit this model");
  require(is_finite(model.store, pages.data(), pages.size()) &&
              is_finite(Store::kF32, reinterpret_cast<const uint8_t*>(carried.data()),
                        carried.size() * sizeof(float)),
          "an encoded segment holds values that are no numbers");
  segment->carried.assign(carried.data(), carried.data() + carried.size());
  segment->pages = Pages(model.pool, planes * segment->num_blocks());
  for (int64_t i = 0; i < segment->pages.count(); ++i) {
    std::memcpy(segment->pages[i], pages.data() + i * bytes, static_cast<size_t>(bytes));
  }
  model.check(segment);
  return segment;
}

static std::vector<SegmentPtr> as_memory(const std::vector<std::shared_ptr<Segment>>& memory) {
  return {memory.begin(), memory.end()};
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

  nb::exception<CacheFullError>(module, "CacheFullError", PyExc_MemoryError);

  nb::class_<Segment>(module, "Segment", "One encoded turn; never changes.")
      .def("arrays", &arrays, "(pages, carried): what Model.restore takes.")
      .def_ro("length", &Segment::length)
      .def_ro("start", &Segment::start)
      .def_ro("is_document", &Segment::is_document)
      .def_prop_ro("num_bytes", &Segment::num_bytes);

  nb::class_<PagePool>(module, "PagePool", "Where keys and values live.")
      .def("check", &PagePool::check, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("page_bytes", &PagePool::page_bytes)
      .def_prop_ro("limit_bytes", &PagePool::limit_bytes)
      .def_prop_ro("used_bytes", &PagePool::used_bytes);

  nb::class_<Encoding>(module, "Encoding", "One turn on its way into a memory.")
      .def("advance", &Encoding::advance, nb::call_guard<nb::gil_scoped_release>())
      .def("segment", [](const Encoding& encoding) {
        return std::const_pointer_cast<Segment>(encoding.segment());
      })
      .def(
          "states",
          [](const Encoding& encoding) {
            const size_t rows = static_cast<size_t>(encoding.segment()->length);
            const std::vector<float> states = encoding.states();
            NewArray<float> array({rows, states.size() / rows});
            std::copy(states.begin(), states.end(), array.data.get());
            return array.release();
          },
          "[n, D] float32: what the encoder made of its tokens.");

  nb::class_<DecoderState>(module, "DecoderState", "What one decoding row carries.")
      .def("fork", &DecoderState::fork, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "attention", [](const DecoderState& state) { return recorded(state, false); },
          "[length, S] float32: cross-attention weights, mean over heads and layers.")
      .def(
          "head_attention", [](const DecoderState& state) { return recorded(state, true); },
          "[length, heads, S] float32: cross-attention weights of the recorded heads.")
      .def_ro("length", &DecoderState::length)
      .def_ro("record_attention", &DecoderState::is_recording);

  nb::class_<Model>(module, "Model", "Packed weights, threads and scratch memory.")
      .def(nb::new_(&make_model), "config"_a, "weights"_a, "threads"_a, "isa"_a = "",
           "store"_a = "auto", "cache_bytes"_a = RunOptions().cache_bytes, "is_two_stage"_a = false)
      .def(
          "begin_encode",
          [](std::shared_ptr<Model> model, const std::vector<std::shared_ptr<Segment>>& memory,
             std::vector<int64_t> ids, bool is_document) {
            return std::make_shared<Encoding>(std::move(model), as_memory(memory), std::move(ids),
                                              is_document);
          },
          "memory"_a, "ids"_a, "is_document"_a)
      .def(
          "begin_encode_frames",
          [](std::shared_ptr<Model> model, const Matrix& frames) {
            require(model->config.mel_bins == 0 ||
                        static_cast<int64_t>(frames.shape(1)) == model->config.mel_bins,
                    "frames must have mel_bins columns");
            return std::make_shared<Encoding>(
                std::move(model), std::vector<float>(frames.data(), frames.data() + frames.size()));
          },
          "frames"_a.noconvert())
      .def("restore", &restore, "pages"_a.noconvert(), "carried"_a.noconvert(), "length"_a,
           "start"_a, "is_document"_a)
      .def(
          "start",
          [](std::shared_ptr<Model> model, const std::vector<std::shared_ptr<Segment>>& memory,
             bool record_attention, std::vector<Head> recorded_heads) {
            const bool is_recording = record_attention || !recorded_heads.empty();
            return std::make_shared<DecoderState>(std::move(model), as_memory(memory), is_recording,
                                                  std::move(recorded_heads));
          },
          "memory"_a, "record_attention"_a, "recorded_heads"_a = std::vector<Head>())
      .def("score", &score, "logits"_a.noconvert(), "suppressed"_a,
           "(best [B] int64, log_norm [B] float32); suppressed ids of logits [B, V] become -inf.")
      .def_ro("pool", &Model::pool)
      .def_prop_ro("weight_bytes", [](const Model& model) { return model.weights.arena->num_bytes(); })
      .def("decode_step", &step, "states"_a, "ids"_a,
           "logits [B, V] float32 after one token for each state.")
      .def_prop_ro("isa", [](const Model& model) { return std::string(model.runtime.kernels.name); })
      .def_prop_ro("threads", [](const Model& model) { return model.runtime.pool.num_threads(); });

  bind_kernels(module);
}
