#include "commands/pairs_file.h"

#include "base/errors.h"
#include "storage/hdf5.h"

namespace magicid::commands {
namespace {

using nlohmann::json;
const storage::Schema pairs_schema{"magicid.pairs", 2};

}  // namespace

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
  storage::write_hdf5(path, pairs_schema, [&](storage::Hdf5Writer& out) {
    out.attribute("/", "pairs", static_cast<std::int64_t>(selection.pairs.size()));
    out.text("pairs", pairs.dump());
    out.text("candidates", candidates.dump());
    out.text("ranges", ranges.dump());
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
  file.candidates = json::parse(in.text("candidates"));
  for (const auto& c : file.candidates)
    if (c.at("front").get<int>() >= 0) file.selection.fronts.emplace_back(c.at("key").get<std::string>(), c.at("front").get<int>());
  file.ranges = json::parse(in.text("ranges"));
  file.selection.notes = json::parse(in.text("notes")).get<std::vector<std::string>>();
  return file;
}

}  // namespace magicid::commands
