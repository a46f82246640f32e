#include "pipeline/preview_rounds.h"

#include <cmath>
#include <limits>

#include "base/errors.h"

namespace magicid::pipeline {
namespace {

using nlohmann::json;

double number_or_nan(const json& value) { return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN(); }

}  // namespace

rewards::Rewards PreviewRound::mean() const {
  rewards::Rewards sum;
  for (const auto& video : videos) {
    sum.identity += video.rewards.identity;
    sum.dynamics += video.rewards.dynamics;
    sum.semantics += video.rewards.semantics;
  }
  const auto count = static_cast<double>(videos.size());
  return {sum.identity / count, sum.dynamics / count, sum.semantics / count};
}

std::map<std::string, double> preview_scalars(const PreviewRound& round) {
  const rewards::Rewards mean = round.mean();
  return {{"preview_identity", mean.identity}, {"preview_dynamics", mean.dynamics}, {"preview_semantics", mean.semantics}, {"preview_seconds", round.seconds}};
}

json preview_details(const PreviewRound& round) {
  json list = json::array();
  for (const auto& v : round.videos)
    list.push_back(
        {{"prompt", v.prompt}, {"file", v.file}, {"identity", v.rewards.identity}, {"dynamics", v.rewards.dynamics}, {"semantics", v.rewards.semantics}});
  return {{"previews", list}};
}

std::optional<PreviewRound> preview_of_line(const json& line) {
  if (!line.contains("previews")) return std::nullopt;
  PreviewRound round{.step = line.at("step"), .seconds = line.value("preview_seconds", 0.0)};
  // JSON has no NaN: a reward that is not finite stands as null.
  for (const auto& v : line.at("previews"))
    round.videos.push_back(
        {v.at("prompt"),
         v.at("file"),
         {.identity = number_or_nan(v.at("identity")), .dynamics = number_or_nan(v.at("dynamics")), .semantics = number_or_nan(v.at("semantics"))}});
  return round;
}

double preview_score(const std::string& rule, const rewards::Rewards& mean, const RewardRanges& ranges) {
  if (rule == "identity") return mean.identity;
  if (rule == "dynamics") return mean.dynamics;
  if (rule == "semantics") return mean.semantics;
  base::check_invariant(rule == "sum", "optimize.keep_best: no score for the rule '", rule, "'");
  const auto scaled = [](double value, const rewards::Range& range) { return std::isfinite(value) ? rewards::normalise(value, range) : value; };
  return scaled(mean.identity, ranges.identity) + scaled(mean.dynamics, ranges.dynamics) + scaled(mean.semantics, ranges.semantics);
}

std::optional<std::size_t> best_preview(const std::vector<PreviewRound>& rounds, const std::string& rule, const RewardRanges& ranges) {
  std::optional<std::size_t> best;
  double highest = 0;
  for (std::size_t i = 0; i < rounds.size(); ++i) {
    const double score = preview_score(rule, rounds[i].mean(), ranges);
    if (!std::isfinite(score)) continue;
    if (best && (score < highest || (score == highest && rounds[i].step > rounds[*best].step))) continue;
    best = i;
    highest = score;
  }
  return best;
}

std::string why_best(const std::vector<PreviewRound>& rounds, std::size_t best, const std::string& rule, const RewardRanges& ranges) {
  std::string others;
  for (const auto& round : rounds) others += base::concat(others.empty() ? "" : ", ", "step ", round.step, ": ", preview_score(rule, round.mean(), ranges));
  const std::string what =
      rule == "sum" ? "sum of the mean rewards (each on the candidates' scale of 1 to 10) of its previews" : "mean " + rule + " of its previews";
  return base::concat("the ", what, ", ", preview_score(rule, rounds[best].mean(), ranges), ", is the highest of ", rounds.size(), " (", others, ")");
}

}  // namespace magicid::pipeline
