// Networks with random weights, for trying the program out and for the small world: they have the right shapes and give finite, varied
// outputs, but know nothing.
#pragma once

#include <cstdint>
#include <string>

#include "models/nn/initial_values.h"
#include "models/vision/clip_vision.h"
#include "models/vision/face_embedder.h"
#include "models/vision/landmark_detector.h"
#include "storage/safetensors.h"

namespace magicid::models::vision {

// What a network's folder holds: the text of config.json, and the tensors of model.safetensors.
struct InitialNetwork {
  std::string config;
  storage::NamedTensors tensors;
};

// The image half of a full CLIP model: vision_model.*, visual_projection.weight and logit_scale. `config` is a full model's without its
// text_config ({"architecture": "clip", "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim", "vision_config", ...});
// the text half adds text_config, text_model.* and text_projection.weight [projection_dim, text width].
// Weights are functions of (seed, tensor name) alone.
InitialNetwork initial_clip_vision(const ClipVisionConfig& config, const nn::InitialValues& values);
// A tiny one: 64 wide, 4 layers, 4 heads, pictures of 32 pixels in patches of 8, projection to 32.
ClipVisionConfig tiny_clip_vision();

// A face embedder; `architecture` as in face_embedder_architectures(), mobilefacenet_112x112 in TreB1eN's naming. Throws UserError for another.
InitialNetwork initial_face_embedder(const FaceEmbedderConfig& config, const nn::InitialValues& values);

InitialNetwork initial_landmark_detector(const LandmarkDetectorConfig& config, const nn::InitialValues& values);

// RAFT, `architecture` as in raft_architectures(), in torchvision's naming. Throws UserError for another architecture.
InitialNetwork initial_raft(const std::string& architecture, const nn::InitialValues& values);

}  // namespace magicid::models::vision
