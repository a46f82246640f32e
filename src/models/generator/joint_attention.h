// What the transformer asks of attention: the place where ranks can share a sequence.
//
// B samples, S tokens (video tokens first, then text), H heads, K numbers a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "models/generator/attention_kernel.h"
#include "models/generator/token_range.h"

namespace magicid::models::generator {

// An implementation that spreads a sequence over ranks (parallel/sequence_attention.h) overrides all three functions: the transformer then
// computes only the tokens of the two ranges, and attend() gets those and must return the attention outputs of the same tokens. The transformer
// calls attend() once for each block and group of samples, in the same order wherever the inputs' shapes and text lengths are the same; a
// backward with recomputation (recompute.h) calls it once more for each, in the opposite order, with grad mode on.
class JointAttention {
 public:
  virtual ~JointAttention() = default;

  // q, k, v [B,S,H,K] of one dtype, normalised and rotated, possibly strided views that the caller no longer needs; the first
  // video_range(whole.video).count tokens are video, the rest text (narrow() gives either without a copy). Returns softmax(q k^T / sqrt(K)) v,
  // [B,S,H,K], without a mask. Differentiable when grad mode is on. `tape` (may be null) goes to the attention that is truly computed.
  virtual at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const TokenCounts& whole, AttentionTape* tape) = 0;

  // The tokens that the caller of forward holds, out of `total`.
  virtual TokenRange video_range(std::int64_t total) const { return {0, total}; }
  virtual TokenRange text_range(std::int64_t total) const { return {0, total}; }
};

// All tokens in this process. Without state, so threads may share it.
class LocalJointAttention : public JointAttention {
 public:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const TokenCounts& whole, AttentionTape* tape) override;
};

JointAttention& local_joint_attention();

}  // namespace magicid::models::generator
