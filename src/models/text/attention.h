// Attention of the text encoders.
// S: tokens, H: heads, K: head size.
#pragma once

#include <ATen/core/Tensor.h>

namespace magicid::models::text {

// Causal softmax(q k^T / sqrt(K)) v. q [B,H,S,K]; k, v [B,G,S,K] with H a multiple of G (grouped queries, arXiv:2305.13245) -> [B,S,H*K].
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace magicid::models::text
