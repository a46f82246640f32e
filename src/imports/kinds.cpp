#include "imports/kinds.h"

#include "backbone/model_folder.h"

namespace magicid::imports {

using models::nn::PublishedNetwork;

const std::vector<PublishedNetwork>& published_networks() {
  static const std::vector<PublishedNetwork> networks = [] {
    auto all = backbone::published_networks();
    // The whole CLIP before its halves, which are found in it too; LLaMA before them, for a file of LLaVA holds an image tower.
    all.insert(all.end(), {published_llama(), published_clip(), published_clip_text(), published_clip_image(), published_raft(), published_arcface()});
    return all;
  }();
  return networks;
}

std::vector<std::string> kinds() {
  std::vector<std::string> names;
  for (const auto& network : published_networks()) names.push_back(network.kind);
  return names;
}

std::optional<RecognisedNetwork> recognise(const models::nn::WeightSource& source, const std::string& kind) {
  for (const auto& network : published_networks())
    if (kind == "auto" || kind == network.kind)
      if (const auto prefix = network.recognise(source)) return RecognisedNetwork{&network, *prefix};
  return std::nullopt;
}

}  // namespace magicid::imports
