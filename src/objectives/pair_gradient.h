// Errors and gradient of one preference pair, by one rank or by all that a mesh gives it.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/generator/adapter.h"
#include "objectives/velocity_error.h"
#include "preference/hpo_loss.h"

namespace magicid::objectives {

// loss = weight * L(errors) + supervised * err_theta(winner), L as in preference/hpo_loss.h.
struct PairLoss {
  double beta = 2000;
  double weight = 1;
  double supervised = 0;

  double operator()(const preference::PairErrors& errors) const {
    return weight * preference::hpo_terms(errors, beta).loss + (supervised > 0 ? supervised * errors.winner : 0);
  }
};

// Errors of the reference policy on one pair, mean over latent elements.
struct ReferenceErrors {
  double winner = 0, loser = 0;
};

// Adds this rank's part of d(loss) / d(policy) to `total` [P] (the order of policy.flat_parameters()), and returns the pair's whole errors, the same on all
// of its ranks. Winner forward and backward, then loser: one branch's activations live at a time; the gradients join in the policy's own
// gradient buffer (overwritten) before the pair's factor multiplies it. With two ranks a pair each computes one branch, and the four errors are what they
// exchange. `reference` may be null: the bare backbone; its errors come first, without graph, and are not computed where `known` holds them from an earlier
// call for the same inputs (on all of the sample's ranks or on none). winner and loser share noise, sigma and condition. The policy needs gradients
// (Adapter::set_requires_grad). Collective over the sample's ranks, execution.ranks.
preference::PairErrors accumulate_pair(const models::generator::Denoiser& denoiser, models::generator::Adapter& policy,
                                       const models::generator::Adapter* reference, const NoisySample& winner, const NoisySample& loser,
                                       const models::generator::Condition& condition, double guidance, const PairLoss& loss, const Execution& execution,
                                       at::Tensor& total, const ReferenceErrors* known = nullptr);

}  // namespace magicid::objectives
