#include "objectives/hpo.h"

#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <iterator>

#include "base/errors.h"
#include "diffusion/flow_matching.h"
#include "diffusion/initial_noise.h"
#include "objectives/pair_gradient.h"
#include "preference/hpo_loss.h"

namespace magicid::objectives {
namespace {

// The pairs of one kind, in their order.
std::vector<HpoPair> of_kind(const std::vector<HpoPair>& pairs, preference::PairKind kind) {
  std::vector<HpoPair> found;
  std::copy_if(pairs.begin(), pairs.end(), std::back_inserter(found), [kind](const HpoPair& pair) { return pair.kind == kind; });
  return found;
}

// Throws UserError when there are none, InvariantError for a pair whose videos differ in size.
const std::vector<HpoPair>& checked(const std::vector<HpoPair>& pairs) {
  for (const auto& pair : pairs) base::check_invariant(pair.winner.sizes() == pair.loser.sizes(), "HPO: winner and loser differ in size");
  if (pairs.empty())
    throw base::UserError(
        "optimize: no preference pair was selected. The notes of `select` say why; more candidates (generate.tuned_per_prompt) or looser thresholds (select.*) "
        "give more");
  return pairs;
}

}  // namespace

void describe(config::Fields& fields, HpoOptions& options) {
  fields.number("beta", options.beta,
                {.help = "strength of the tie to the reference policy; means mean-reduced errors (2000 for HunyuanVideo, 100 for miniatures)", .above = 0});
  fields.number("share_dynamic", options.share_dynamic,
                {.help = "share of dynamic pairs among the samples; the rest are identity pairs", .minimum = 0, .maximum = 1});
  fields.choice("reference", options.reference, {"stage1", "base"}, {.help = "frozen reference policy: the stage-1 adapter, or the bare backbone"});
  fields.number("identity_weight", options.identity_weight, {.help = "weight of the preference loss of identity pairs", .minimum = 0});
  fields.number("dynamic_weight", options.dynamic_weight, {.help = "weight of the preference loss of dynamic pairs", .minimum = 0});
  fields.number("identity_supervised_weight", options.identity_supervised_weight,
                {.help = "adds so much of the winner's own error for identity pairs (their winners are stills: this pulls towards stills)", .minimum = 0});
  fields.number("dynamic_supervised_weight", options.dynamic_supervised_weight,
                {.help = "adds so much of the winner's own error for dynamic pairs", .minimum = 0});
  fields.integer("noise_draws", options.noise_draws,
                 {.help = "0: every sample draws its own noise level and noise; N: each pair is shown with N fixed draws in turn, and the reference's errors "
                          "are computed once for each and kept: where pairs_seen is many times N * pairs * replicas, that saves up to a quarter of the time",
                  .minimum = 0});
}

Hpo::Hpo(const models::generator::Denoiser& denoiser, const PairPolicies& policies, std::vector<HpoPair> pairs, const HpoOptions& options,
         const NoiseOptions& noise, Execution execution)
    : denoiser_(denoiser),
      policies_(policies),
      identity_(of_kind(checked(pairs), preference::PairKind::identity)),
      dynamic_(of_kind(pairs, preference::PairKind::dynamic)),
      order_(static_cast<std::int64_t>(identity_.size()), static_cast<std::int64_t>(dynamic_.size()), options.share_dynamic, noise.seed),
      options_(options),
      noise_(noise),
      execution_(std::move(execution)) {
  policies_.policy.set_requires_grad(true);
  total_ = at::zeros_like(policies_.policy.flat_parameters());
}

at::Tensor Hpo::parameters() { return policies_.policy.flat_parameters(); }
at::Tensor Hpo::gradient() { return total_; }

std::vector<std::string> Hpo::metric_names() const {
  return {
      "loss",        "implicit_reward_accuracy", "reward_margin",         "winner_reward", "loser_reward",   "gradient_factor", "saturation", "winner_error",
      "loser_error", "reference_winner_error",   "reference_loser_error", "dynamic_share", "reference_known"};
}

const HpoPair& Hpo::pair_of(const preference::ShownPair& shown) const {
  return (shown.kind == preference::PairKind::dynamic ? dynamic_ : identity_)[static_cast<std::size_t>(shown.index)];
}

std::vector<double> Hpo::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const std::int64_t sample = step * global_batch + slot;
  const preference::ShownPair shown = order_.at(sample);
  const HpoPair& pair = pair_of(shown);
  const std::int64_t number = order_.number_of(shown), draws = options_.noise_draws;
  const std::int64_t draw = draws > 0 ? preference::noise_draw_of(shown.round, draws) : 0, pair_and_draw = number * draws + draw;
  const double sigma = draws > 0 ? diffusion::sample_sigma(noise_.seed, static_cast<std::uint64_t>(number), draw, draws, noise_.shift)
                                 : diffusion::sample_sigma(noise_.seed, static_cast<std::uint64_t>(step), slot, global_batch, noise_.shift);
  const at::Tensor noise = draws > 0 ? diffusion::initial_noise(noise_.seed, "hpo-fixed-noise", pair.winner.sizes(), static_cast<std::uint64_t>(pair_and_draw))
                                     : diffusion::initial_noise(noise_.seed, "hpo-noise", pair.winner.sizes(), static_cast<std::uint64_t>(sample));
  const NoisySample winner{pair.winner, noise, sigma}, loser{pair.loser, noise, sigma};

  const bool dynamic = pair.kind == preference::PairKind::dynamic;
  const PairLoss loss{.beta = options_.beta,
                      .weight = dynamic ? options_.dynamic_weight : options_.identity_weight,
                      .supervised = dynamic ? options_.dynamic_supervised_weight : options_.identity_supervised_weight};
  const auto known = draws > 0 ? known_.find(pair_and_draw) : known_.end();
  const bool reference_known = known != known_.end();
  const auto errors = accumulate_pair(denoiser_, policies_,
                                      {.winner = winner,
                                       .loser = loser,
                                       .condition = pair.condition,
                                       .guidance = noise_.guidance,
                                       .known = reference_known ? std::optional(known->second) : std::nullopt},
                                      loss, execution_, total_);
  if (draws > 0 && !reference_known) known_[pair_and_draw] = {errors.reference_winner, errors.reference_loser};
  const auto terms = preference::hpo_terms(errors, options_.beta);
  return {loss(errors),
          terms.accuracy,
          terms.margin,
          terms.winner_margin,
          terms.loser_margin,
          terms.gradient_factor,
          terms.saturation,
          errors.winner,
          errors.loser,
          errors.reference_winner,
          errors.reference_loser,
          dynamic ? 1.0 : 0.0,
          reference_known ? 1.0 : 0.0};
}

}  // namespace magicid::objectives
