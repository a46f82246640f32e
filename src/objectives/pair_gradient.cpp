#include "objectives/pair_gradient.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <array>

#include "base/errors.h"

namespace magicid::objectives {

preference::PairErrors accumulate_pair(const models::generator::Denoiser& denoiser, const PairPolicies& policies, const NoisyPair& pair, const PairLoss& loss,
                                       const Execution& execution, at::Tensor& total) {
  using parallel::Branch;
  parallel::SampleRanks alone;
  parallel::SampleRanks& ranks = execution.ranks ? *execution.ranks : alone;
  at::Tensor buffer = policies.policy.flat_gradients();
  base::check_invariant(buffer.defined() && total.sizes() == buffer.sizes(), "a pair's gradient needs a policy with gradients and a total of its size");
  const auto reference_error = [&](Branch branch, const NoisySample& noisy) {
    if (!ranks.computes(branch)) return 0.0;
    const c10::AutoGradMode no_grad(false);
    return velocity_error(denoiser, policies.reference, noisy, pair.condition, pair.guidance, execution).item<double>();
  };
  const auto policy_error = [&](Branch branch, const NoisySample& noisy, double sign) {
    if (!ranks.computes(branch)) return 0.0;
    const c10::AutoGradMode grad(true);
    const at::Tensor error = velocity_error(denoiser, &policies.policy, noisy, pair.condition, pair.guidance, execution);
    (error * sign).backward();
    return error.item<double>();
  };
  const c10::AutoGradMode no_grad(false);
  buffer.zero_();
  std::array<double, 4> parts{};  // winner, loser; the reference's winner, loser
  if (!pair.known) {
    parts[2] = reference_error(Branch::winner, pair.winner);
    parts[3] = reference_error(Branch::loser, pair.loser);
  }
  parts[0] = policy_error(Branch::winner, pair.winner, 1.0);
  // The buffer holds the winner's gradient alone (nothing, where another rank computes it).
  if (loss.supervised > 0) total.add_(buffer, loss.supervised);
  parts[1] = policy_error(Branch::loser, pair.loser, -1.0);
  ranks.sum(parts);
  if (pair.known) parts[2] = pair.known->winner, parts[3] = pair.known->loser;
  const preference::PairErrors errors{.winner = parts[0], .loser = parts[1], .reference_winner = parts[2], .reference_loser = parts[3]};
  total.add_(buffer, loss.weight * preference::hpo_terms(errors, loss.beta).gradient_factor);
  return errors;
}

}  // namespace magicid::objectives
