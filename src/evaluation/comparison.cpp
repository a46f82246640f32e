#include "evaluation/comparison.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>

#include "base/errors.h"
#include "base/names.h"
#include "evaluation/statistics.h"
#include "storage/atomic_file.h"

namespace magicid::evaluation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

using RunKey = std::pair<std::string, std::int64_t>;    // person, seed of the noise
using VideoKey = std::pair<std::string, std::int64_t>;  // prompt template, sample
using Figures = std::map<VideoKey, json>;               // metrics of one arm's videos

RunKey key_of(const EvaluatedRun& run) { return {run.evaluation.at("person"), run.evaluation.at("noise_seed")}; }

Figures figures_of(const EvaluatedRun& run, const std::string& arm) {
  const auto known = arms_of(run);
  if (std::find(known.begin(), known.end(), arm) == known.end())
    throw base::UserError(run.name, ": its evaluation has no arm '", arm, "'", base::did_you_mean(arm, known), "; it has ", base::join_names(known));
  Figures figures;
  const json& prompts = run.evaluation.at("prompts");
  for (const auto& video : run.evaluation.at("videos"))
    if (video.at("arm") == arm) figures[{prompts.at(video.at("prompt").get<std::size_t>()), video.at("sample")}] = video.at("metrics");
  return figures;
}

std::map<RunKey, const EvaluatedRun*> by_key(const std::vector<EvaluatedRun>& runs) {
  std::map<RunKey, const EvaluatedRun*> map;
  for (const auto& run : runs)
    if (const auto [it, fresh] = map.emplace(key_of(run), &run); !fresh)
      throw base::UserError(run.name, " and ", it->second->name,
                            " show the same person with the same seed: put together they would count twice. Compare settings with --baseline-runs.");
  return map;
}

std::vector<std::string> common_arms(const std::vector<EvaluatedRun>& runs, const std::string& baseline) {
  std::vector<std::string> arms;
  for (const auto& arm : arms_of(runs.front()))
    if (arm != baseline && std::all_of(runs.begin(), runs.end(), [&](const auto& run) {
          const auto own = arms_of(run);
          return std::find(own.begin(), own.end(), arm) != own.end();
        }))
      arms.push_back(arm);
  return arms;
}

std::vector<std::string> names_of(const json& metrics) {
  std::vector<std::string> names;
  for (const auto& [name, value] : metrics.items()) names.push_back(name);
  return names;
}

