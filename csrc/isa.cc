#include "isa.h"

#include <cstdlib>
#include <stdexcept>

#if defined(DUOLOGUE_X86)
#include <cpuid.h>
#elif defined(DUOLOGUE_ARM64) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace duologue {

#define DUOLOGUE_KERNELS(isa)   \
  namespace isa {               \
  extern const Kernels kernels; \
  }
DUOLOGUE_KERNELS(portable)
#if defined(DUOLOGUE_X86)
DUOLOGUE_KERNELS(avx2)
DUOLOGUE_KERNELS(avx512)
#if defined(DUOLOGUE_AVX_VNNI)
DUOLOGUE_KERNELS(avx_vnni)
#endif
#if defined(DUOLOGUE_AVX512_BF16)
DUOLOGUE_KERNELS(avx512_bf16)
#endif
#elif defined(DUOLOGUE_ARM64)
DUOLOGUE_KERNELS(neon_dot)
#endif
#undef DUOLOGUE_KERNELS

#if defined(DUOLOGUE_X86)
// A bit of EAX in leaf 7, part 1: 4 is AVX-VNNI, 5 AVX512-BF16. Older compilers have no names for them.
[[maybe_unused]] static bool has_leaf_7_1(unsigned bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> bit & 1u) != 0;
}

static void add_x86(std::vector<const Kernels*>& found) {
  // These ask the operating system too: it must save the wide registers.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
  found.push_back(&avx2::kernels);
#if defined(DUOLOGUE_AVX_VNNI)
  if (has_leaf_7_1(4)) found.push_back(&avx_vnni::kernels);
#endif
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512vnni")) {
    return;
  }
  found.push_back(&avx512::kernels);
#if defined(DUOLOGUE_AVX512_BF16)
  if (has_leaf_7_1(5)) found.push_back(&avx512_bf16::kernels);
#endif
}
#endif

#if defined(DUOLOGUE_ARM64)
static bool has_dot_product() {
#if defined(__linux__)
  constexpr unsigned long kAsimdDp = 1ul << 20;
  return (getauxval(AT_HWCAP) & kAsimdDp) != 0;
#else
  return true;  // every Mac with this processor has it
#endif
}
#endif

static std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> found = {&portable::kernels};
#if defined(DUOLOGUE_X86)
  add_x86(found);
#elif defined(DUOLOGUE_ARM64)
  if (has_dot_product()) found.push_back(&neon_dot::kernels);
#endif
  return found;
}

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const Kernels* kernels : supported_kernels()) names.emplace_back(kernels->name);
  return names;
}

const Kernels& select_kernels(const std::string& name) {
  const std::vector<const Kernels*> supported = supported_kernels();
  std::string wanted = name;
  if (wanted.empty()) {
    const char* override_name = std::getenv("DUOLOGUE_ISA");
    if (override_name == nullptr || *override_name == '\0') return *supported.back();
    wanted = override_name;
  }
  std::string valid;
  for (const Kernels* kernels : supported) {
    if (wanted == kernels->name) return *kernels;
    valid += (valid.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw std::invalid_argument("instruction set (DUOLOGUE_ISA) '" + wanted +
                              "' is not one of those that this processor supports: " + valid);
}

}  // namespace duologue
