// The kernels of the instruction set that this file is compiled for (DUOLOGUE_ISA names it): one
// declaration for each entry of Kernels, in a namespace of its own.
//
// Files that include this see raw pointers and sizes only and use no templates of the standard
// library: an inline function compiled here might otherwise replace the one of the whole module and
// bring instructions that the processor does not have.
#pragma once

#include "core.h"

namespace duologue {
namespace DUOLOGUE_ISA {

template <class Pointer>
struct FunctionOf;
template <class Function>
struct FunctionOf<Function*> {
  using type = Function;
};

// Every function of Kernels, in its order there.
#define DUOLOGUE_FUNCTIONS(X) \
  X(linear_f32) \
  X(linear_bf16) \
  X(linear_s8) \
  X(linear_s4) \
  X(to_pairs) \
  X(quantize) \
  X(rms_norm) \
  X(layer_norm) \
  X(softmax) \
  X(log_softmax) \
  X(score) \
  X(activate) \
  X(soft_cap) \
  X(rotate) \
  X(put_f32) \
  X(put_bf16) \
  X(attend_f32) \
  X(attend_bf16) \
  X(attend_additive_f32) \
  X(attend_additive_bf16) \
  X(gru_cell)

#define DUOLOGUE_DECLARE(name) FunctionOf<decltype(Kernels::name)>::type name;
DUOLOGUE_FUNCTIONS(DUOLOGUE_DECLARE)
#undef DUOLOGUE_DECLARE

// The table of all of them; linear_*.cc makes its own `kernels` with this.
#define DUOLOGUE_ENTRY(name) , name
static constexpr Kernels make_kernels(const char* name, int64_t panel_f32, int64_t panel_s8,
                                      int64_t panel_s4, uint8_t weight_offset) {
#if defined(__AVX512BF16__)
  constexpr bool kHasBf16Dot = true;
#else
  constexpr bool kHasBf16Dot = false;
#endif
  return {name,          panel_f32,  panel_s8, panel_s4,
          weight_offset, kHasBf16Dot DUOLOGUE_FUNCTIONS(DUOLOGUE_ENTRY)};
}
#undef DUOLOGUE_ENTRY

extern const Kernels kernels;

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
