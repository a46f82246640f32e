// The same prompts for every arm (before, after reconstruction, after HPO): figures, and videos side by side.
#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "report/plot.h"
#include "report/sections.h"

namespace magicid::report {
namespace {

std::string label_of(const EvaluationMetric& metric) { return metric.label.empty() ? metric.name : metric.label; }
std::string label_of(const EvaluationArm& arm) { return arm.label.empty() ? arm.name : arm.label; }

// Index of the arm whose mean is better than every other's with intervals that do not meet, -1 when there is none: a difference inside the
// intervals is no result to point at.
int best_arm(const Evaluation& evaluation, std::size_t metric) {
  const bool higher = evaluation.metrics[metric].higher_is_better;
  // Without intervals nothing can be said: a comparison with what is not a number is false.
  const auto beats = [&](const Estimate& a, const Estimate& b) { return higher ? a.low > b.high : a.high < b.low; };
  for (std::size_t i = 0; i < evaluation.arms.size(); ++i) {
    const Estimate& own = evaluation.arms[i].estimates[metric];
    int others = 0, beaten = 0;
    for (std::size_t j = 0; j < evaluation.arms.size(); ++j) {
      const Estimate& other = evaluation.arms[j].estimates[metric];
      if (j == i || !std::isfinite(other.mean)) continue;
      ++others;
      beaten += std::isfinite(own.mean) && beats(own, other);
    }
    if (others > 0 && beaten == others) return static_cast<int>(i);
  }
  return -1;
}

Html figures_table(const Evaluation& evaluation) {
  Html out;
  out << "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Evaluation figures\"><table class=\"evaluation\"><thead><tr><th "
         "scope=\"col\">Arm</th>";
  for (const EvaluationMetric& metric : evaluation.metrics) {
    out << "<th scope=\"col\">" << text(label_of(metric)) << "<span class=\"quiet\">"
        << (metric.higher_is_better ? Html("higher is better") : Html("lower is better")) << "</span></th>";
  }
  out << "</tr></thead><tbody>";
  for (std::size_t i = 0; i < evaluation.arms.size(); ++i) {
    const EvaluationArm& arm = evaluation.arms[i];
    out << "<tr><th scope=\"row\"><span class=\"dot a" << i % 4 << "\"></span>" << text(label_of(arm));
    if (arm.videos > 0) out << "<span class=\"quiet\">" << text(count_of(static_cast<std::size_t>(arm.videos), "video", "videos")) << "</span>";
    out << "</th>";
    for (std::size_t m = 0; m < evaluation.metrics.size(); ++m) {
      const Estimate& estimate = arm.estimates[m];
      const bool best = best_arm(evaluation, m) == static_cast<int>(i);
      out << "<td>" << (best ? Html("<strong>") : Html("<span>")) << text(format_number(estimate.mean))
          << (best ? Html("</strong><span class=\"tag best\">best</span>") : Html("</span>"));
      if (std::isfinite(estimate.low) && std::isfinite(estimate.high)) {
        out << "<span class=\"quiet\">" << text(format_number(estimate.low)) << " to " << text(format_number(estimate.high)) << "</span>";
      }
      out << "</td>";
    }
    out << "</tr>";
  }
  return out << "</tbody></table></div>";
}

// One row for each prompt and arm, under a summary that opens it.
Html prompts_table(const Evaluation& evaluation) {
  if (evaluation.by_prompt.empty()) return {};
  std::vector<std::size_t> shown;
  for (std::size_t m = 0; m < evaluation.metrics.size(); ++m) {
    if (std::any_of(evaluation.by_prompt.begin(), evaluation.by_prompt.end(), [&](const PromptEstimates& row) { return std::isfinite(row.estimates[m].mean); }))
      shown.push_back(m);
  }
  Html out;
  out << "<details class=\"more\"><summary>Figures of every prompt</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Figures of every "
         "prompt\"><table class=\"evaluation\"><thead><tr>"
      << "<th scope=\"col\">Prompt</th><th scope=\"col\">Arm</th>";
  for (const std::size_t m : shown) out << "<th scope=\"col\">" << text(label_of(evaluation.metrics[m])) << "</th>";
  out << "</tr></thead><tbody>";
  std::vector<std::string> prompts;
  for (const PromptEstimates& row : evaluation.by_prompt) {
    if (std::find(prompts.begin(), prompts.end(), row.prompt) == prompts.end()) prompts.push_back(row.prompt);
  }
  for (const std::string& prompt : prompts) {
    bool first = true;
    for (std::size_t i = 0; i < evaluation.arms.size(); ++i) {
      const auto row = std::find_if(evaluation.by_prompt.begin(), evaluation.by_prompt.end(),
                                    [&](const PromptEstimates& r) { return r.prompt == prompt && r.arm == evaluation.arms[i].name; });
      if (row == evaluation.by_prompt.end()) continue;
      out << "<tr><th scope=\"row\" dir=\"auto\">" << (first ? text(prompt) : Html()) << "</th><td><span class=\"dot a" << i % 4 << "\"></span>"
          << text(label_of(evaluation.arms[i])) << "</td>";
      first = false;
      for (const std::size_t m : shown) {
        const Estimate& estimate = row->estimates[m];
        out << "<td><span>" << text(format_number(estimate.mean)) << "</span>";
        if (std::isfinite(estimate.low) && std::isfinite(estimate.high))
          out << "<span class=\"quiet\">" << text(format_number(estimate.low)) << " to " << text(format_number(estimate.high)) << "</span>";
        out << "</td>";
      }
      out << "</tr>";
    }
  }
  return out << "</tbody></table></div></details>";
}

Html interval_charts(const Evaluation& evaluation) {
  Html out;
  out << "<div class=\"grid intervals\">";
  for (std::size_t m = 0; m < evaluation.metrics.size(); ++m) {
    const EvaluationMetric& metric = evaluation.metrics[m];
    std::vector<IntervalRow> rows;
    std::string description = label_of(metric) + ":";
    for (std::size_t i = 0; i < evaluation.arms.size(); ++i) {
      const Estimate& estimate = evaluation.arms[i].estimates[m];
      rows.push_back(
          {.label = label_of(evaluation.arms[i]), .mean = estimate.mean, .low = estimate.low, .high = estimate.high, .group = static_cast<int>(i % 4)});
      description += " " + rows.back().label + " " + format_number(estimate.mean) + ";";
    }
    const Html drawing = draw_intervals(description, rows);
    out << "<figure class=\"chart\"><figcaption><h4>" << text(label_of(metric)) << "</h4></figcaption>"
        << (drawing.empty() ? empty_state("No values.") : drawing);
    if (!metric.explanation.empty()) out << "<p class=\"note\">" << text(metric.explanation) << "</p>";
    out << "</figure>";
  }
  return out << "</div>";
}

std::vector<std::string> prompts_of(const Evaluation& evaluation) {
  std::vector<std::string> out;
  for (const EvaluationSample& sample : evaluation.samples) {
    if (std::find(out.begin(), out.end(), sample.prompt) == out.end()) out.push_back(sample.prompt);
  }
  return out;
}

// One for each arm; null where the arm has no sample of this prompt.
std::vector<const EvaluationSample*> row_of(const Evaluation& evaluation, const std::string& prompt) {
  std::vector<const EvaluationSample*> out(evaluation.arms.size(), nullptr);
  for (std::size_t i = 0; i < evaluation.arms.size(); ++i) {
    for (const EvaluationSample& sample : evaluation.samples) {
      if (!out[i] && sample.prompt == prompt && sample.arm == evaluation.arms[i].name) out[i] = &sample;
    }
  }
  return out;
}

Html prompt_row(Page& page, const std::string& prompt, bool autoplay) {
  const Evaluation& evaluation = page.data.evaluation;
  const auto row = row_of(evaluation, prompt);
  Html out;
  out << "<article class=\"card comparison\"><h4 class=\"prompt\" dir=\"auto\">" << text(prompt) << "</h4><div class=\"arms\">";
  for (std::size_t i = 0; i < row.size(); ++i) {
    out << "<figure class=\"side\"><figcaption><span class=\"dot a" << i % 4 << "\"></span>" << text(label_of(evaluation.arms[i])) << "</figcaption>";
    if (!row[i]) {
      out << "<p class=\"novideo\">No sample of this prompt.</p></figure>";
      continue;
    }
    out << page.shelf.video(row[i]->video, label_of(evaluation.arms[i]) + ": " + prompt, autoplay) << "<dl class=\"values\">";
    for (std::size_t m = 0; m < evaluation.metrics.size(); ++m) {
      if (!std::isfinite(row[i]->values[m])) continue;
      out << "<div><dt>" << text(label_of(evaluation.metrics[m])) << "</dt><dd>" << text(format_number(row[i]->values[m])) << "</dd></div>";
    }
    out << "</dl></figure>";
  }
  return out << "</div></article>";
}

}  // namespace

void reserve_evaluation(Page& page) {
  for (const std::string& prompt : prompts_of(page.data.evaluation)) {
    std::vector<const Media*> together;
    for (const EvaluationSample* sample : row_of(page.data.evaluation, prompt)) {
      if (sample) together.push_back(&sample->video);
    }
    page.shelf.reserve(together);
  }
}

Html evaluation_section(Page& page) {
  constexpr std::size_t playing_without_scripts = 4, shown = 8;
  const Evaluation& evaluation = page.data.evaluation;
  for (const EvaluationArm& arm : evaluation.arms) {
    base::check_invariant(arm.estimates.size() == evaluation.metrics.size(), "report: arm '", arm.name, "' has ", arm.estimates.size(), " estimates for ",
                          evaluation.metrics.size(), " metrics");
  }
  for (const EvaluationSample& sample : evaluation.samples) {
    base::check_invariant(sample.values.size() == evaluation.metrics.size(), "report: a sample of arm '", sample.arm, "' has ", sample.values.size(),
                          " values for ", evaluation.metrics.size(), " metrics");
  }
  for (const PromptEstimates& row : evaluation.by_prompt) {
    base::check_invariant(row.estimates.size() == evaluation.metrics.size(), "report: a prompt's row of arm '", row.arm, "' has ", row.estimates.size(),
                          " estimates for ", evaluation.metrics.size(), " metrics");
  }
  Html out = section_start("evaluation", "Result");
  if (evaluation.arms.empty())
    return out << empty_state("Nothing has been evaluated yet: figures and videos appear here after the stage `evaluate`.") << section_end();
  const auto prompts = prompts_of(evaluation);
  out << "<p class=\"lead\">The same prompts for every arm.</p>";
  if (!evaluation.metrics.empty()) {
    out << "<div class=\"card\">" << figures_table(evaluation) << interval_charts(evaluation);
    if (!evaluation.interval.empty())
      out << "<p class=\"note\">Dots are means, lines the " << text(evaluation.interval) << "; from top to bottom in the order of the table.</p>";
    for (const std::string& note : evaluation.notes) out << "<p class=\"note\">" << text(note) << "</p>";
    out << prompts_table(evaluation) << "</div>";
  }
  if (prompts.empty()) return out << empty_state("No sample videos were kept.") << section_end();
  out << "<h3>Side by side <span class=\"count\">" << prompts.size() << "</span></h3><div class=\"grid comparisons\">";
  for (std::size_t i = 0; i < std::min(shown, prompts.size()); ++i) out << prompt_row(page, prompts[i], i < playing_without_scripts);
  out << "</div>";
  if (prompts.size() > shown) {
    out << "<details class=\"more\"><summary>Show " << text(count_of(prompts.size() - shown, "more prompt", "more prompts"))
        << "</summary><div class=\"grid comparisons\">";
    for (std::size_t i = shown; i < prompts.size(); ++i) out << prompt_row(page, prompts[i], false);
    out << "</div></details>";
  }
  return out << section_end();
}

}  // namespace magicid::report
