#include "pipeline/pairs_file.h"

#include <limits>

#include "base/errors.h"
#include "storage/hdf5.h"

namespace magicid::pipeline {
namespace {

using nlohmann::json;
const storage::Schema pairs_schema{"magicid.pairs", 2};

json json_of(const rewards::Rewards& r) { return {{"identity", r.identity}, {"dynamics", r.dynamics}, {"semantics", r.semantics}}; }

// JSON has no NaN: a reward that is not finite stands as null.
rewards::Rewards rewards_in(const json& numbers) {
  const auto number = [&](const char* name) { return numbers.at(name).is_null() ? std::numeric_limits<double>::quiet_NaN() : numbers.at(name).get<double>(); };
  return {number("identity"), number("dynamics"), number("semantics")};
}

json json_of(const JudgedCandidate& c) {
  return {{"key", c.key},
          {"source", preference::to_string(c.source)},
          {"prompt", c.prompt},
          {"text", c.text},
          {"strength", c.strength},
          {"preview", c.preview},
          {"raw", json_of(c.raw)},
          {"normalised", json_of(c.normalised)},
          {"rejection", c.rejection},
          {"front", c.front}};
}

JudgedCandidate candidate_in(const json& c) {
  return {.key = c.at("key"),
          .source = preference::source_from_string(c.at("source")),
          .prompt = c.at("prompt"),
          .text = c.at("text"),
          .strength = c.at("strength"),
          .preview = c.at("preview"),
          .raw = rewards_in(c.at("raw")),
          .normalised = rewards_in(c.at("normalised")),
          .rejection = c.at("rejection"),
          .front = c.at("front")};
}

rewards::Range range_in(const json& range) { return {range.at("minimum"), range.at("maximum")}; }

}  // namespace

json to_json(const RewardRanges& ranges) {
  const auto range = [](const rewards::Range& r) { return json{{"minimum", r.minimum}, {"maximum", r.maximum}}; };
  return {{"identity", range(ranges.identity)}, {"dynamics", range(ranges.dynamics)}, {"semantics", range(ranges.semantics)}};
}

void PairsFile::save(const std::filesystem::path& path) const {
  base::check_invariant(conditions.size() == selection.pairs.size(), path.string(), ": ", selection.pairs.size(), " pairs and ", conditions.size(),
                        " conditions");
  json pairs = json::array();
  for (std::size_t i = 0; i < selection.pairs.size(); ++i) {
    const auto& p = selection.pairs[i];
    pairs.push_back({{"condition", conditions[i]},
                     {"kind", preference::to_string(p.kind)},
                     {"winner", p.winner},
                     {"loser", p.loser},
                     {"prompt", p.prompt},
                     {"identity_gap", p.identity_gap},
                     {"dynamics_gap", p.dynamics_gap},
                     {"semantics_gap", p.semantics_gap},
                     {"winner_front", p.winner_front},
                     {"loser_front", p.loser_front},
                     {"loser_still", p.loser_still}});
  }
  json judged = json::array();
  for (const auto& candidate : candidates) judged.push_back(json_of(candidate));
  storage::write_hdf5(path, pairs_schema, [&](storage::Hdf5Writer& out) {
    out.attribute("/", "pairs", static_cast<std::int64_t>(selection.pairs.size()));
    out.text("pairs", pairs.dump());
    out.text("candidates", judged.dump());
    out.text("ranges", to_json(ranges).dump());
    out.text("notes", json(selection.notes).dump());
  });
}

PairsFile PairsFile::load(const std::filesystem::path& path) {
  const auto in = storage::Hdf5File::open(path, pairs_schema, /*oldest_version=*/2);
  PairsFile file;
  for (const auto& p : json::parse(in.text("pairs"))) {
    file.conditions.push_back(p.at("condition"));
    file.selection.pairs.push_back({.kind = p.at("kind") == "identity" ? preference::PairKind::identity : preference::PairKind::dynamic,
                                    .winner = p.at("winner"),
                                    .loser = p.at("loser"),
                                    .prompt = p.at("prompt"),
                                    .identity_gap = p.at("identity_gap"),
                                    .dynamics_gap = p.at("dynamics_gap"),
                                    .semantics_gap = p.at("semantics_gap"),
                                    .winner_front = p.at("winner_front"),
                                    .loser_front = p.at("loser_front"),
                                    .loser_still = p.at("loser_still")});
  }
  for (const auto& candidate : json::parse(in.text("candidates"))) file.candidates.push_back(candidate_in(candidate));
  for (const auto& c : file.candidates)
    if (c.front >= 0) file.selection.fronts.emplace_back(c.key, c.front);
  const json ranges = json::parse(in.text("ranges"));
  file.ranges = {range_in(ranges.at("identity")), range_in(ranges.at("dynamics")), range_in(ranges.at("semantics"))};
  file.selection.notes = json::parse(in.text("notes")).get<std::vector<std::string>>();
  return file;
}

}  // namespace magicid::pipeline
