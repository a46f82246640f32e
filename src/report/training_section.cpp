// Curves of the training stages. Metric names are those of training/step_loop.cpp and objectives/.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

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
      {.title = "Implicit reward accuracy", .explanation = "How often the trained model prefers the winner more than the reference does.", .curves = {{"implicit_reward_accuracy", "accuracy"}},
       .low = -0.02, .high = 1.02, .level = 0.5, .level_label = "chance"},
      {.title = "Reward margin", .explanation = "Implicit reward of the winner minus that of the loser.", .curves = {{"reward_margin", "margin"}}, .level = 0, .level_label = "no preference"},
      {.title = "Implicit rewards", .explanation = "The winner's should rise. If both fall, the model forgets winners too: lower beta or the learning rate.",
       .curves = {{"winner_reward", "winner", Ink::winner}, {"loser_reward", "loser", Ink::loser, true}}, .level = 0, .level_label = "reference"},
      {.title = "Error on winners", .explanation = "Below the reference: winners have become more likely.",
       .curves = {{"reference_winner_error", "frozen reference", Ink::second, true}, {"winner_error", "trained model", Ink::winner}}},
      {.title = "Error on losers", .explanation = "Above the reference: losers have become less likely.",
       .curves = {{"reference_loser_error", "frozen reference", Ink::second, true}, {"loser_error", "trained model", Ink::loser}}},
      {.title = "Gradient factor", .explanation = "What a pair's gradient is multiplied by, between 0 and beta: near 0, pairs teach nothing more.", .curves = {{"gradient_factor", "gradient factor"}}, .low = 0},
      {.title = "Saturation", .explanation = "Near 1, pairs hardly train any more: beta is large for this model, or training is done.", .curves = {{"saturation", "saturation"}}, .level = 0, .level_label = "no preference"},
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

Html stage_block(const TrainingStage& stage) {
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
    CurveChart chart{.title = known.title, .explanation = known.explanation, .y_label = known.y_label, .steps = steps, .low = known.low, .high = known.high, .level = known.level, .level_label = known.level_label};
    for (const KnownCurve& curve : known.curves) {
      left.erase(curve.metric);
      auto values = values_of(stage, curve.metric);
      if (any_finite(values)) chart.curves.push_back({.label = curve.label, .ink = curve.ink, .dashed = curve.dashed, .smooth = known.smooth, .values = std::move(values)});
    }
    if (!chart.curves.empty()) main << draw(chart);
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
  if (!main.empty()) out << "<div class=\"grid charts\">" << main << "</div>";
  if (extra > 0) out << "<details class=\"more\"><summary>Show " << text(count_of(extra, "more curve", "more curves")) << "</summary><div class=\"grid charts\">" << more << "</div></details>";
  return out;
}

}  // namespace

Html training_section(Page& page) {
  Html out = section_start("training", "Training");
  if (page.data.training.empty()) out << empty_state("No training metrics have been written yet: they appear here after the stages `reconstruct` and `optimize`.");
  for (const TrainingStage& stage : page.data.training) out << stage_block(stage);
  return out << section_end();
}

}  // namespace magicid::report
