// What the binding files share: array types, and how a result becomes a NumPy array.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "config.h"

namespace duologue {

namespace nb = nanobind;

template <class T, class... Shape>
using Input = nb::ndarray<const T, Shape..., nb::c_contig, nb::device::cpu>;
using Vector = Input<float, nb::ndim<1>>;
using Matrix = Input<float, nb::ndim<2>>;
using Matrix8 = Input<int8_t, nb::ndim<2>>;
template <class T>
using Result = nb::ndarray<nb::numpy, T>;

// A new array, filled by the caller before Python sees it.
template <class T>
struct NewArray {
  explicit NewArray(std::vector<size_t> sizes) : shape(std::move(sizes)) {
    size_t count = 1;
    for (const size_t size : shape) count *= size;
    data.reset(new T[count > 0 ? count : 1]);
  }
  Result<T> release() {
    T* values = data.release();
    nb::capsule owner(values, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return Result<T>(values, shape.size(), shape.data(), owner);
  }
  std::vector<size_t> shape;
  std::unique_ptr<T[]> data;
};

inline void require(bool condition, const char* problem) {
  if (!condition) throw std::invalid_argument(problem);
}

// `source` is any object with the attributes of ModelConfig. Throws std::invalid_argument for a word
// that is none of its.
Config read_config(nb::handle source);

// Adds the submodule `kernels`, through which the tests reach each kernel of each instruction set.
void bind_kernels(nb::module_& module);

}  // namespace duologue
