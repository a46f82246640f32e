#include "evaluation/evaluation.h"

#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/errors.h"
#include "evaluation/frechet.h"
#include "evaluation/statistics.h"
#include "storage/csv.h"

namespace magicid::evaluation {
namespace {

using nlohmann::json;

json number_or_null(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

// {"mean", "low", "high", "n"} of the values of a metric, grouped by prompt. One value has no interval.
json estimate(const std::vector<std::vector<double>>& groups, std::int64_t seed) {
  std::size_t count = 0;
  for (const auto& group : groups) count += group.size();
  if (count == 0) return {{"mean", nullptr}, {"low", nullptr}, {"high", nullptr}, {"n", 0}};
  const auto interval = bootstrap_grouped_mean(groups, 0.95, 2000, static_cast<std::uint64_t>(seed));
  const bool known = count > 1;
  return {{"mean", interval.mean}, {"low", known ? json(interval.low) : json(nullptr)}, {"high", known ? json(interval.high) : json(nullptr)}, {"n", count}};
}

// The items of an arm, samples before prompts, so that a cut off list holds every prompt.
std::vector<std::size_t> items_of(const EvaluationResult& result, const std::string& arm) {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < result.items.size(); ++i)
    if (result.items[i].arm == arm) indices.push_back(i);
  std::stable_sort(indices.begin(), indices.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(result.items[a].sample, result.items[a].prompt) < std::pair(result.items[b].sample, result.items[b].prompt);
  });
  return indices;
}

// Of these items, by prompt, whose figure is a number.
json metrics_of(const EvaluationResult& result, const std::vector<std::size_t>& items) {
  json metrics = json::object();
  for (const auto& name : video_metrics()) {
    std::map<std::int64_t, std::vector<double>> values;
    for (const std::size_t i : items)
      if (const json& value = result.figures[i].metrics.at(name); value.is_number()) values[result.items[i].prompt].push_back(value);
    std::vector<std::vector<double>> groups;
    for (auto& [prompt, group] : values) groups.push_back(std::move(group));
    metrics[name] = estimate(groups, result.noise_seed);
  }
  return metrics;
}

std::string size_in_words(const json& size) {
  char fps[32];
  std::snprintf(fps, sizeof fps, "%.4g", size.at("fps").get<double>());
  return base::concat(size.at("width").get<std::int64_t>(), "x", size.at("height").get<std::int64_t>(), ", ", size.at("frames").get<std::int64_t>(),
                      " frames, ", fps, " per second");
}

// Distances of the arms' first videos from as many real ones, and what to say about them.
struct Frechet {
  std::map<std::string, json> of_arm;
  json about;
};

Frechet frechet_of(const EvaluationResult& result) {
  Frechet out;
  std::vector<std::size_t> counts;
  for (const auto& arm : result.arms) counts.push_back(items_of(result, arm).size());
  const std::size_t count = result.real_given ? frechet_count(counts, result.real.size()) : 0;
  out.about = {{"metric", result.frechet},
               {"features", result.frechet == "fvd" ? "logits of I3D (evaluate.i3d), the first 16 frames of each video"
                                                    : "mean over the frames of CLIP's image features of length 1: not FVD, and blind to motion"},
               {"videos", count}};
  const auto absent = [&](const std::string& why) {
    if (!out.about.contains("hint")) out.about["hint"] = why;
    return json{{"mean", nullptr}, {"low", nullptr}, {"high", nullptr}, {"n", 0}};
  };
  for (const auto& arm : result.arms) {
    if (!result.real_given) {
      out.of_arm[arm] = absent("needs real videos to compare with: name a folder of them in evaluate.real_videos");
      continue;
    }
    if (count < 2) {
      out.of_arm[arm] = absent(base::concat("needs two videos of every arm and two real ones; the smallest set has ", count));
      continue;
    }
    std::vector<at::Tensor> own;
    for (const std::size_t i : items_of(result, arm))
      if (own.size() < count) own.push_back(result.figures[i].features);
    std::vector<at::Tensor> real(result.real.begin(), result.real.begin() + static_cast<std::ptrdiff_t>(count));
    const auto lacking = [](const std::vector<at::Tensor>& set) {
      return std::any_of(set.begin(), set.end(), [](const at::Tensor& t) { return !t.defined(); });
    };
    if (lacking(own) || lacking(real)) {
      out.of_arm[arm] = absent(
          base::concat(lacking(real) ? std::string("the real videos") : "arm '" + arm + "'", " hold one that is too short for I3D, which needs 10 frames"));
      continue;
    }
    out.of_arm[arm] = {{"mean", number_or_null(frechet_distance(at::stack(own), at::stack(real)))}, {"low", nullptr}, {"high", nullptr}, {"n", count}};
  }
  return out;
}

std::string cell(const json& value) {
  if (value.is_null()) return "";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

std::string preview_name(const EvaluationItem& item) { return "evaluate-" + item.video_key.substr(0, 16) + ".mp4"; }

std::string arm_label(const std::string& arm) {
  static const std::map<std::string, std::string> labels{{"base", "Base model"}, {"stage1", "After reconstruction"}, {"hpo", "After HPO"}};
  const auto label = labels.find(arm);
  return label == labels.end() ? arm : label->second;
}

std::filesystem::path video_file(const json& evaluation, const json& video, const std::filesystem::path& previews) {
  if (!video.contains("file")) return previews / video.at("preview").get<std::string>();
  const auto& arms = evaluation.at("arms");
  const auto arm = std::find_if(arms.begin(), arms.end(), [&](const json& entry) { return entry.at("arm") == video.at("arm"); });
  base::check_invariant(arm != arms.end(), "evaluation.json: a video of arm ", video.at("arm").dump(), ", which is not among its arms");
  return std::filesystem::path(arm->at("folder").get<std::string>()) / video.at("file").get<std::string>();
}

const std::vector<std::string>& video_metrics() {
  static const std::vector<std::string> names{"face_similarity", "dynamic_degree", "dynamic", "temporal_consistency",
                                              "semantic",        "clip_t",         "clip_i",  "frames_with_face"};
  return names;
}

std::int64_t PromptList::index_of(const std::string& prompt, const models::text::SubjectWords& subject) {
  for (std::size_t i = 0; i < templates; ++i)
    if (prompt == prompts[i] || prompt == render_prompt(prompts[i], subject, true) || prompt == render_prompt(prompts[i], subject, false))
      return static_cast<std::int64_t>(i);
  const auto it = std::find(prompts.begin() + static_cast<std::ptrdiff_t>(templates), prompts.end(), prompt);
  if (it == prompts.end()) {
    prompts.push_back(prompt);
    return static_cast<std::int64_t>(prompts.size()) - 1;
  }
  return it - prompts.begin();
}

std::size_t frechet_count(const std::vector<std::size_t>& counts, std::size_t real) {
  for (const std::size_t count : counts) real = std::min(real, count);
  return counts.empty() ? 0 : real;
}

json summarise(const EvaluationResult& result) {
  base::check_invariant(result.items.size() == result.figures.size(), "summarise: ", result.items.size(), " videos and ", result.figures.size(), " figures");
  json evaluation{{"person", result.person},
                  {"noise_seed", result.noise_seed},
                  {"prompts", result.prompts},
                  {"video", result.video},
                  {"interval", "95% percentile bootstrap of the mean over videos; prompts are drawn with all their videos, of a single prompt its videos"},
                  {"notes", json::array()},
                  {"arms", json::array()},
                  {"by_prompt", json::array()},
                  {"videos", json::array()}};
  for (std::size_t i = 0; i < result.items.size(); ++i) {
    const auto& item = result.items[i];
    json video{{"arm", item.arm},   {"prompt", item.prompt},          {"sample", item.sample},
               {"text", item.text}, {"size", result.figures[i].size}, {"metrics", result.figures[i].metrics}};
    if (item.file.empty()) {
      video["preview"] = preview_name(item);
    } else {
      video["file"] = item.file.filename().string();
    }
    evaluation["videos"].push_back(std::move(video));
  }
  const Frechet frechet = frechet_of(result);
  evaluation["frechet"] = frechet.about;
  for (const auto& arm : result.arms) {
    const auto items = items_of(result, arm);
    json metrics = metrics_of(result, items);
    metrics[result.frechet] = frechet.of_arm.at(arm);
    json row{{"arm", arm}, {"videos", items.size()}, {"metrics", metrics}};
    if (result.folders.contains(arm)) row["folder"] = result.folders.at(arm);
    evaluation["arms"].push_back(std::move(row));
    std::map<std::int64_t, std::vector<std::size_t>> by_prompt;
    for (const std::size_t i : items) by_prompt[result.items[i].prompt].push_back(i);
    for (const auto& [prompt, indices] : by_prompt)
      evaluation["by_prompt"].push_back({{"arm", arm}, {"prompt", prompt}, {"metrics", metrics_of(result, indices)}});
    std::set<std::string> sizes;
    for (const std::size_t i : items)
      if (result.figures[i].size != result.video) sizes.insert(size_in_words(result.figures[i].size));
    if (!sizes.empty())
      evaluation["notes"].push_back(base::concat("Arm '", arm, "' has videos of another size or rate (", *sizes.begin(),
                                                 sizes.size() > 1 ? base::concat(" and ", sizes.size() - 1, " more") : "", ") than this run (",
                                                 size_in_words(result.video),
                                                 "): its dynamic degree, in pixels a sampled frame, does not compare with the others'; VBench's share does."));
  }
  return evaluation;
}

std::string evaluation_csv(const json& evaluation) {
  std::vector<std::string> header{"arm", "prompt", "sample", "file", "height", "width", "frames", "fps"};
  header.insert(header.end(), video_metrics().begin(), video_metrics().end());
  std::string text = storage::csv_row(header);
  for (const auto& video : evaluation.at("videos")) {
    const json& size = video.at("size");
    std::vector<std::string> row{cell(video.at("arm")), cell(evaluation.at("prompts").at(video.at("prompt").get<std::size_t>())), cell(video.at("sample")),
                                 video.contains("file") ? cell(video.at("file")) : "previews/" + cell(video.at("preview"))};
    for (const char* key : {"height", "width", "frames", "fps"}) row.push_back(cell(size.at(key)));
    for (const auto& name : video_metrics()) row.push_back(cell(video.at("metrics").at(name)));
    text += storage::csv_row(row);
  }
  return text;
}

std::string evaluation_summary_csv(const json& evaluation) {
  std::string text = storage::csv_row({"arm", "prompt", "metric", "mean", "low", "high", "n"});
  const auto rows = [&](const std::string& arm, const std::string& prompt, const json& metrics) {
    for (const auto& [name, e] : metrics.items())
      text += storage::csv_row({arm, prompt, name, cell(e.at("mean")), cell(e.at("low")), cell(e.at("high")), cell(e.at("n"))});
  };
  for (const auto& arm : evaluation.at("arms")) rows(arm.at("arm"), "all", arm.at("metrics"));
  for (const auto& entry : evaluation.at("by_prompt"))
    rows(entry.at("arm"), evaluation.at("prompts").at(entry.at("prompt").get<std::size_t>()), entry.at("metrics"));
  return text;
}

}  // namespace magicid::evaluation
