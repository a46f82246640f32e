// Errors and gradient of one preference pair, by one rank or by all that a mesh gives it.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

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

// The policy, whose gradients are wanted, and the frozen policy that it is measured against (null: the bare backbone).
struct PairPolicies {
  models::generator::Adapter& policy;
  const models::generator::Adapter* reference = nullptr;
};

// Winner and loser share noise, sigma and condition.
struct NoisyPair {
  NoisySample winner, loser;
  models::generator::Condition condition;
  double guidance = 1;                        // the embedded guidance scale
  std::optional<ReferenceErrors> known = {};  // the reference's errors from an earlier call for the same inputs, on all of the sample's ranks or on none
};

// Adds this rank's part of d(loss) / d(policy) to `total` [P] (the order of policy.flat_parameters()), and returns the pair's whole errors, the same on all
// of its ranks. Winner forward and backward, then loser: one branch's activations live at a time; the gradients join in the policy's own
// gradient buffer (overwritten) before the pair's factor multiplies it. With two ranks a pair each computes one branch, and the four errors are what they
// exchange. The reference's errors come first, without graph, unless they are known. The policy needs gradients (Adapter::set_requires_grad). Collective over
// the sample's ranks, execution.ranks.
preference::PairErrors accumulate_pair(const models::generator::Denoiser& denoiser, const PairPolicies& policies, const NoisyPair& pair, const PairLoss& loss,
                                       const Execution& execution, at::Tensor& total);

}  // namespace magicid::objectives
