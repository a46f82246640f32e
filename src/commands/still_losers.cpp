#include "commands/still_losers.h"

#include <ATen/core/Tensor.h>

#include <set>

#include "base/errors.h"
#include "commands/candidates.h"
#include "generation/sample.h"
#include "run_directory/candidate_store.h"
#include "work/pieces.h"

namespace magicid::commands {

std::map<std::string, std::string> make_still_losers(RunContext& context, const PairsFile& pairs) {
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
    nlohmann::json description{{"first_frame_of", loser}, {"dtype", context.model().dtype}};
    const std::string key = CandidateStore::key_of(description);
    keys.emplace(loser, key);
    stills.push_back({loser, key, std::move(description)});
  }
  if (stills.empty()) return keys;

  CandidateStore store(context.layout().candidates());
  const auto missing = work::find_missing(context.world(), stills.size(), [&](std::size_t i) { return store.contains(stills[i].key); });
  std::optional<models::hunyuan_video::Autoencoder> autoencoder;
  work::work_through(context.world(), {"still losers", missing, stills.size()}, [&](std::size_t i, work::Pulse&) {
    if (!autoencoder) autoencoder = context.pipeline().load_autoencoder(context.placement());
    const auto candidate = store.find(stills[i].loser);
    if (!candidate)
      throw base::UserError(context.layout().candidates().string(), ": candidate ", stills[i].loser,
                            " of a pair is missing or damaged; run `magicid generate` again");
    // The whole clip is decoded: normalisation sees all frames, so that the first one decoded alone would be another picture.
    const at::Tensor frames = generation::decode_frames(*autoencoder, candidate->latents);
    const at::Tensor latents = generation::encode_frames(*autoencoder, frames.narrow(0, 0, 1).expand(frames.sizes())).cpu();
    store.put({.description = stills[i].description, .metadata = {{"source", "still loser"}, {"rank", context.world().rank()}}, .latents = latents});
  });
  return keys;
}

}  // namespace magicid::commands
