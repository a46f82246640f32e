// All scored candidates: the scatter with its fronts, and the list that a click in it leads to.
#include <algorithm>
#include <cmath>

#include "preference/fronts.h"
#include "report/plot.h"
#include "report/sections.h"

namespace magicid::report {
namespace {

using preference::Source;

constexpr Source sources[] = {Source::still, Source::initial, Source::tuned};

Marker mark_of(Source source) { return source == Source::still ? Marker::square : source == Source::initial ? Marker::triangle : Marker::circle; }

bool placed(const ShownCandidate& candidate) { return std::isfinite(candidate.normalised.identity) && std::isfinite(candidate.normalised.dynamics); }

// A front's edge in the plane of the drawing: with semantics as a third reward, a line through all of its members would run to and fro.
// `upper`: towards high rewards; else towards low ones.
ScatterLine front_edge(const ReportData& data, int front, std::string label, bool upper) {
  std::vector<std::vector<double>> places;
  for (const ShownCandidate& candidate : data.candidates) {
    if (candidate.front != front || !placed(candidate)) continue;
    const double sign = upper ? 1 : -1;
    places.push_back({sign * candidate.normalised.dynamics, sign * candidate.normalised.identity});
  }
  ScatterLine line{.label = std::move(label), .dashed = !upper};
  const std::vector<int> layers = preference::non_dominated_fronts(places);
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (layers[i] == 0) line.points.emplace_back(std::abs(places[i][0]), std::abs(places[i][1]));
  }
  std::sort(line.points.begin(), line.points.end());
  return line;
}

std::string tip_of(const Page& page, std::size_t i) {
  const ShownCandidate& candidate = page.data.candidates[i];
  std::string tip = page.short_names[i] + ", " + source_in_words(candidate.source);
  if (!candidate.prompt.empty()) tip += "\n" + candidate.prompt;
  tip += "\nidentity " + format_fixed(candidate.normalised.identity, 1) + ", dynamics " + format_fixed(candidate.normalised.dynamics, 1) + ", semantics " +
         format_fixed(candidate.normalised.semantics, 1);
  if (candidate.front >= 0) tip += "\nfront " + std::to_string(candidate.front + 1);
  if (!candidate.rejected.empty()) tip += "\nnot used: " + candidate.rejected;
  return tip;
}

Html legend(const ReportData& data, int last_front) {
  Html out;
  out << "<ul class=\"legend column\">";
  for (const Source source : sources) {
    const auto count =
        std::count_if(data.candidates.begin(), data.candidates.end(), [&](const ShownCandidate& candidate) { return candidate.source == source; });
    if (count == 0) continue;
    out << "<li>" << legend_mark(mark_of(source), group_of(source), false) << "<span><strong>" << text(preference::to_string(source)) << "</strong> "
        << text(source_in_words(source)) << " <span class=\"quiet\">(" << count << ")</span></span></li>";
  }
  if (std::any_of(data.candidates.begin(), data.candidates.end(),
                  [](const ShownCandidate& candidate) { return !candidate.rejected.empty() && placed(candidate); })) {
    out << "<li>" << legend_mark(Marker::circle, 2, true) << "<span>hollow: took no part in the selection</span></li>";
  }
  if (last_front >= 0) {
    out << "<li>" << legend_mark(Marker::circle, 2, false, true) << "<span>outlined: on front 1, the best</span></li>"
        << "<li><svg class=\"key\" viewBox=\"0 0 24 10\" width=\"24\" height=\"10\" aria-hidden=\"true\"><path class=\"front\" d=\"M1 5H23\" "
           "/></svg><span>edge of front 1</span></li>";
  }
  if (last_front > 0) {
    out << "<li><svg class=\"key\" viewBox=\"0 0 24 10\" width=\"24\" height=\"10\" aria-hidden=\"true\"><path class=\"front dashed\" d=\"M1 5H23\" "
           "/></svg><span>edge of front "
        << last_front + 1 << ", the last</span></li>";
  }
  return out << "</ul>";
}

Html reward_row(const Html& name, double raw, double normalised) {
  Html out;
  out << "<tr><th scope=\"row\">" << name << "</th><td>" << text(format_number(raw)) << "</td><td>" << text(format_fixed(normalised, 1)) << "</td></tr>";
  return out;
}

Html candidate_card(Page& page, std::size_t i) {
  const ShownCandidate& candidate = page.data.candidates[i];
  Html out;
  out << "<article class=\"card candidate\" id=\"c" << i << "\"><h4>"
      << legend_mark(mark_of(candidate.source), group_of(candidate.source), !candidate.rejected.empty()) << " " << text(page.short_names[i])
      << " <span class=\"quiet\">" << text(source_in_words(candidate.source));
  if (candidate.front >= 0) out << ", front " << candidate.front + 1;
  out << "</span></h4>";
  if (!candidate.prompt.empty()) out << "<p class=\"prompt\" dir=\"auto\">" << text(candidate.prompt) << "</p>";
  if (!candidate.rejected.empty()) out << "<p class=\"rejected\">Not used: " << text(candidate.rejected) << "</p>";
  out << page.shelf.video(candidate.preview, page.short_names[i] + ", " + source_in_words(candidate.source), false)
      << "<table class=\"figures\"><thead><tr><th scope=\"col\">Reward</th><th scope=\"col\">raw</th><th scope=\"col\">1 to 10</th></tr></thead><tbody>"
      << reward_row("Identity", candidate.raw.identity, candidate.normalised.identity)
      << reward_row("Dynamics", candidate.raw.dynamics, candidate.normalised.dynamics)
      << reward_row("Semantics", candidate.raw.semantics, candidate.normalised.semantics) << "</tbody></table><p class=\"key-line\"><code>"
      << text(candidate.key) << "</code></p></article>";
  return out;
}

}  // namespace

