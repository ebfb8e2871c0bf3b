// The kernels for Arm with the dot product of bytes.
#include "linear_vnni.h"

namespace duologue {
namespace DUOLOGUE_ISA {

const Kernels kernels = make_kernels("neon_dot", kPanelF32, kPanelS8, kPanelS4, kWeightOffset);

}  // namespace DUOLOGUE_ISA
}  // namespace duologue
