#include "base/processor.h"

namespace magicid::base {

#if defined(__x86_64__)
bool multiplies_bfloat16() { return __builtin_cpu_supports("avx512bf16") != 0; }
bool has_bfloat16_tiles() { return __builtin_cpu_supports("amx-bf16") != 0; }
#else
bool multiplies_bfloat16() { return false; }
bool has_bfloat16_tiles() { return false; }
#endif

}  // namespace magicid::base
