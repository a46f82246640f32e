#include "models/hunyuan_video/codec.h"

#include <ATen/TensorOperators.h>

#include "models/hunyuan_video/backbone.h"

namespace magicid::models::hunyuan_video {

at::Tensor AutoencoderCodec::encode(const at::Tensor& frames) const {
  const at::Tensor sample = frames.to(at::kFloat).mul(2).sub_(1).transpose(0, 1).unsqueeze(0);
  return autoencoder_.encode(sample, options_).mean.to(at::kFloat) * autoencoder_.config().scaling_factor;
}

at::Tensor AutoencoderCodec::decode(const at::Tensor& latents) const {
  // Scaled in fp32: the autoencoder casts to its own dtype.
  // With a graph the activations of one block live at a time: a video's would not fit.
  const at::Tensor sample = autoencoder_.decode(latents.to(at::kFloat) / autoencoder_.config().scaling_factor, options_, DecodeRecompute::blocks);
  return (sample[0].to(at::kFloat) * 0.5 + 0.5).clamp(0, 1).transpose(0, 1).contiguous();
}

std::unique_ptr<generator::Codec> load_codec(const std::filesystem::path& folder, const nn::Placement& placement) {
  return std::make_unique<AutoencoderCodec>(Autoencoder::load(folder, placement));
}

}  // namespace magicid::models::hunyuan_video
