// The networks behind the rewards, as functions of pictures in 0..1, so that rewards know no architecture.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

#include "models/vision/clip_vision.h"
#include "models/vision/face_embedder.h"
#include "models/vision/raft.h"

namespace magicid::rewards {

// Aligned faces [B,3,112,112] RGB in 0..1 -> embeddings [B,D], not normalised.
using FaceNetwork = std::function<at::Tensor(const at::Tensor&)>;
// Frames [B,3,H,W] RGB in 0..1 -> image embeddings [B,D], not normalised; preprocessing included.
using ImageNetwork = std::function<at::Tensor(const at::Tensor&)>;
// First and second frames [B,3,H,W] RGB in 0..1 -> flow [B,2,H,W] in pixels of these frames.
using FlowNetwork = std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>;

// A function left empty is not computed.
struct Models {
  FaceNetwork face;
  ImageNetwork image;
  FlowNetwork flow;
};

FaceNetwork face_network(std::shared_ptr<const models::vision::FaceEmbedder> network);
ImageNetwork image_network(std::shared_ptr<const models::vision::ClipVision> network);
FlowNetwork flow_network(std::shared_ptr<const models::vision::Raft> network, std::int64_t updates);

}  // namespace magicid::rewards
