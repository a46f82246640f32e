// Paired differences between arms of evaluations: the same prompt and noise under both arms, over one run or many, of one person or many.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace magicid::evaluation {

// An evaluation.json and where it came from.
struct EvaluatedRun {
  std::string name;  // as the user gave it
  nlohmann::json evaluation;
};

// `path`: a run directory, or an evaluation.json. Throws UserError when it is neither or was written by another program.
EvaluatedRun read_evaluated_run(const std::filesystem::path& path);

// Its arms, in the order of its tables.
std::vector<std::string> arms_of(const EvaluatedRun& run);

struct ComparisonOptions {
  std::vector<std::string> arms;  // empty: every arm but the baseline that all runs have
  std::string baseline = "stage1";
  std::vector<std::string> metrics;  // empty: every figure of the videos
  double confidence = 0.95;
  std::int64_t resamples = 10000;
  std::uint64_t seed = 0;
};

// {"baseline", "interval", "runs", "people", "comparisons": [{"arm", "metric", "pairs", "people", "skipped", "mean", "baseline_mean", "difference": {"mean",
// "low", "high"}, "ratio": {...} or null, "by_person": [{"person", "pairs", "mean", "baseline_mean"}]}]}.
//
// `runs` hold the arms. The baseline arm is taken from the same run, or, where `baseline_runs` are given, from the one among them of the same person and seed:
// so a setting is compared over runs. Videos pair by (person, seed, prompt template, sample), which is what determines their noise. Runs of the same person
// (the photos' bytes) are one cluster; statistics as in compare_paired(). Pairs with a figure that is not a number are skipped and counted. Throws UserError
// for arms or metrics that a run does not have, for two runs of the same person and seed, for videos of another size, and when nothing pairs.
nlohmann::json compare_runs(const std::vector<EvaluatedRun>& runs, const std::vector<EvaluatedRun>& baseline_runs, const ComparisonOptions& options);

// The same as a Markdown table with a sentence that says how it was made.
std::string comparison_markdown(const nlohmann::json& comparison);

}  // namespace magicid::evaluation
