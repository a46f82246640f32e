// Hybrid preference optimization: DPO for flow matching over identity pairs and dynamic pairs.
// Source: MagicID (ICCV 2025), section on HPO; loss and gradient in preference/hpo_loss.h.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "config/fields.h"
#include "objectives/pair_gradient.h"
#include "objectives/velocity_error.h"
#include "preference/pair_order.h"
#include "preference/pairs.h"
#include "training/objective.h"

namespace magicid::objectives {

struct HpoOptions {
  double beta = 2000;                // with mean reduction over latent elements
  double share_dynamic = 0.85;       // of the samples; the rest are identity pairs
  std::string reference = "stage1";  // stage1 | base: the frozen policy that D is measured against
  // By kind of pair. The loss of a sample is weight * L + supervised_weight * err_theta(winner).
  double identity_weight = 1, dynamic_weight = 1;
  double identity_supervised_weight = 0, dynamic_supervised_weight = 0;
  // 0: every sample draws its own sigma and noise. N: each pair is shown with N draws of them in turn, stratified over sigma, so that the reference's errors,
  // known after the first N rounds, need not be computed again.
  std::int64_t noise_draws = 0;
};
void describe(config::Fields& fields, HpoOptions& options);

struct HpoPair {
  at::Tensor winner, loser;  // latents [1,C,T,H,W], scaled, of one size
  models::generator::Condition condition;
  preference::PairKind kind = preference::PairKind::identity;
};

// One branch's activations live at a time: winner forward and backward, then loser; the gradients join in one buffer before the pair's
// scalar multiplies it. On a mesh with two ranks a pair each runs one branch, and the four errors are what they exchange; ranks that share a
// sequence hold parts of every error and of every gradient. Policy and reference run the same code, so the loss of the first step is exactly log 2, on
// every mesh.
class Hpo : public training::Objective {
 public:
  // Everything referred to, execution.ranks too, must outlive the objective. When one kind of pair is missing, all samples come from the other. Throws
  // UserError when there are no pairs.
  Hpo(const models::generator::Denoiser& denoiser, const PairPolicies& policies, std::vector<HpoPair> pairs, const HpoOptions& options,
      const NoiseOptions& noise, Execution execution = {});

  at::Tensor parameters() override;
  at::Tensor gradient() override;
  // loss, implicit_reward_accuracy, reward_margin, winner_reward, loser_reward, gradient_factor, saturation, the four errors, dynamic_share, reference_known.
  std::vector<std::string> metric_names() const override;
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

  // The pair that sample number `sample` shows.
  const HpoPair& pair_of(std::int64_t sample) const { return pair_of(order_.at(sample)); }

 private:
  const HpoPair& pair_of(const preference::ShownPair& shown) const;

  const models::generator::Denoiser& denoiser_;
  PairPolicies policies_;
  std::vector<HpoPair> identity_, dynamic_;
  preference::PairOrder order_;
  HpoOptions options_;
  NoiseOptions noise_;
  Execution execution_;
  std::map<std::int64_t, ReferenceErrors> known_;  // by pair and draw, of this rank's samples
  at::Tensor total_;                               // [P]: the adapter's own gradient buffer holds one pair
};

}  // namespace magicid::objectives
