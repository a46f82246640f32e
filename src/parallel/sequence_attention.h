// Attention over a sequence that several ranks share (Ulysses: Jacobs et al. 2023, arXiv:2309.14509). Outside of attention a rank holds
// a slice of the video tokens and one of the text tokens with all heads; inside, all tokens with a slice of the heads. One exchange of
// queries, keys and values together leads in, one of the outputs leads out.
//
// Gradients: the backward of an exchange is the opposite exchange, its exact adjoint. A rank back-propagates its own partial loss alone (the sum over its
// tokens, divided by the number of all), and then every parameter's gradient, without exception, is a partial sum: sum them over the group.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "models/generator/joint_attention.h"

namespace magicid::parallel {

class SequenceAttention : public models::generator::JointAttention {
 public:
  // `group` shares the sequence; it must outlive this object and every graph made with it. Not collective.
  explicit SequenceAttention(comm::Communicator& group);

  // Any number of tokens and heads, fewer than ranks too. Collective over the group, in forward and (when grad mode is on) in backward: all ranks call
  // with the same batch, heads, head size, dtype and token counts. Host or device tensors as the group takes them.
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const models::generator::TokenCounts& whole,
                    models::generator::AttentionTape* tape) override;
  models::generator::TokenRange video_range(std::int64_t total) const override;
  models::generator::TokenRange text_range(std::int64_t total) const override;

  // All video tokens [B,S,N] from every rank's slice [B,S',N], without autograd. Collective over the group.
  at::Tensor gather_video(const at::Tensor& tokens) const;

 private:
  comm::Communicator* group_;
};

// The two exchanges, each the other's adjoint; differentiable when grad mode is on. n tensors (n = 1 or 3) are packed into one message to each rank.
// tokens[i] tells how many tokens of the sequence rank i holds (video and text together); heads are sliced by models::generator::slice_of.
struct HeadExchange {
  comm::Communicator* group = nullptr;
  std::int64_t heads = 0;            // H, of all ranks
  std::vector<std::int64_t> tokens;  // of each rank

  // n x [B,S',H,K] -> [S,B,n,H',K]: all ranks' tokens, in the order of ranks, with this rank's heads. Collective.
  at::Tensor to_heads(const std::vector<at::Tensor>& parts) const;
  // [S,B,n,H',K] -> n x [B,S',H,K]. Collective.
  std::vector<at::Tensor> to_tokens(const at::Tensor& packed) const;
};

}  // namespace magicid::parallel
