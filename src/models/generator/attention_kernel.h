// Softmax attention whose forward can be run once and kept: what recomputation (recompute.h) needs of it.
//
// B samples, S tokens, H heads, K numbers a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace magicid::models::generator {

// The record of one attention. `capture` fills it during a forward without graph; `replay` gives the same output again without computing
// it, with a graph whose backward uses what was kept.
struct AttentionTape {
  enum class Mode { capture, replay };
  Mode mode = Mode::capture;
  std::int64_t backend = 0;      // at::SDPBackend that made `kept`
  std::vector<at::Tensor> kept;  // output [B,H,S,K], log-sum-exp [B,H,S], and the backend's own; empty: this kernel gives none, replay computes again
};

// softmax(q k^T / sqrt(K)) v without a mask, [B,S,H,K], from q, k, v of that shape and any strides with contiguous K. Without a tape it is
// LibTorch's scaled_dot_product_attention. All three ways give the same bits, forward and backward. No heads give no numbers, still joined to
// q in the graph. Throws InvariantError for a capture while grad mode is on.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, AttentionTape* tape = nullptr);

}  // namespace magicid::models::generator
