#include "pipeline/still_losers.h"

#include <ATen/core/Tensor.h>

#include <set>

#include "base/errors.h"
#include "generation/sample.h"
#include "pipeline/candidates.h"
#include "run_directory/candidate_store.h"
#include "work/pieces.h"

namespace magicid::pipeline {

std::map<std::string, std::string> make_still_losers(session::Session& session, Run& run, const PairsFile& pairs) {
  using run_directory::CandidateStore;
  struct Still {
    std::string loser, key;
    nlohmann::json description;
  };
  std::set<std::string> losers;
  for (const auto& pair : pairs.selection.pairs)
    if (pair.loser_still) losers.insert(pair.loser);
  std::vector<Still> stills;
  std::map<std::string, std::string> keys;
  for (const auto& loser : losers) {
    // The candidate's key stands for its model, size and dtype; decoding and encoding add the dtype they run in.
    nlohmann::json description{{"first_frame_of", loser}, {"dtype", run.model().dtype}};
    const std::string key = CandidateStore::key_of(description);
    keys.emplace(loser, key);
    stills.push_back({loser, key, std::move(description)});
  }
  if (stills.empty()) return keys;

  CandidateStore store(run.layout().candidates());
  const auto missing = work::find_missing(session.world(), stills.size(), [&](std::size_t i) { return store.contains(stills[i].key); });
  std::shared_ptr<const models::generator::Codec> codec;
  work::work_through(session.world(), {"still losers", missing, stills.size()}, [&](std::size_t i, work::Pulse&) {
    if (!codec) codec = session::borrow_codec(session, run.backbone());
    const auto candidate = store.find(stills[i].loser);
    if (!candidate)
      throw base::UserError(run.layout().candidates().string(), ": candidate ", stills[i].loser,
                            " of a pair is missing or damaged; run `magicid generate` again");
    // The whole clip is decoded: normalisation sees all frames, so that the first one decoded alone would be another picture.
    const at::Tensor frames = generation::decode_frames(*codec, candidate->latents);
    const at::Tensor latents = generation::encode_frames(*codec, frames.narrow(0, 0, 1).expand(frames.sizes())).cpu();
    store.put({.description = stills[i].description, .metadata = {{"source", "still loser"}, {"rank", session.world().rank()}}, .latents = latents});
  });
  return keys;
}

}  // namespace magicid::pipeline
