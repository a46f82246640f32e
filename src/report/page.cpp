#include <algorithm>
#include <cmath>
#include <map>

#include "base/errors.h"
#include "report/plot.h"
#include "report/report.h"
#include "report/sections.h"
#include "storage/atomic_file.h"

namespace magicid::report {
namespace {

struct Tile {
  std::string value, label, detail;
};

std::vector<Tile> tiles_of(const Page& page) {
  const ReportData& data = page.data;
  std::vector<Tile> tiles;
  // The headline: what the first metrics were before and are now.
  if (data.evaluation.arms.size() > 1) {
    for (std::size_t m = 0; m < std::min<std::size_t>(2, data.evaluation.metrics.size()); ++m) {
      const EvaluationMetric& metric = data.evaluation.metrics[m];
      const auto& first = data.evaluation.arms.front();
      const auto& last = data.evaluation.arms.back();
      tiles.push_back({format_number(last.estimates[m].mean), metric.label.empty() ? metric.name : metric.label,
                       "from " + format_number(first.estimates[m].mean) + " (" + (first.label.empty() ? first.name : first.label) + ")"});
    }
  }
  if (!data.references.empty()) tiles.push_back({std::to_string(data.references.size()), data.references.size() == 1 ? "reference" : "references", ""});
  if (!data.candidates.empty()) {
    const auto rejected = static_cast<std::size_t>(
        std::count_if(data.candidates.begin(), data.candidates.end(), [](const ShownCandidate& candidate) { return !candidate.rejected.empty(); }));
    tiles.push_back({std::to_string(data.candidates.size()), data.candidates.size() == 1 ? "candidate scored" : "candidates scored",
                     rejected > 0 ? std::to_string(rejected) + " not used" : ""});
  }
  if (!data.pairs.empty()) {
    const auto identity =
        std::count_if(data.pairs.begin(), data.pairs.end(), [](const PreferencePair& pair) { return pair.kind == preference::PairKind::identity; });
    tiles.push_back({std::to_string(data.pairs.size()), data.pairs.size() == 1 ? "preference pair" : "preference pairs",
                     std::to_string(identity) + " identity, " + std::to_string(static_cast<std::ptrdiff_t>(data.pairs.size()) - identity) + " dynamic"});
  }
  for (const TrainingStage& stage : data.training) {
    std::vector<double> accuracy;
    for (const MetricRecord& record : stage.records) {
      const auto found = record.values.find("implicit_reward_accuracy");
      if (found != record.values.end() && std::isfinite(found->second)) accuracy.push_back(found->second);
    }
    if (accuracy.empty()) continue;
    const std::size_t last = std::max<std::size_t>(1, accuracy.size() / 10);
    double sum = 0;
    for (std::size_t i = accuracy.size() - last; i < accuracy.size(); ++i) sum += accuracy[i];
    tiles.push_back(
        {format_fixed(100 * sum / static_cast<double>(last), 0) + " %", "implicit reward accuracy", "mean of the last " + count_of(last, "step", "steps")});
  }
  return tiles;
}

Html head(const ReportData& data) {
  Html out;
  // The policy lets nothing in from outside, whatever stands in a prompt.
  out << "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" /><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
         "img-src data:; media-src data: blob:; "
         "style-src 'unsafe-inline'; script-src 'unsafe-inline'\" /><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" /><meta "
         "name=\"color-scheme\" content=\"light dark\" /><title>"
      << text(data.title);
  if (!data.run_name.empty()) out << " \xC2\xB7 " << text(data.run_name);
  return out << "</title>" << style_sheet() << "</head>";
}

Html masthead(const Page& page) {
  const ReportData& data = page.data;
  Html out;
  out << "<header class=\"top\"><div class=\"inner\"><h1>" << text(data.title) << "</h1><dl class=\"facts\">";
  const auto fact = [&](const Html& name, const std::string& value) {
    if (!value.empty()) out << "<div><dt>" << name << "</dt><dd>" << text(value) << "</dd></div>";
  };
  const std::string& trigger = data.subject.trigger;
  fact("Subject", trigger.empty() ? data.subject.class_noun : data.subject.class_noun.empty() ? trigger : trigger + " " + data.subject.class_noun);
  fact("Run", data.run_name);
  fact("Created", data.created);
  fact("Written by", data.code_version);
  out << "</dl>";
  if (!data.notice.empty()) out << "<p class=\"notice\" role=\"note\"><strong>Please note.</strong> " << text(data.notice) << "</p>";
  const auto tiles = tiles_of(page);
  if (!tiles.empty()) {
    out << "<ul class=\"tiles\">";
    for (const Tile& tile : tiles) {
      out << "<li><span class=\"value\">" << text(tile.value) << "</span><span class=\"label\">" << text(tile.label) << "</span>";
      if (!tile.detail.empty()) out << "<span class=\"quiet\">" << text(tile.detail) << "</span>";
      out << "</li>";
    }
    out << "</ul>";
  }
  return out << "</div></header><nav aria-label=\"Sections\"><div class=\"inner\"><ul><li><a href=\"#references\">References</a></li><li><a "
                "href=\"#evaluation\">Result</a></li><li><a href=\"#pairs\">Pairs</a></li>"
                "<li><a href=\"#candidates\">Candidates</a></li><li><a href=\"#training\">Training</a></li><li><a href=\"#next\">Use it</a></li><li><a "
                "href=\"#settings\">Settings</a></li></ul>"
                "<button type=\"button\" id=\"pause\" hidden=\"\" aria-pressed=\"false\">Pause videos</button></div></nav>";
}

Html footer(const Page& page) {
  const VideoShelf& shelf = page.shelf;
  Html out;
  out << "<footer><div class=\"inner\"><p>This file stands alone: nothing is loaded from a network. ";
  if (shelf.embedded() > 0) out << text(count_of(shelf.embedded(), "video", "videos")) << " embedded (" << text(format_bytes(shelf.embedded_bytes())) << "). ";
  if (shelf.left_out() > 0) {
    out << "<span id=\"left-out\">" << text(count_of(shelf.left_out(), "video was", "videos were")) << " left out to stay within "
        << text(format_bytes(shelf.budget())) << "; find them in the run directory under the names given.</span>";
  }
  return out << "</p></div></footer>";
}

}  // namespace

Html section_start(const Html& id, std::string_view title) {
  Html out;
  out << "<section id=\"" << id << "\" aria-labelledby=\"" << id << "-title\"><h2 id=\"" << id << "-title\">" << text(title) << "</h2>";
  return out;
}

Html section_end() { return "</section>"; }

// `words` between backticks become code.
Html empty_state(std::string_view words) {
  Html out("<p class=\"empty\">");
  bool code = false;
  while (true) {
    const std::size_t tick = words.find('`');
    out << text(words.substr(0, tick));
    if (tick == std::string_view::npos) break;
    out << (code ? Html("</code>") : Html("<code>"));
    code = !code;
    words.remove_prefix(tick + 1);
  }
  if (code) out << "</code>";
  return out << "</p>";
}

Html references_section(Page& page) {
  Html out = section_start("references", "References");
  if (page.data.references.empty())
    return out << empty_state("No references have been prepared yet: they appear here after the stage `prepare`.") << section_end();
  out << "<div class=\"references\">";
  for (const Reference& reference : page.data.references) {
    out << "<figure>" << picture(reference.picture, "Reference picture " + reference.name) << "<figcaption>" << text(reference.name)
        << "</figcaption></figure>";
  }
  return out << "</div>" << section_end();
}

Html adapters_section(Page& page) {
  const ReportData& data = page.data;
  Html out = section_start("next", "Use the adapter");
  if (data.adapters.empty()) out << empty_state("No adapter has been exported yet: it appears here after the stage `export`.");
  if (!data.adapters.empty()) {
    out << "<div class=\"grid adapters\">";
    for (const AdapterFile& adapter : data.adapters) {
      out << "<article class=\"card adapter\"><h3>" << text(adapter.format.empty() ? adapter.name : adapter.format) << "</h3><p><code>" << text(adapter.name)
          << "</code>";
      if (adapter.bytes > 0) out << " <span class=\"quiet\">" << text(format_bytes(adapter.bytes)) << "</span>";
      out << "</p>";
      if (!adapter.description.empty()) out << "<p>" << text(adapter.description) << "</p>";
      if (!adapter.snippet.empty())
        out << "<div class=\"snippet\"><button type=\"button\" class=\"copy\" hidden=\"\">Copy</button><pre tabindex=\"0\"><code>" << text(adapter.snippet)
            << "</code></pre></div>";
      out << "</article>";
    }
    out << "</div>";
  }
  if (!data.next_steps.empty()) {
    out << "<h3>What to do next</h3><ul class=\"notes\">";
    for (const std::string& step : data.next_steps) out << "<li>" << text(step) << "</li>";
    out << "</ul>";
  }
  return out << section_end();
}

Html settings_section(Page& page) {
  const ReportData& data = page.data;
  Html out = section_start("settings", "Settings");
  if (data.settings.empty() && data.settings_yaml.empty()) out << empty_state("The settings of this run were not kept.");
  if (!data.settings.empty()) {
    out << "<details class=\"more\"><summary>Show " << text(count_of(data.settings.size(), "setting", "settings"))
        << "</summary><table class=\"settings\"><thead class=\"hidden\"><tr><th scope=\"col\">Key</th><th scope=\"col\">Value</th></tr></thead><tbody>";
    for (const Setting& setting : data.settings)
      out << "<tr><th scope=\"row\"><code>" << text(setting.key) << "</code></th><td>" << text(setting.value) << "</td></tr>";
    out << "</tbody></table></details>";
  }
  if (!data.settings_yaml.empty()) {
    out << "<details class=\"more\"><summary>Show the configuration file</summary><div class=\"snippet\"><button type=\"button\" class=\"copy\" "
           "hidden=\"\">Copy</button><pre tabindex=\"0\"><code>"
        << text(data.settings_yaml) << "</code></pre></div></details>";
  }
  if (!data.stage_times.empty()) {
    double longest = 0, total = 0;
    for (const StageTime& stage : data.stage_times) {
      if (!std::isfinite(stage.seconds)) continue;
      longest = std::max(longest, stage.seconds);
      total += stage.seconds;
    }
    out << "<h3>Time</h3><table class=\"times\"><thead class=\"hidden\"><tr><th scope=\"col\">Stage</th><th scope=\"col\">Time</th></tr></thead><tbody>";
    for (const StageTime& stage : data.stage_times) {
      const double share = std::isfinite(stage.seconds) && longest > 0 ? std::max(0.0, stage.seconds) / longest * 100 : 0;
      out << "<tr><th scope=\"row\">" << text(stage.name)
          << "</th><td><span class=\"bar\"><span class=\"track\"><span class=\"fill win\" style=\"width:" << coordinate(share)
          << "%\"></span></span><span class=\"num\">" << text(format_duration(stage.seconds)) << "</span></span></td></tr>";
    }
    out << "</tbody></table><p class=\"note\">" << text(format_duration(total)) << " in all.</p>";
  }
  return out << section_end();
}

std::string render_report(const ReportData& data, const ReportOptions& options) {
  VideoShelf shelf(options.video_budget_bytes);
  Page page{.data = data, .options = options, .shelf = shelf};
  std::map<preference::Source, std::size_t> counts;
  for (std::size_t i = 0; i < data.candidates.size(); ++i) {
    const ShownCandidate& candidate = data.candidates[i];
    base::check_invariant(page.candidates.emplace(candidate.key, i).second, "report: the candidate ", candidate.key, " appears twice");
    page.short_names.push_back(preference::to_string(candidate.source) + " " + std::to_string(++counts[candidate.source]));
  }
  reserve_evaluation(page);
  reserve_pairs(page);
  reserve_previews(page);
  reserve_candidates(page);
  // Checked and drawn before the head, which sums the sections up.
  const Html references = references_section(page), evaluation = evaluation_section(page), pairs = pairs_section(page), candidates = candidates_section(page),
             training = training_section(page), adapters = adapters_section(page), settings = settings_section(page);
  Html out = head(data);
  out << "<body><a class=\"skip\" href=\"#main\">Skip to the content</a>" << masthead(page) << "<main id=\"main\" class=\"inner\">" << references << evaluation
      << pairs << candidates << training << adapters << settings << "</main>" << footer(page) << "<div id=\"tip\" role=\"tooltip\" hidden=\"\"></div>"
      << script() << "</body></html>\n";
  return std::move(out).str();
}

void write_report(const std::filesystem::path& path, const ReportData& data, const ReportOptions& options) {
  storage::write_text_atomically(path, render_report(data, options));
}

}  // namespace magicid::report
