// The networks that `magicid import` knows, each a file of this room or of the backbone's that computes it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/nn/published_network.h"

namespace magicid::imports {

// LLaMA in transformers' names, with or without what stands before them. Source: transformers' models/llama.
models::nn::PublishedNetwork published_llama();
// CLIP's halves and the whole, in openai's names (clip/model.py, scripted archives of openai's too) or transformers' (models/clip).
models::nn::PublishedNetwork published_clip_text();
models::nn::PublishedNetwork published_clip_image();
models::nn::PublishedNetwork published_clip();
// insightface's face embedders: arcface_torch's backbone.pth, ONNX files, and the MobileFaceNets of Xiaoccer and TreB1eN.
models::nn::PublishedNetwork published_arcface();
// RAFT of torchvision and of princeton-vl.
models::nn::PublishedNetwork published_raft();

// All of them, in the order in which `auto` tries them.
const std::vector<models::nn::PublishedNetwork>& published_networks();
std::vector<std::string> kinds();

struct RecognisedNetwork {
  const models::nn::PublishedNetwork* network = nullptr;
  std::string prefix;  // before its names in the source
};
// Which network the source is; of `kind` alone when that is not "auto". Nothing when it is none.
std::optional<RecognisedNetwork> recognise(const models::nn::WeightSource& source, const std::string& kind);

}  // namespace magicid::imports
