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

#define DUOLOGUE_DECLARE(name) FunctionOf<decltype(Kernels::name)>::type name;
DUOLOGUE_DECLARE(linear_f32)
DUOLOGUE_DECLARE(linear_s8)
DUOLOGUE_DECLARE(quantize)
DUOLOGUE_DECLARE(rms_norm)
DUOLOGUE_DECLARE(softmax)
DUOLOGUE_DECLARE(log_softmax)
DUOLOGUE_DECLARE(silu_mul)
DUOLOGUE_DECLARE(rotate)
DUOLOGUE_DECLARE(attend)
DUOLOGUE_DECLARE(attend_additive)
DUOLOGUE_DECLARE(gru_cell)
#undef DUOLOGUE_DECLARE

// The table of all of them; defined in linear_*.cc.
extern const Kernels kernels;

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
