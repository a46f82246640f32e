// Previews of an adapter in training as numbers: how they stand in metrics.jsonl, which of them is the best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/pairs_file.h"
#include "rewards/normalisation.h"

namespace magicid::pipeline {

struct PreviewVideo {
  std::string prompt;        // rendered
  std::string file;          // relative to the stage's folder
  rewards::Rewards rewards;  // raw; NaN where one is not finite
};

// All videos of one step.
struct PreviewRound {
  std::int64_t step = 0;
  double seconds = 0;  // that making and scoring took
  std::vector<PreviewVideo> videos;

  rewards::Rewards mean() const;  // NaN where one video's is
};

// A line of metrics.jsonl: scalars preview_identity, preview_dynamics, preview_semantics, preview_seconds, and the list `previews` of the videos.
std::map<std::string, double> preview_scalars(const PreviewRound& round);
nlohmann::json preview_details(const PreviewRound& round);
// The inverse, of a line as read; nothing for other lines.
std::optional<PreviewRound> preview_of_line(const nlohmann::json& line);

// By what rounds are compared under `rule` (optimize.keep_best, not none): the mean reward itself; for `sum` the sum of the three on the candidates' scale of 1
// to 10. The minima and maxima of `ranges` stand for 1 and 10. Previews may lie outside.
double preview_score(const std::string& rule, const rewards::Rewards& mean, const RewardRanges& ranges);

// Index of the round with the highest score, the earlier step among equals; nothing when no score is finite.
std::optional<std::size_t> best_preview(const std::vector<PreviewRound>& rounds, const std::string& rule, const RewardRanges& ranges);

// "the mean identity of its previews, 0.612, is the highest of 3 (step 0: 0.52, step 100: 0.612, step 200: 0.6)"
std::string why_best(const std::vector<PreviewRound>& rounds, std::size_t best, const std::string& rule, const RewardRanges& ranges);

}  // namespace magicid::pipeline
