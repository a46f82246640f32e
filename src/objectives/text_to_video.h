// Training of the whole diffusion transformer by flow matching, and of its embedded guidance by distillation.
// Sources: Lipman et al. (arXiv:2210.02747); Meng et al., "On Distillation of Guided Diffusion Models" (arXiv:2210.03142), first stage, with the network
// at guidance 1 as its own teacher; HunyuanVideo (arXiv:2412.03603), section on guidance distillation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/hunyuan_video/transformer.h"
#include "models/nn/parameters.h"
#include "training/objective.h"

namespace magicid::objectives {

// One batch: videos of one size with their prompts.
struct TextToVideoBatch {
  at::Tensor latents;         // x0 [B,C,T,H,W], scaled
  at::Tensor prompt_embeds;   // [B,L,text_embed_dim]
  at::Tensor prompt_mask;     // [B,L], ones first
  at::Tensor pooled;          // [B,pooled_projection_dim]
};
using TextToVideoBatches = std::function<TextToVideoBatch(std::int64_t step, std::int64_t slot, std::int64_t global_batch)>;

struct TextToVideoOptions {
  double shift = 3;
  // From this step on every second slot learns v_empty + g (v_prompt - v_empty) at an embedded guidance g in 1..distill_guidance; 0: never. Only for
  // configurations with guidance_embeds.
  std::int64_t distill_from = 0;
  double distill_guidance = 6;
};

class TextToVideo : public training::Objective {
 public:
  // `parameters` holds the transformer's tensors and must outlive the objective; the network computes in `dtype`. `empty` is the batch of one empty
  // prompt (its latents are not read), the unconditional side of the distillation.
  TextToVideo(models::hunyuan_video::TransformerConfig config, models::nn::Parameters& parameters, at::ScalarType dtype, TextToVideoBatches batches,
              TextToVideoBatch empty, const TextToVideoOptions& options, std::uint64_t seed);

  at::Tensor parameters() override { return parameters_.values(); }
  at::Tensor gradient() override { return parameters_.gradient(); }
  // `loss` of all slots; `flow_error` and `distill_error` are the parts that each kind of slot adds to it (the loop averages over all slots).
  std::vector<std::string> metric_names() const override { return {"loss", "flow_error", "distill_error"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

 private:
  bool distils(std::int64_t step, std::int64_t slot) const { return options_.distill_from > 0 && step >= options_.distill_from && (step + slot) % 2 == 1; }

  models::hunyuan_video::TransformerConfig config_;
  models::nn::Parameters& parameters_;
  at::ScalarType dtype_;
  TextToVideoBatches batches_;
  TextToVideoBatch empty_;
  TextToVideoOptions options_;
  std::uint64_t seed_;
};

}  // namespace magicid::objectives
