// Which instruction sets this processor has, and the kernels for them.
#pragma once

#include <string>
#include <vector>

#include "core.h"

namespace duologue {

// Names that this build and this processor support, slowest first: "portable"; on x86-64 "avx2",
// "avx_vnni", "avx512" (with VNNI), "avx512_bf16"; on 64-bit Arm "neon_dot".
std::vector<std::string> isa_names();

// The kernels called `name`; an empty name means the environment variable DUOLOGUE_ISA, or the
// fastest if it is not set. Throws std::invalid_argument, which lists the valid names.
const Kernels& select_kernels(const std::string& name);

}  // namespace duologue
