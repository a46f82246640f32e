// What HunyuanVideo costs: pure arithmetic on its two configurations.
//
// D width, S tokens (video and text), r the LoRA's rank.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/generator/cost.h"
#include "models/hunyuan_video/autoencoder_config.h"
#include "models/hunyuan_video/transformer_config.h"

namespace magicid::models::hunyuan_video {

// Activations are read off transformer_blocks.cpp and generator/recompute.cpp. The text encoders are those that HunyuanVideo was published with.
class HunyuanVideoCost final : public generator::BackboneCost {
 public:
  // The defaults are the published sizes. Throws UserError for an autoencoder whose compression the tiles of frames do not fit.
  explicit HunyuanVideoCost(const TransformerConfig& transformer = {}, const AutoencoderConfig& autoencoder = {});

  generator::Adaptable adaptable() const override;
  std::int64_t blocks() const override;
  std::int64_t heads() const override;
  generator::VideoSize steps_of_size() const override;

  generator::TokenCounts tokens_of(const generator::VideoSize& size, std::int64_t text) const override;
  generator::TokenCounts tokens_of(const at::Tensor& latents, const generator::Condition& prompt) const override;

  std::int64_t parameters() const override;
  std::int64_t adapter_parameters(const generator::AdapterSize& adapter) const override;
  std::int64_t adapted_modules(const generator::AdapterSize& adapter) const override;

  generator::Flops forward_flops(const generator::Share& share, const generator::AdapterSize* adapter) const override;
  generator::Flops backward_flops(const generator::Share& share, const generator::AdapterSize& adapter, bool executed) const override;
  generator::Flops recomputed_flops(const generator::Share& share, const generator::AdapterSize& adapter,
                                    const generator::RecomputePlan& recompute) const override;

  // Without a fused rotation LibTorch's operations hold temporaries in fp32 that are reckoned from the code and not measured.
  generator::ActivationBytes training_bytes(const generator::Share& share, const generator::AdapterSize& adapter, const generator::RecomputePlan& recompute,
                                            const generator::Arithmetic& arithmetic) const override;
  double forward_bytes(const generator::Share& share, const generator::Arithmetic& arithmetic) const override;

  double exchange_bytes(const generator::TokenCounts& whole, int sequence, int rank, std::int64_t element) const override;
  double training_exchange_bytes(const generator::TokenCounts& whole, int sequence, int rank, const generator::RecomputePlan& recompute,
                                 std::int64_t element) const override;

  // In tiles of frames as AutoencoderOptions' defaults make them, no spatial tiles. The peak: three activations of a level (autoencoder_blocks.h).
  generator::CodecCost encode_cost(const generator::VideoSize& size, std::int64_t element) const override;
  generator::CodecCost decode_cost(const generator::VideoSize& size, std::int64_t element) const override;
  std::int64_t codec_parameters() const override;

  double prompt_flops(std::int64_t text) const override;
  double text_encoder_parameters() const override;

 private:
  // With the default's targets where none are listed.
  generator::AdapterSize with_targets(const generator::AdapterSize& adapter) const;

  TransformerConfig config_;
  AutoencoderConfig autoencoder_;
  std::vector<std::string> default_targets_;
};

generator::EncoderSize llama3_8b_30_layers();  // transformers' LlamaConfig of HunyuanVideo's text_encoder; the last two layers are not computed
generator::EncoderSize clip_l_text();          // openai/clip-vit-large-patch14, text_config

// Of a pipeline's folder: reads transformer/config.json and vae/config.json. Throws UserError when one is missing or does not fit.
std::unique_ptr<const generator::BackboneCost> cost_of_folder(const std::filesystem::path& folder);

}  // namespace magicid::models::hunyuan_video
