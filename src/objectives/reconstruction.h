// Self-reconstruction (DreamBooth-style): the adapter learns to denoise the reference photos as one-frame videos.
// Source: MagicID (ICCV 2025), stage 1; flow matching as in docs/method.md.
#pragma once

#include <cstdint>
#include <vector>

#include "objectives/velocity_error.h"
#include "training/objective.h"

namespace magicid::objectives {

struct ReconstructionItem {
  at::Tensor latents;  // [1,C,1,H,W], scaled; sizes may differ between items (aspect buckets)
  models::generator::Condition condition;
};

// Prior preservation (DreamBooth, arXiv:2208.12242, section 3.2): samples of the bare model for the class, without the trigger. Beside each photo one of them
// is shown, so that the adapter does not turn everyone of the class into the person.
struct ReconstructionPrior {
  std::vector<ReconstructionItem> items;  // one-frame or video latents
  double weight = 0;                      // of their error; 0: none are needed
  double shift = 3;                       // of their noise schedule
};

class Reconstruction : public training::Objective {
 public:
  // `denoiser` and `adapter` must outlive the objective; the adapter's gradients are switched on. Throws UserError when there are no items,
  // or a prior with a weight and without items. execution.ranks must outlive the objective, too; they share sequences, there are no pairs.
  Reconstruction(const models::generator::Denoiser& denoiser, models::generator::Adapter& adapter, std::vector<ReconstructionItem> items,
                 const NoiseOptions& noise, ReconstructionPrior prior = {}, Execution execution = {});

  at::Tensor parameters() override;
  at::Tensor gradient() override;
  // loss, sigma; with a prior also photo_error and prior_error: loss = photo_error + weight prior_error.
  std::vector<std::string> metric_names() const override;
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

  // The photo that sample number `sample` shows, and the class sample beside it (null without a prior).
  const ReconstructionItem& item_of(std::int64_t sample) const;
  const ReconstructionItem* prior_of(std::int64_t sample) const;

 private:
  const models::generator::Denoiser& denoiser_;
  models::generator::Adapter& adapter_;
  std::vector<ReconstructionItem> items_;
  std::uint64_t prior_seed_;  // of the class samples' numbers: the photo's stay those of training without a prior
  NoiseOptions noise_;
  ReconstructionPrior prior_;
  parallel::SampleRanks alone_;
  Execution execution_;
};

}  // namespace magicid::objectives
