#include "preference/options.h"

namespace magicid::preference {

void describe(config::Fields& fields, IdentityPairOptions& options) {
  fields.integer("count", options.count, {.help = "identity pairs asked for; fewer are reported, not filled up", .minimum = 0});
  fields.number("min_identity_gap", options.min_identity_gap, {.help = "a winner's R_id exceeds its loser's by at least this", .minimum = 0, .maximum = 9});
  fields.number(
      "dynamics_quantile", options.dynamics_quantile,
      {.help = "losers whose R_dy lies above this quantile of V_s are left out: the dynamics that a still winner may give up", .minimum = 0, .maximum = 1});
  fields.choice("condition", options.condition, {"loser", "portrait"},
                {.help = "prompt under which a pair is trained: the loser's, or the reconstruction prompt"});
  fields.choice(
      "loser", options.loser, {"video", "still"},
      {.help = "what is trained against: the loser as it is, or its first frame held still, so that winner and loser differ in identity and not in motion"});
}

void describe(config::Fields& fields, DynamicPairOptions& options) {
  fields.integer("count", options.count, {.help = "dynamic pairs asked for; fewer are reported, not filled up", .minimum = 0});
  fields.choice("rule", options.rule, {"dominance", "frontier"},
                {.help = "dominance: same prompt, better front, thresholds below; frontier: upper against lower frontier, prompts may differ"});
  fields.number("min_dynamics_gap", options.min_dynamics_gap, {.help = "a winner's R_dy exceeds its loser's by at least this", .minimum = 0, .maximum = 9});
  fields.number("max_identity_loss", options.max_identity_loss, {.help = "a winner's R_id lies below its loser's by at most this", .minimum = 0, .maximum = 9});
  fields.number("max_semantic_loss", options.max_semantic_loss,
                {.help = "a winner's R_sem lies below its loser's by at most this", .minimum = 0, .maximum = 9});
  fields.integer("max_pairs_per_video", options.max_pairs_per_video, {.help = "one video stands in at most this many dynamic pairs", .minimum = 1});
}

void describe(config::Fields& fields, Options& options) {
  fields.choice("rewards", options.rewards, {"identity", "identity+dynamics", "identity+dynamics+semantics"},
                {.help = "rewards that the fronts are sorted by"});
  fields.choice("pairs", options.pairs, {"identity+dynamic", "identity", "dynamic"}, {.help = "kinds of pairs that are selected"});
  fields.nested("identity_pairs", options.identity_pairs, "winners from V_id (stills of the references), losers from V_s (the initial model)");
  fields.nested("dynamic_pairs", options.dynamic_pairs, "winners and losers from V_s and V_t (the tuned model)");
}

}  // namespace magicid::preference
