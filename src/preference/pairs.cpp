#include "preference/pairs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/errors.h"
#include "base/quantile.h"
#include "preference/fronts.h"

namespace magicid::preference {
namespace {

std::vector<double> objectives(const Candidate& c, const Options& options) {
  if (options.rewards == "identity") return {c.identity};
  if (options.rewards == "identity+dynamics") return {c.identity, c.dynamics};
  return {c.identity, c.dynamics, c.semantics};
}

Pair make_pair(PairKind kind, const Candidate& winner, const Candidate& loser) {
  return {.kind = kind,
          .winner = winner.key,
          .loser = loser.key,
          .identity_gap = winner.identity - loser.identity,
          .dynamics_gap = winner.dynamics - loser.dynamics,
          .semantics_gap = winner.semantics - loser.semantics};
}

void note_shortage(Selection& selection, const char* kind, std::size_t found, std::int64_t asked) {
  if (static_cast<std::int64_t>(found) < asked) selection.notes.push_back(base::concat(kind, " pairs: ", found, " of ", asked, " asked for"));
}

void add_identity_pairs(const std::vector<Candidate>& candidates, const IdentityPairOptions& options, Selection& selection) {
  std::vector<double> dynamics;
  for (const auto& c : candidates)
    if (c.source == Source::initial) dynamics.push_back(c.dynamics);
  std::vector<Pair> found;
  if (!dynamics.empty()) {
    // Stills hardly move, so a fixed bound on the difference would follow the normalisation; a quantile of V_s does not.
    const double bound = base::quantile(dynamics, options.dynamics_quantile);
    for (const auto& winner : candidates) {
      if (winner.source != Source::still) continue;
      for (const auto& loser : candidates) {
        if (loser.source != Source::initial || loser.dynamics > bound) continue;
        const double gap = winner.identity - loser.identity;
        if (gap <= 0 || gap < options.min_identity_gap) continue;
        Pair pair = make_pair(PairKind::identity, winner, loser);
        pair.prompt = options.condition == "portrait" ? -1 : loser.prompt;
        pair.loser_still = options.loser == "still";
        found.push_back(std::move(pair));
      }
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Pair& a, const Pair& b) { return std::tie(b.identity_gap, a.winner, a.loser) < std::tie(a.identity_gap, b.winner, b.loser); });
  if (static_cast<std::int64_t>(found.size()) > options.count) found.resize(static_cast<std::size_t>(options.count));
  note_shortage(selection, "identity", found.size(), options.count);
  selection.pairs.insert(selection.pairs.end(), found.begin(), found.end());
}

bool acceptable(const Candidate& winner, const Candidate& loser, const Options& options) {
  const auto& rule = options.dynamic_pairs;
  if (winner.prompt != loser.prompt) return false;
  if (winner.identity - loser.identity < -rule.max_identity_loss) return false;
  // A reward that the ablation leaves out does not decide anything.
  if (options.rewards != "identity" && winner.dynamics - loser.dynamics < rule.min_dynamics_gap) return false;
  if (options.rewards == "identity+dynamics+semantics" && winner.semantics - loser.semantics < -rule.max_semantic_loss) return false;
  return true;
}

void add_dynamic_pairs(const std::vector<Candidate>& candidates, const Options& options, Selection& selection) {
  std::vector<const Candidate*> videos;
  std::vector<std::vector<double>> points;
  for (const auto& c : candidates)
    if (c.source != Source::still) {
      videos.push_back(&c);
      points.push_back(objectives(c, options));
    }
  const std::vector<int> fronts = non_dominated_fronts(points);
  for (std::size_t i = 0; i < videos.size(); ++i) selection.fronts.emplace_back(videos[i]->key, fronts[i]);
  if (options.pairs == "identity") return;

  const auto& rule = options.dynamic_pairs;
  const int last = fronts.empty() ? 0 : *std::max_element(fronts.begin(), fronts.end());
  const bool literal = rule.rule == "frontier";
  std::vector<Pair> found;
  for (std::size_t w = 0; w < videos.size(); ++w)
    for (std::size_t l = 0; l < videos.size(); ++l) {
      if (fronts[w] >= fronts[l]) continue;
      if (literal ? (fronts[w] != 0 || fronts[l] != last) : !acceptable(*videos[w], *videos[l], options)) continue;
      Pair pair = make_pair(PairKind::dynamic, *videos[w], *videos[l]);
      pair.prompt = videos[w]->prompt;
      pair.winner_front = fronts[w];
      pair.loser_front = fronts[l];
      found.push_back(std::move(pair));
    }
  const auto rank = [&](const Pair& p) {
    const bool extremes = p.winner_front == 0 && p.loser_front == last;
    return std::tuple(literal ? 0 : !extremes, literal ? 0 : p.winner_front - p.loser_front, -p.identity_gap, p.winner, p.loser);
  };
  std::sort(found.begin(), found.end(), [&](const Pair& a, const Pair& b) { return rank(a) < rank(b); });

  std::map<std::string, std::int64_t> uses;
  std::size_t taken = 0;
  for (auto& pair : found) {
    if (static_cast<std::int64_t>(taken) >= rule.count) break;
    if (uses[pair.winner] >= rule.max_pairs_per_video || uses[pair.loser] >= rule.max_pairs_per_video) continue;
    ++uses[pair.winner];
    ++uses[pair.loser];
    selection.pairs.push_back(std::move(pair));
    ++taken;
  }
  note_shortage(selection, "dynamic", taken, rule.count);
}

}  // namespace

std::string to_string(Source source) {
  switch (source) {
    case Source::still: return "V_id";
    case Source::initial: return "V_s";
    case Source::tuned: return "V_t";
  }
  throw base::InvariantError("unknown candidate source");
}

Source source_from_string(const std::string& text) {
  for (Source source : {Source::still, Source::initial, Source::tuned})
    if (to_string(source) == text) return source;
  throw base::UserError("candidate source '", text, "': V_id, V_s or V_t was expected");
}

std::string to_string(PairKind kind) { return kind == PairKind::identity ? "identity" : "dynamic"; }

Selection select_pairs(std::vector<Candidate> candidates, const Options& options) {
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.key < b.key; });
  for (std::size_t i = 1; i < candidates.size(); ++i)
    if (candidates[i].key == candidates[i - 1].key) throw base::UserError("candidate ", candidates[i].key, " stands twice among the scores");
  for (const auto& c : candidates)
    base::check_invariant(std::isfinite(c.identity) && std::isfinite(c.dynamics) && std::isfinite(c.semantics), "candidate ", c.key,
                          " has a reward that is not finite");
  Selection selection;
  if (options.pairs != "dynamic") add_identity_pairs(candidates, options.identity_pairs, selection);
  add_dynamic_pairs(candidates, options, selection);
  return selection;
}

}  // namespace magicid::preference
