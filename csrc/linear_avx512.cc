// The kernels for AVX-512 with VNNI.
#include "linear_vnni.h"

namespace duologue {
namespace DUOLOGUE_ISA {

const Kernels kernels = make_kernels("avx512", kPanelF32, kPanelS8, kPanelS4, kWeightOffset);

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