std::string source_in_words(Source source) {
  return source == Source::still ? "still of a reference" : source == Source::initial ? "initial model" : "fine-tuned model";
}

int group_of(Source source) { return source == Source::still ? 0 : source == Source::initial ? 1 : 2; }

void reserve_candidates(Page& page) {
  for (const ShownCandidate& candidate : page.data.candidates) page.shelf.reserve({&candidate.preview});
}

Html candidates_section(Page& page) {
  const ReportData& data = page.data;
  Html out = section_start("candidates", "Candidates and fronts");
  if (data.candidates.empty()) return out << empty_state("No candidates have been scored yet: they appear here after the stage `score`.") << section_end();

  Scatter scatter{.x_label = "dynamics: how much it moves", .y_label = "identity: how much it looks like the person", .low = 0.5, .high = 10.5};
  int last_front = -1;
  for (std::size_t i = 0; i < data.candidates.size(); ++i) {
    const ShownCandidate& candidate = data.candidates[i];
    last_front = std::max(last_front, candidate.front);
    if (!placed(candidate)) continue;
    scatter.points.push_back({.x = candidate.normalised.dynamics,
                              .y = candidate.normalised.identity,
                              .mark = mark_of(candidate.source),
                              .group = group_of(candidate.source),
                              .hollow = !candidate.rejected.empty(),
                              .outlined = candidate.front == 0,
                              .tip = tip_of(page, i),
                              .target = "c" + std::to_string(i)});
  }
  if (last_front > 0) scatter.lines.push_back(front_edge(data, last_front, "front " + std::to_string(last_front + 1) + ", the last", false));
  if (last_front >= 0) scatter.lines.push_back(front_edge(data, 0, "front 1, the best", true));
  scatter.description = "Scatter of " + count_of(scatter.points.size(), "candidate", "candidates") +
                        ": identity over dynamics, both normalised to 1 to 10. The list below holds the same figures.";

  out << "<p class=\"lead\">Each sign is one video. Further up it looks more like the person, further right it moves more; choose one to see it.</p>";
  if (scatter.points.empty()) {
    out << empty_state("No candidate has normalised rewards, so there is nothing to draw.");
  } else {
    out << "<div class=\"card beside\"><div>" << draw(scatter) << "</div><div>" << legend(data, last_front)
        << "<p class=\"note\">Fronts come from non-dominated sorting of the videos: no video on front 1 is matched by another in every reward. Semantics "
           "counts too, so some of its members lie inside its edge in this view. "
           "Stills do not move: they stand at the left edge and take no part in the sorting.</p><figure class=\"peek\" id=\"peek\" aria-hidden=\"true\"><video "
           "muted=\"\" loop=\"\" playsinline=\"\"></video></figure></div></div>";
  }
  const auto rejected = static_cast<std::size_t>(
      std::count_if(data.candidates.begin(), data.candidates.end(), [](const ShownCandidate& candidate) { return !candidate.rejected.empty(); }));
  const std::size_t unplaced = data.candidates.size() - scatter.points.size();
  if (rejected > 0 || unplaced > 0) {
    out << "<p>" << text(count_of(rejected, "candidate", "candidates")) << " took no part in the selection; the reasons stand in the list.";
    if (unplaced > 0) out << " " << text(count_of(unplaced, "candidate has", "candidates have")) << " no normalised rewards and cannot be drawn.";
    out << "</p>";
  }
  out << "<details class=\"more\" id=\"all-candidates\"><summary>List " << (data.candidates.size() == 1 ? Html("the candidate") : Html("all "))
      << (data.candidates.size() == 1 ? Html() : text(std::to_string(data.candidates.size()) + " candidates")) << "</summary><div class=\"grid candidates\">";
  for (std::size_t i = 0; i < data.candidates.size(); ++i) out << candidate_card(page, i);
  return out << "</div></details>" << section_end();
}

}  // namespace magicid::report
