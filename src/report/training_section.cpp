// Curves of the training stages. Metric names are those of training/step_loop.cpp and objectives/.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>
#include <utility>

#include "report/plot.h"
#include "report/sections.h"

namespace magicid::report {
namespace {

struct KnownCurve {
  std::string metric, label;
  Ink ink = Ink::plain;
  bool dashed = false;
};

struct KnownChart {
  std::string title, explanation, y_label;
  std::vector<KnownCurve> curves;
  std::optional<double> low, high, level;
  std::string level_label;
  bool smooth = true;
};

// In the order of the page.
std::vector<KnownChart> known_charts(bool preference_stage) {
  KnownChart loss{.title = "Loss", .curves = {{"loss", "loss"}}};
  if (preference_stage) {
    loss.explanation = "Starts at log 2, where winner and loser are preferred equally.";
    loss.level = std::numbers::ln2;
    loss.level_label = "log 2: no preference";
  } else {
    loss.explanation = "Squared error of the velocity. It differs between noise levels, so only the smoothed line tells of progress.";
  }
  return {
      loss,
      {.title = "Implicit reward accuracy",
       .explanation = "How often the trained model prefers the winner more than the reference does.",
       .curves = {{"implicit_reward_accuracy", "accuracy"}},
       .low = -0.02,
       .high = 1.02,
       .level = 0.5,
       .level_label = "chance"},
      {.title = "Reward margin",
       .explanation = "Implicit reward of the winner minus that of the loser.",
       .curves = {{"reward_margin", "margin"}},
       .level = 0,
       .level_label = "no preference"},
      {.title = "Implicit rewards",
       .explanation = "The winner's should rise. If both fall, the model forgets winners too: lower beta or the learning rate.",
       .curves = {{"winner_reward", "winner", Ink::winner}, {"loser_reward", "loser", Ink::loser, true}},
       .level = 0,
       .level_label = "reference"},
      {.title = "Error on winners",
       .explanation = "Below the reference: winners have become more likely.",
       .curves = {{"reference_winner_error", "frozen reference", Ink::second, true}, {"winner_error", "trained model", Ink::winner}}},
      {.title = "Error on losers",
       .explanation = "Above the reference: losers have become less likely.",
       .curves = {{"reference_loser_error", "frozen reference", Ink::second, true}, {"loser_error", "trained model", Ink::loser}}},
      {.title = "Gradient factor",
       .explanation = "What a pair's gradient is multiplied by, between 0 and beta: near 0, pairs teach nothing more.",
       .curves = {{"gradient_factor", "gradient factor"}},
       .low = 0},
      {.title = "Saturation",
       .explanation = "Near 1, pairs hardly train any more: beta is large for this model, or training is done.",
       .curves = {{"saturation", "saturation"}},
       .level = 0,
       .level_label = "no preference"},
      {.title = "Gradient norm", .curves = {{"gradient_norm", "gradient norm"}}},
      {.title = "Learning rate", .curves = {{"learning_rate", "learning rate"}}, .low = 0, .smooth = false},
  };
}

std::vector<double> values_of(const TrainingStage& stage, const std::string& metric) {
  std::vector<double> out;
  for (const MetricRecord& record : stage.records) {
    const auto found = record.values.find(metric);
    out.push_back(found == record.values.end() ? unknown : found->second);
  }
  return out;
}

bool any_finite(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
}

std::string heading_of(const std::string& stage) {
  if (stage == "reconstruct") return "Reconstruction: learning the face";
  if (stage == "optimize") return "Hybrid preference optimization";
  return stage;
}

// Mean rewards of the previews, beside the loss.
Html preview_charts(const TrainingStage& stage) {
  struct Reward {
    const char *title, *explanation;
    double ShownRewards::* value;
  };
  static const Reward rewards[] = {{"Identity of previews", "Mean R_id: how much the faces resemble the photos.", &ShownRewards::identity},
                                   {"Dynamics of previews", "Mean R_dy, in pixels of optical flow.", &ShownRewards::dynamics},
                                   {"Semantics of previews", "Mean R_sem: how well the videos fit their prompts.", &ShownRewards::semantics}};
  Html out;
  std::vector<double> steps;
  for (const ShownPreviewRound& round : stage.previews) steps.push_back(static_cast<double>(round.step));
  for (const Reward& reward : rewards) {
    Curve curve{.label = reward.title, .smooth = false};
    for (const ShownPreviewRound& round : stage.previews) curve.values.push_back(round.mean.*reward.value);
    if (any_finite(curve.values)) out << draw(CurveChart{.title = reward.title, .explanation = reward.explanation, .steps = steps, .curves = {curve}});
  }
  return out;
}

// At most this many steps side by side: the first, the last, the taken one, and others evenly between.
std::vector<const ShownPreviewRound*> shown_rounds(const TrainingStage& stage) {
  constexpr std::size_t most = 5;
  const std::size_t count = stage.previews.size();
  std::set<std::size_t> chosen;
  for (std::size_t i = 0; i < std::min(most, count); ++i) chosen.insert(count <= most ? i : i * (count - 1) / (most - 1));
  for (std::size_t i = 0; i < count; ++i) {
    if (stage.previews[i].step == stage.taken) chosen.insert(i);
  }
  std::vector<const ShownPreviewRound*> out;
  for (const std::size_t i : chosen) out.push_back(&stage.previews[i]);
  return out;
}

// One row for each prompt, the steps side by side.
Html preview_videos(Page& page, const TrainingStage& stage) {
  const auto rounds = shown_rounds(stage);
  std::vector<std::string> prompts;
  for (const ShownPreviewRound* round : rounds) {
    for (const ShownPreview& video : round->videos) {
      if (std::find(prompts.begin(), prompts.end(), video.prompt) == prompts.end()) prompts.push_back(video.prompt);
    }
  }
  Html out;
  out << "<details class=\"more\"><summary>Show previews of " << text(count_of(rounds.size(), "step", "steps")) << "</summary><div class=\"grid comparisons\">";
  for (const std::string& prompt : prompts) {
    out << "<article class=\"card comparison\"><h4 class=\"prompt\" dir=\"auto\">" << text(prompt) << "</h4><div class=\"arms\">";
    for (const ShownPreviewRound* round : rounds) {
      const std::string step = "step " + std::to_string(round->step);
      out << "<figure class=\"side\"><figcaption>" << text(step) << (round->step == stage.taken ? Html("<span class=\"tag best\">taken</span>") : Html())
          << "</figcaption>";
      const auto found = std::find_if(round->videos.begin(), round->videos.end(), [&](const ShownPreview& video) { return video.prompt == prompt; });
      if (found == round->videos.end()) {
        out << "<p class=\"novideo\">No preview of this prompt.</p></figure>";
        continue;
      }
      out << page.shelf.video(found->video, step + ": " + prompt, false) << "<dl class=\"values\">";
      for (const auto& [label, value] :
           {std::pair("Identity", found->raw.identity), std::pair("Dynamics", found->raw.dynamics), std::pair("Semantics", found->raw.semantics)}) {
        if (std::isfinite(value)) out << "<div><dt>" << text(label) << "</dt><dd>" << text(format_number(value)) << "</dd></div>";
      }
      out << "</dl></figure>";
    }
    out << "</div></article>";
  }
  return out << "</div></details>";
}

Html stage_block(Page& page, const TrainingStage& stage) {
  Html out;
  out << "<h3>" << text(heading_of(stage.name)) << "</h3>";
  if (stage.records.empty()) return out << empty_state("No steps have been recorded in stage `" + stage.name + "`.");
  std::set<std::string> left;
  for (const MetricRecord& record : stage.records) {
    for (const auto& [name, value] : record.values) left.insert(name);
  }
  std::vector<double> steps;
  for (const MetricRecord& record : stage.records) steps.push_back(static_cast<double>(record.step));
  out << "<p class=\"lead\">" << text(count_of(stage.records.size(), "step", "steps")) << " recorded, the last is step " << stage.records.back().step
      << (stage.records.size() >= 40 ? Html(". Faint: every step; strong: smoothed.") : Html(".")) << "</p>";

  Html main, more;
  const bool preference_stage = left.contains("implicit_reward_accuracy");
  for (const KnownChart& known : known_charts(preference_stage)) {
    CurveChart chart{.title = known.title,
                     .explanation = known.explanation,
                     .y_label = known.y_label,
                     .steps = steps,
                     .low = known.low,
                     .high = known.high,
                     .level = known.level,
                     .level_label = known.level_label};
    for (const KnownCurve& curve : known.curves) {
      left.erase(curve.metric);
      auto values = values_of(stage, curve.metric);
      if (any_finite(values))
        chart.curves.push_back({.label = curve.label, .ink = curve.ink, .dashed = curve.dashed, .smooth = known.smooth, .values = std::move(values)});
    }
    if (!chart.curves.empty()) main << draw(chart);
    if (known.title == "Loss") main << preview_charts(stage);
  }
  std::size_t extra = 0;
  for (const std::string& name : left) {
    auto values = values_of(stage, name);
    if (!any_finite(values)) continue;
    std::string title = name;
    std::replace(title.begin(), title.end(), '_', ' ');
    CurveChart chart{.title = title, .steps = steps};
    chart.curves.push_back({.label = title, .values = std::move(values)});
    more << draw(chart);
    ++extra;
  }
  if (stage.taken >= 0) out << "<p class=\"lead\">The result is the adapter of step " << stage.taken << ": " << text(stage.taken_why) << ".</p>";
  if (!main.empty()) out << "<div class=\"grid charts\">" << main << "</div>";
  if (extra > 0)
    out << "<details class=\"more\"><summary>Show " << text(count_of(extra, "more curve", "more curves")) << "</summary><div class=\"grid charts\">" << more
        << "</div></details>";
  if (!stage.previews.empty()) out << preview_videos(page, stage);
  return out;
}

}  // namespace

void reserve_previews(Page& page) {
  for (const TrainingStage& stage : page.data.training) {
    std::map<std::string, std::vector<const Media*>> rows;
    for (const ShownPreviewRound* round : shown_rounds(stage)) {
      for (const ShownPreview& video : round->videos) rows[video.prompt].push_back(&video.video);
    }
    for (const auto& [prompt, together] : rows) page.shelf.reserve(together);
  }
}

Html training_section(Page& page) {
  Html out = section_start("training", "Training");
  if (page.data.training.empty())
    out << empty_state("No training metrics have been written yet: they appear here after the stages `reconstruct` and `optimize`.");
  for (const TrainingStage& stage : page.data.training) out << stage_block(page, stage);
  return out << section_end();
}

}  // namespace magicid::report
