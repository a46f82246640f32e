// Self-reconstruction (DreamBooth-style): the adapter learns to denoise the reference photos as one-frame videos.
// Source: MagicID (ICCV 2025), stage 1; flow matching as in docs/method.md.
#pragma once

#include <cstdint>
#include <vector>

#include "models/hunyuan_video/transformer.h"
#include "models/text/prompt_encoder.h"
#include "training/objective.h"

namespace magicid::objectives {

struct ReconstructionItem {
  at::Tensor latents;  // [1,C,1,H,W], scaled; sizes may differ between items (aspect buckets)
  models::text::PromptEmbeddings condition;
};

class Reconstruction : public training::Objective {
 public:
  // `transformer` and `adapter` must outlive the objective; the adapter's gradients are switched on. `shift` is that of the noise schedule,
  // `guidance` the embedded guidance scale. Throws UserError when there are no items.
  Reconstruction(const models::hunyuan_video::Transformer& transformer, models::hunyuan_video::Adapter& adapter, std::vector<ReconstructionItem> items,
                 std::uint64_t seed, double shift, double guidance = 1.0);

  at::Tensor parameters() override;
  at::Tensor gradient() override;
  std::vector<std::string> metric_names() const override;
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

 private:
  const models::hunyuan_video::Transformer& transformer_;
  models::hunyuan_video::Adapter& adapter_;
  std::vector<ReconstructionItem> items_;
  std::uint64_t seed_;
  double shift_, guidance_;
};

}  // namespace magicid::objectives
