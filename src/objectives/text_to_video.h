// Training of the whole diffusion transformer by flow matching, at embedded guidance 1: without distillation only true guidance (two predictions) guides it.
// Source: Lipman et al. (arXiv:2210.02747).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/nn/parameters.h"
#include "storage/safetensors.h"
#include "training/objective.h"

namespace magicid::objectives {

// One batch: videos of one size with their prompts.
struct TextToVideoBatch {
  at::Tensor latents;        // x0 [B,C,T,H,W], scaled
  at::Tensor prompt_embeds;  // [B,L,text_embed_dim]
  at::Tensor prompt_mask;    // [B,L], ones first
  at::Tensor pooled;         // [B,pooled_projection_dim]
  at::Tensor weights;        // [B,S]: weight of each token's squared error, the loss is their weighted mean; undefined: all alike
};
using TextToVideoBatches = std::function<TextToVideoBatch(std::int64_t step, std::int64_t slot, std::int64_t global_batch)>;

// A network's prediction against the target: x_sigma and the velocity (noise - x0) [B,C,T,H,W] and timestep [B] (1000 sigma), in the parameters' dtype -> the
// mean squared error of each token [B,S], fp32.
using TokenErrors = std::function<at::Tensor(const models::nn::Weights& weights, const TextToVideoBatch& batch, const at::Tensor& noisy,
                                             const at::Tensor& timestep, const at::Tensor& target)>;

struct TextToVideoOptions {
  double shift = 3;  // of the noise schedule
};

// Initial weights of a transformer whose blocks pass on what they get and which predicts zero: all modulations and the last matrix are zero. Source: adaLN-Zero
// of Peebles & Xie (arXiv:2212.09748, section 3.2).
storage::NamedTensors initialize_at_zero(storage::NamedTensors tensors);

class TextToVideo : public training::Objective {
 public:
  // `parameters` holds the network's tensors and must outlive the objective; the network computes in `dtype`.
  TextToVideo(TokenErrors errors, models::nn::Parameters& parameters, at::ScalarType dtype, TextToVideoBatches batches, const TextToVideoOptions& options,
              std::uint64_t seed);

  at::Tensor parameters() override { return parameters_.values(); }
  at::Tensor gradient() override { return parameters_.gradient(); }
  std::vector<std::string> metric_names() const override { return {"loss"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

 private:
  TokenErrors errors_;
  models::nn::Parameters& parameters_;
  at::ScalarType dtype_;
  TextToVideoBatches batches_;
  TextToVideoOptions options_;
  std::uint64_t seed_;
};

}  // namespace magicid::objectives
