#include "isa.h"

#include <cstdlib>
#include <stdexcept>

namespace duologue {

namespace portable {
extern const Kernels kernels;
}
#ifdef DUOLOGUE_X86
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx512_bf16 {
extern const Kernels kernels;
}
#endif

static std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> found = {&portable::kernels};
#ifdef DUOLOGUE_X86
  // These ask the operating system too: it must save the wide registers.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    found.push_back(&avx2::kernels);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni")) {
      found.push_back(&avx512::kernels);
      if (__builtin_cpu_supports("avx512bf16")) found.push_back(&avx512_bf16::kernels);
    }
  }
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
