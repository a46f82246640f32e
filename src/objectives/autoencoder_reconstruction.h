// Training of a video autoencoder: absolute error of pixels and of their differences, weighted where it matters, and a divergence that keeps the
// latents in reach of noise.
// Sources: Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv:1312.6114); Rombach et al. (arXiv:2112.10752), appendix G, without its
// adversarial and perceptual terms.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "models/nn/parameters.h"
#include "storage/safetensors.h"
#include "training/objective.h"

namespace magicid::objectives {

struct AutoencoderBatch {
  at::Tensor sample;   // [B,3,T,H,W] in -1..1
  at::Tensor weights;  // [B,1,T,H,W] or what broadcasts to it: weight of each pixel in the error
};
// The batch of one slot of one step; a function of its arguments alone.
using AutoencoderBatches = std::function<AutoencoderBatch(std::int64_t step, std::int64_t slot, std::int64_t global_batch)>;

// The network of its weights of now: sample [B,3,T,H,W] -> mean and logarithm of the variance [B,C,T',H',W'], and latents back to a sample.
struct AutoencoderCalls {
  std::function<std::pair<at::Tensor, at::Tensor>(const at::Tensor& sample)> encode;
  std::function<at::Tensor(const at::Tensor& latents)> decode;
};
using AutoencoderOfWeights = std::function<AutoencoderCalls(const models::nn::Weights& weights)>;

struct AutoencoderLoss {
  double gradient_weight = 1, kl_weight = 1e-5;
  // Standard deviation of the most noise that is added to a sample's latents before they are decoded; each sample draws its own below it. A decoder that saw
  // such latents forgives the errors of a diffusion model. Source: Yang et al., "Latent Denoising Makes Good Visual Tokenizers" (arXiv:2507.15856), there
  // interpolated.
  double latent_noise = 0;
};

// Initial weights of a network that treats frames alike and apart: every kernel's earlier temporal taps zero, its last one grown to keep the variance. (The
// usual start of video autoencoders; Carreira & Zisserman, arXiv:1705.07750, section 2.4, put the image network in all taps instead, which blends frames.)
storage::NamedTensors initialize_framewise(storage::NamedTensors tensors);

class AutoencoderReconstruction : public training::Objective {
 public:
  // `parameters` holds the network's tensors and must outlive the objective; the network computes in `dtype`.
  AutoencoderReconstruction(AutoencoderOfWeights network, models::nn::Parameters& parameters, at::ScalarType dtype, AutoencoderBatches batches,
                            const AutoencoderLoss& loss, std::uint64_t seed);

  at::Tensor parameters() override { return parameters_.values(); }
  at::Tensor gradient() override { return parameters_.gradient(); }
  std::vector<std::string> metric_names() const override { return {"loss", "error", "gradient_error", "kl"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

 private:
  at::Tensor corruption(const at::Tensor& latents, std::int64_t number) const;

  AutoencoderOfWeights network_;
  models::nn::Parameters& parameters_;
  at::ScalarType dtype_;
  AutoencoderBatches batches_;
  AutoencoderLoss loss_;
  std::uint64_t seed_;
};

}  // namespace magicid::objectives
