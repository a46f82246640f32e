// HunyuanVideo's diffusion transformer (arXiv:2412.03603): the same function as diffusers' HunyuanVideoTransformer3DModel.
//
// B samples, C latent channels, T latent frames, H and W latent rows and columns, L text rows, D width, S video tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <vector>

#include "models/generator/denoiser.h"
#include "models/generator/joint_attention.h"
#include "models/generator/recompute.h"
#include "models/hunyuan_video/transformer_blocks.h"
#include "models/hunyuan_video/transformer_config.h"
#include "models/hunyuan_video/transformer_embeddings.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "models/nn/linear.h"
#include "models/nn/weights.h"

namespace magicid::models::hunyuan_video {

// The reference's forward arguments. Floating tensors of any dtype are cast to the weights' dtype; all lie on the weights' device.
struct TransformerInputs {
  at::Tensor hidden_states;           // [B,C,T,H,W] latents
  at::Tensor timestep;                // [B], 1000 * sigma; floating or integer
  at::Tensor encoder_hidden_states;   // [B,L,text_embed_dim]
  at::Tensor encoder_attention_mask;  // [B,L] of 0 and 1 (bool, integer or floating), ones first; undefined: every row is text
  at::Tensor pooled_projections;      // [B,pooled_projection_dim]
  at::Tensor guidance;                // [B], 1000 * scale; needed when the configuration has guidance_embeds, else not read
};

class Transformer final : public generator::Denoiser {
 public:
  // `folder` holds config.json and the weights in diffusers' or Tencent's layout, told apart by the names. Throws UserError that lists all
  // missing and surplus tensors and wrong shapes.
  static Transformer load(const std::filesystem::path& folder, const nn::Placement& placement);
  static Transformer load(const TransformerConfig& config, const nn::Weights& weights);

  const TransformerConfig& config() const { return config_; }
  const nn::Placement& placement() const override { return placement_; }
  generator::Adaptable adaptable() const override { return hunyuan_video::adaptable(config_); }
  std::int64_t blocks() const override { return config_.num_layers + config_.num_single_layers; }

  // The condition's prompt_embeds, prompt_attention_mask and pooled_prompt_embeds are the reference's encoder_hidden_states, encoder_attention_mask and
  // pooled_projections; without a mask every row is text.
  at::Tensor velocity_tokens(const generator::DenoiserInputs& inputs, const generator::Adapter* adapter, const generator::TokenWork& work) const override;

  // The predicted velocity [B,out_channels,T,H,W] in the weights' dtype. `attention` must hold whole sequences (InvariantError otherwise).
  // Padded text rows are dropped up front, so attention needs no mask; samples with equal text lengths are computed together.
  // Differentiable in the adapter's parameters and the floating inputs when grad mode is on; with grad mode off buffers are reused.
  // Throws UserError for shapes that do not fit the configuration or each other, T, H or W that are not multiples of the patch, and masks
  // that are empty or not a prefix. Collective where `attention` is.
  at::Tensor forward(const TransformerInputs& inputs, const generator::Adapter* adapter = nullptr,
                     generator::JointAttention& attention = generator::local_joint_attention()) const;

  // The same before unpatchify: [B,S',patch numbers] for the tokens of attention.video_range(S); to compare with patchify(target). With a graph,
  // the blocks' activations are kept or computed again as `recompute` says (gradients of the adapter and the floating inputs alone); this, the adapter and
  // `attention` must then stay until backward.
  at::Tensor forward_tokens(const TransformerInputs& inputs, const generator::Adapter* adapter = nullptr,
                            generator::JointAttention& attention = generator::local_joint_attention(), const generator::RecomputePlan& recompute = {}) const;

  // [B,C,T,H,W] <-> [B,S,C*pt*p*p]; tokens in the order (frame, row, column), numbers in the order (channel, frame, row, column).
  at::Tensor patchify(const at::Tensor& latents) const override;
  at::Tensor unpatchify(const at::Tensor& tokens, std::int64_t frames, std::int64_t rows, std::int64_t columns) const override;

 private:
  Transformer() = default;
  void check(const TransformerInputs& inputs) const;
  // Samples of one text length, already cast and cropped.
  at::Tensor forward_group(const TransformerInputs& inputs, const generator::Adapter* adapter, generator::JointAttention& attention,
                           const generator::RecomputePlan& recompute) const;

  TransformerConfig config_;
  nn::Placement placement_;
  nn::Linear image_in_, final_modulation_, final_linear_;
  ConditionEmbedder condition_;
  TextRefiner refiner_;
  std::vector<DoubleBlock> double_blocks_;
  std::vector<SingleBlock> single_blocks_;
};

}  // namespace magicid::models::hunyuan_video
