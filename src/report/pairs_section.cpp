// The preference pairs: winner and loser side by side, with rewards and gaps.
#include <algorithm>
#include <cmath>

#include "report/sections.h"

namespace magicid::report {
namespace {

using preference::PairKind;

std::vector<const PreferencePair*> pairs_of(const Page& page, PairKind kind) {
  std::vector<const PreferencePair*> out;
  for (const PreferencePair& pair : page.data.pairs) {
    if (pair.kind == kind) out.push_back(&pair);
  }
  return out;
}

const ShownCandidate* candidate_of(const Page& page, const std::string& key) {
  const auto found = page.candidates.find(key);
  return found == page.candidates.end() ? nullptr : &page.data.candidates[found->second];
}

const Media& preview_of(const Page& page, const std::string& key) {
  static const Media none;
  const ShownCandidate* candidate = candidate_of(page, key);
  return candidate ? candidate->preview : none;
}

Html bar(double value, const Html& side) {
  Html out;
  const double share = std::isfinite(value) ? std::clamp(value / 10, 0.0, 1.0) * 100 : 0;
  out << "<span class=\"bar\"><span class=\"track\"><span class=\"fill " << side << "\" style=\"width:" << coordinate(share)
      << "%\"></span></span><span class=\"num\">" << text(format_fixed(value, 1)) << "</span></span>";
  return out;
}

Html side(Page& page, const std::string& key, int front, bool winner, std::string_view title, bool autoplay) {
  const auto found = page.candidates.find(key);
  Html out;
  out << "<figure class=\"side\"><figcaption><span class=\"tag " << (winner ? Html("win\">Winner") : Html("lose\">Loser")) << "</span> ";
  std::string label = std::string(title) + (winner ? ", winner: " : ", loser: ");
  if (found == page.candidates.end()) {
    out << "<span>unknown candidate <code>" << text(key.substr(0, 12)) << "</code></span>";
    label += "unknown candidate";
  } else {
    const ShownCandidate& candidate = page.data.candidates[found->second];
    label += page.short_names[found->second] + ", " + source_in_words(candidate.source);
    out << "<a href=\"#c" << found->second << "\">" << text(page.short_names[found->second]) << "</a> <span class=\"quiet\">"
        << text(source_in_words(candidate.source));
    if (front >= 0) out << ", front " << front + 1;
    out << "</span>";
  }
  out << "</figcaption>" << page.shelf.video(preview_of(page, key), label, autoplay) << "</figure>";
  return out;
}

Html rewards_table(const Page& page, const PreferencePair& pair) {
  const ShownCandidate* winner = candidate_of(page, pair.winner);
  const ShownCandidate* loser = candidate_of(page, pair.loser);
  const ShownRewards w = winner ? winner->normalised : ShownRewards{}, l = loser ? loser->normalised : ShownRewards{};
  Html out;
  out << "<table class=\"rewards\"><thead class=\"hidden\"><tr><th scope=\"col\">Reward</th><th scope=\"col\">Winner, then loser (1 to 10)</th><th "
         "scope=\"col\">Gap</th></tr></thead><tbody>";
  const auto row = [&](const Html& name, double winner_value, double loser_value, double gap) {
    out << "<tr><th scope=\"row\">" << name << "</th><td>" << bar(winner_value, "win") << bar(loser_value, "lose") << "</td><td class=\"delta\">"
        << text(format_signed(gap, 1)) << "</td></tr>";
  };
  row("Identity", w.identity, l.identity, pair.gap.identity);
  row("Dynamics", w.dynamics, l.dynamics, pair.gap.dynamics);
  row("Semantics", w.semantics, l.semantics, pair.gap.semantics);
  return out << "</tbody></table>";
}

Html pair_card(Page& page, const PreferencePair& pair, std::size_t number, bool autoplay) {
  const std::string title = (pair.kind == PairKind::identity ? "Identity pair " : "Dynamic pair ") + std::to_string(number);
  Html out;
  out << "<article class=\"card pair\"><h4>" << text(title) << "</h4>";
  if (!pair.condition.empty()) out << "<p class=\"prompt\" dir=\"auto\">" << text(pair.condition) << "</p>";
  out << "<div class=\"sides\">" << side(page, pair.winner, pair.winner_front, true, title, autoplay)
      << side(page, pair.loser, pair.loser_front, false, title, autoplay) << "</div>" << rewards_table(page, pair) << "</article>";
  return out;
}

Html kind_block(Page& page, PairKind kind) {
  constexpr std::size_t playing_without_scripts = 4;  // browsers limit how many videos a page may hold open
  const auto pairs = pairs_of(page, kind);
  const bool identity = kind == PairKind::identity;
  Html out;
  out << "<h3>" << (identity ? Html("Identity pairs") : Html("Dynamic pairs")) << " <span class=\"count\">" << pairs.size() << "</span></h3><p class=\"lead\">"
      << (identity ? Html("A still of the person wins over a video of the initial model: this is what the face shall look like.")
                   : Html("Both sides show the same template; the winner lies on a better front: it moves more and keeps the face. This is what keeps the "
                          "videos alive."))
      << "</p>";
  if (pairs.empty()) return out << (identity ? empty_state("No identity pairs were selected.") : empty_state("No dynamic pairs were selected."));
  const std::size_t shown = std::min(pairs.size(), page.options.pairs_shown);
  out << "<div class=\"grid pairs\">";
  for (std::size_t i = 0; i < shown; ++i) out << pair_card(page, *pairs[i], i + 1, i < playing_without_scripts);
  out << "</div>";
  if (shown < pairs.size()) {
    out << "<details class=\"more\"><summary>Show " << (shown == 0 ? Html("the ") : Html("the other "))
        << text(count_of(pairs.size() - shown, identity ? "identity pair" : "dynamic pair", identity ? "identity pairs" : "dynamic pairs"))
        << "</summary><div class=\"grid pairs\">";
    for (std::size_t i = shown; i < pairs.size(); ++i) out << pair_card(page, *pairs[i], i + 1, false);
    out << "</div></details>";
  }
  return out;
}

}  // namespace

void reserve_pairs(Page& page) {
  const auto identity = pairs_of(page, PairKind::identity), dynamic = pairs_of(page, PairKind::dynamic);
  const auto reserve = [&](const std::vector<const PreferencePair*>& pairs, std::size_t i) {
    if (i < pairs.size()) page.shelf.reserve({&preview_of(page, pairs[i]->winner), &preview_of(page, pairs[i]->loser)});
  };
  // The kinds in turn, best pairs first: the shown ones of both come before the hidden ones of either.
  for (std::size_t i = 0; i < std::max(identity.size(), dynamic.size()); ++i) {
    reserve(identity, i);
    reserve(dynamic, i);
  }
}

Html pairs_section(Page& page) {
  Html out = section_start("pairs", "Preference pairs");
  if (page.data.pairs.empty()) {
    out << empty_state("No pairs have been selected yet: they appear here after the stage `select`.");
  } else {
    out << "<p class=\"lead\">What the adapter was taught to prefer. Bars show the rewards normalised to 1 to 10 over all candidates, winner above loser; the "
           "number on the right is the gap.</p>";
  }
  if (!page.data.pairs.empty() && page.shelf.left_out() > 0) {
    out << "<p class=\"lead\">To keep this page within " << text(format_bytes(page.shelf.budget())) << " of video, "
        << text(count_of(page.shelf.left_out(), "video is", "videos are")) << " not embedded. Their places name the files in the run directory.</p>";
  }
  if (!page.data.selection_notes.empty()) {
    out << "<ul class=\"notes\">";
    for (const std::string& note : page.data.selection_notes) out << "<li>" << text(note) << "</li>";
    out << "</ul>";
  }
  if (!page.data.pairs.empty()) out << kind_block(page, PairKind::identity) << kind_block(page, PairKind::dynamic);
  return out << section_end();
}

}  // namespace magicid::report
