// HunyuanVideo's autoencoder as a codec: frames in 0..1, latents multiplied by its scaling_factor.
#pragma once

#include <utility>

#include "models/generator/codec.h"
#include "models/hunyuan_video/autoencoder.h"

namespace magicid::models::hunyuan_video {

class AutoencoderCodec final : public generator::Codec {
 public:
  explicit AutoencoderCodec(Autoencoder autoencoder, AutoencoderOptions options = {}) : autoencoder_(std::move(autoencoder)), options_(options) {}

  const nn::Placement& placement() const override { return autoencoder_.placement(); }
  at::Tensor encode(const at::Tensor& frames) const override;
  at::Tensor decode(const at::Tensor& latents) const override;

 private:
  Autoencoder autoencoder_;
  AutoencoderOptions options_;
};

}  // namespace magicid::models::hunyuan_video