json interval_json(const Interval& interval) {
  if (std::isnan(interval.mean) || std::isnan(interval.low)) return nullptr;
  return {{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

// The pairs of one arm and the baseline, by person.
struct Paired {
  std::map<std::string, std::vector<std::pair<const json*, const json*>>> people;
};

json compare_metric(const Paired& paired, const std::string& arm, const std::string& metric, const ComparisonOptions& options) {
  std::vector<std::vector<PairedValue>> clusters;
  json by_person = json::array();
  std::int64_t skipped = 0;
  for (const auto& [person, pairs] : paired.people) {
    std::vector<PairedValue> values;
    PairedValue sum;
    for (const auto& [own, baseline] : pairs) {
      if (!own->contains(metric) || !baseline->contains(metric))
        throw base::UserError("the evaluations have no figure '", metric, "' for every video", base::did_you_mean(metric, names_of(*own)), "; they have ",
                              base::join_names(names_of(*own)));
      if (!own->at(metric).is_number() || !baseline->at(metric).is_number()) {
        ++skipped;
        continue;
      }
      values.push_back({own->at(metric), baseline->at(metric)});
      sum.value += values.back().value;
      sum.baseline += values.back().baseline;
    }
    if (values.empty()) continue;
    const auto count = static_cast<double>(values.size());
    by_person.push_back({{"person", person}, {"pairs", values.size()}, {"mean", sum.value / count}, {"baseline_mean", sum.baseline / count}});
    clusters.push_back(std::move(values));
  }
  json row{{"arm", arm}, {"metric", metric}, {"skipped", skipped}, {"by_person", by_person}};
  if (clusters.empty())
    return row.update({{"pairs", 0}, {"people", 0}, {"mean", nullptr}, {"baseline_mean", nullptr}, {"difference", nullptr}, {"ratio", nullptr}}), row;
  const auto result = compare_paired(clusters, options.confidence, options.resamples, options.seed);
  row.update({{"pairs", result.pairs},
              {"people", result.clusters},
              {"mean", result.mean},
              {"baseline_mean", result.baseline_mean},
              {"difference", interval_json(result.difference)},
              {"ratio", interval_json(result.ratio)}});
  return row;
}

std::string number(const json& value, bool sign = false) {
  if (!value.is_number()) return "–";
  char text[40];
  std::snprintf(text, sizeof text, sign ? "%+.4g" : "%.4g", value.get<double>());
  return text;
}

}  // namespace

std::vector<std::string> arms_of(const EvaluatedRun& run) {
  std::vector<std::string> arms;
  for (const auto& arm : run.evaluation.at("arms")) arms.push_back(arm.at("arm"));
  return arms;
}

EvaluatedRun read_evaluated_run(const fs::path& path) {
  std::error_code code;
  const fs::path file = fs::is_directory(path, code) ? path / "evaluation.json" : path;
  if (!fs::exists(file, code)) throw base::UserError(path.string(), ": has no evaluation.json; run `magicid evaluate` or `magicid run` there first");
  EvaluatedRun run{path.string(), json::parse(storage::read_text(file), nullptr, false)};
  if (!run.evaluation.is_object()) throw base::UserError(file.string(), ": is damaged: it is not a JSON object");
  for (const char* key : {"person", "noise_seed", "prompts", "video", "arms", "videos"})
    if (!run.evaluation.contains(key))
      throw base::UserError(file.string(), ": lacks '", key,
                            "', so another version of the program wrote it; delete it and run `magicid evaluate` again (finished videos are found)");
  return run;
}

json compare_runs(const std::vector<EvaluatedRun>& runs, const std::vector<EvaluatedRun>& baseline_runs, const ComparisonOptions& options) {
  if (runs.empty()) throw base::UserError("compare: no run was named");
  const auto own_runs = by_key(runs), others = by_key(baseline_runs);
  const bool between = !baseline_runs.empty();
  const auto arms = !options.arms.empty() ? options.arms : between ? std::vector<std::string>{options.baseline} : common_arms(runs, options.baseline);
  if (arms.empty()) throw base::UserError("compare: no arm beside '", options.baseline, "' stands in every run; name one with --arm");
  json result{{"baseline", options.baseline}, {"between_runs", between}, {"runs", json::array()}, {"comparisons", json::array()}};
  std::set<std::string> people;
  for (const auto& run : runs) {
    result["runs"].push_back(run.name);
    people.insert(key_of(run).first);
  }
  if (between)
    for (const auto& run : baseline_runs) result["baseline_runs"].push_back(run.name);
  result["people"] = people.size();
  char percent[32];
  std::snprintf(percent, sizeof percent, "%g", 100 * options.confidence);
  result["interval"] = std::string(percent) + "% percentile bootstrap, " + (people.size() > 1 ? "people drawn first, then videos" : "over videos");

  for (const auto& arm : arms) {
    std::vector<std::pair<Figures, Figures>> figures;  // keeps what `paired` points to
    figures.reserve(own_runs.size());
    Paired paired;
    for (const auto& [key, run] : own_runs) {
      const EvaluatedRun* source = run;
      if (between) {
        const auto it = others.find(key);
        if (it == others.end()) throw base::UserError(run->name, ": none of the --baseline-runs shows the same person with the same seed");
        source = it->second;
      }
      if (run->evaluation.at("video") != source->evaluation.at("video"))
        throw base::UserError(run->name, " and ", source->name, ": videos of different size or rate do not compare");
      figures.emplace_back(figures_of(*run, arm), figures_of(*source, options.baseline));
      const auto& [own, baseline] = figures.back();
      for (const auto& [video, metrics] : own)
        if (const auto it = baseline.find(video); it != baseline.end()) paired.people[key.first].emplace_back(&metrics, &it->second);
    }
    if (paired.people.empty()) throw base::UserError("compare: no video of arm '", arm, "' shares prompt and sample with one of '", options.baseline, "'");
    for (const auto& metric : options.metrics.empty() ? names_of(*paired.people.begin()->second.front().first) : options.metrics)
      result["comparisons"].push_back(compare_metric(paired, arm, metric, options));
  }
  return result;
}

std::string comparison_markdown(const json& comparison) {
  const std::size_t runs = comparison.at("runs").size(), people = comparison.at("people");
  std::string text = "Paired differences to `" + comparison.at("baseline").get<std::string>() + "`" +
                     (comparison.at("between_runs") ? " of the baseline runs" : "") + ", paired by prompt and sample; " + std::to_string(runs) +
                     (runs == 1 ? " run of " : " runs of ") + std::to_string(people) + (people == 1 ? " person" : " people") + "; " +
                     comparison.at("interval").get<std::string>() + ". Bold: the interval excludes zero.\n\n" +
                     "| arm | figure | arm's mean | baseline's mean | difference | interval | ratio | pairs |\n|---|---|---|---|---|---|---|---|\n";
  for (const auto& row : comparison.at("comparisons")) {
    const json& d = row.at("difference");
    const bool known = d.is_object();
    const bool clear = known && (d.at("low").get<double>() > 0 || d.at("high").get<double>() < 0);
    const std::string difference = known ? number(d.at("mean"), true) : "–";
    const json& ratio = row.at("ratio");
    text += "| " + row.at("arm").get<std::string>() + " | " + row.at("metric").get<std::string>() + " | " + number(row.at("mean")) + " | " +
            number(row.at("baseline_mean")) + " | " + (clear ? "**" + difference + "**" : difference) + " | " +
            (known ? number(d.at("low"), true) + " to " + number(d.at("high"), true) : "–") + " | " +
            (ratio.is_object() ? number(ratio.at("mean")) + " (" + number(ratio.at("low")) + " to " + number(ratio.at("high")) + ")" : "–") + " | " +
            std::to_string(row.at("pairs").get<std::size_t>()) + " |\n";
  }
  return text;
}

}  // namespace magicid::evaluation
