// pairs.h5: what `select` decided and from which numbers.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "preference/pairs.h"
#include "rewards/normalisation.h"

namespace magicid::pipeline {

// Raw minimum and maximum of each reward over the candidates that are used: what 1 and 10 stand for.
struct RewardRanges {
  rewards::Range identity, dynamics, semantics;
};
nlohmann::json to_json(const RewardRanges& ranges);

// A candidate as selection saw it.
struct JudgedCandidate {
  std::string key;
  preference::Source source = preference::Source::initial;
  std::int64_t prompt = -1;
  std::string text;                  // the rendered prompt that it was made from and scored against
  double strength = 0;               // of the stage-1 adapter
  std::string preview;               // name below previews/
  rewards::Rewards raw, normalised;  // NaN where a reward is not finite
  std::string rejection;             // empty, or why it is not used
  int front = -1;                    // -1: in none
};

struct PairsFile {
  preference::Selection selection;
  std::vector<std::string> conditions;  // of each pair: the rendered prompt that it is trained under
  std::vector<JudgedCandidate> candidates;
  RewardRanges ranges;

  void save(const std::filesystem::path& path) const;
  // Throws as storage::Hdf5File does; so of version 1, which held no conditions: `select` makes it anew.
  static PairsFile load(const std::filesystem::path& path);
};

}  // namespace magicid::pipeline
