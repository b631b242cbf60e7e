#include <noisysgd/kernels/simd/simd_kernels.h>

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include <noisysgd/kernels/check.h>

namespace noisysgd::kernels::simd {

namespace {

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return "portable";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "unknown";
}

}  // namespace

bool supported(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return true;
#ifdef NSGD_X86_64
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && supported(Isa::avx2);
#endif
    default:
      return false;
  }
}

Isa choose_isa(const char* forced) {
  if (forced && *forced) {
    for (Isa isa : all_isas) {
      if (name(isa) != forced) continue;
      NSGD_CHECK(supported(isa), "NSGD_ISA={}: this processor or build does not have these instructions", forced);
      return isa;
    }
    throw Error(fmt::format("NSGD_ISA={}: unknown, expected portable, avx2 or avx512", forced));
  }
  if (supported(Isa::avx512)) return Isa::avx512;
  return supported(Isa::avx2) ? Isa::avx2 : Isa::portable;
}

const SimdKernels& simd_kernels(Isa isa) {
  NSGD_CHECK(supported(isa), "this processor or build has no {} instructions", name(isa));
#ifdef NSGD_X86_64
  if (isa == Isa::avx2) return avx2_kernels;
  if (isa == Isa::avx512) return avx512_kernels;
#endif
  return portable_kernels;
}

const SimdKernels& simd_kernels() {
  static const SimdKernels& chosen = simd_kernels(choose_isa(std::getenv("NSGD_ISA")));
  return chosen;
}

}  // namespace noisysgd::kernels::simd
