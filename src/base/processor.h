// What the processor that runs this program can do in hardware. Not x86: nothing.
#pragma once

namespace magicid::base {

// Products of bfloat16 numbers in vector instructions (AVX512_BF16).
bool multiplies_bfloat16();
// Products of bfloat16 matrices in tiles (AMX_BF16).
bool has_bfloat16_tiles();

}  // namespace magicid::base
