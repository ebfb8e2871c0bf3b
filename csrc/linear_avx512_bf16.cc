// The kernels for AVX-512 with VNNI and the dot product of bf16 pairs.
#include "linear_vnni.h"

namespace duologue {
namespace DUOLOGUE_ISA {

const Kernels kernels = make_kernels("avx512_bf16", kPanelF32, kPanelS8, kPanelS4, kWeightOffset);

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
