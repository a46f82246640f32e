// What `select` chooses by. Thresholds are in units of the normalised rewards, 1 to 10. The defaults follow from experiments on the small world
// (docs/study.md).
#pragma once

#include <cstdint>
#include <string>

#include "config/fields.h"

namespace magicid::preference {

// `count` pairs are asked for; fewer are said, never filled up.
struct IdentityPairOptions {
  std::int64_t count = 100;
  double min_identity_gap = 0.0;
  // A loser may move more than its (still) winner by at most this quantile of V_s' dynamics above the still.
  double dynamics_quantile = 0.9;
  std::string condition = "loser";  // loser | portrait: which prompt the pair is trained under
  std::string loser = "still";      // still | video: what the loser shows in training
};

struct DynamicPairOptions {
  std::int64_t count = 100;
  std::string rule = "dominance";  // dominance | frontier
  double min_dynamics_gap = 0.7;
  double max_identity_loss = 1.0;
  double max_semantic_loss = 0.0;
  std::int64_t max_pairs_per_video = 8;
};

struct Options {
  std::string rewards = "identity+dynamics+semantics";  // also: identity, identity+dynamics
  std::string pairs = "identity+dynamic";               // also: identity, dynamic
  IdentityPairOptions identity_pairs;
  DynamicPairOptions dynamic_pairs;
};

void describe(config::Fields& fields, IdentityPairOptions& options);
void describe(config::Fields& fields, DynamicPairOptions& options);
void describe(config::Fields& fields, Options& options);

}  // namespace magicid::preference
