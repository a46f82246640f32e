// The figures of one video, and its features for a Frechet distance.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "models/nn/weights.h"
#include "models/vision/i3d.h"
#include "rewards/reward_networks.h"
#include "rewards/vqa.h"
#include "storage/safetensors.h"

namespace magicid::evaluation {

// Raised when figures of the same video change their meaning, so that older ones are measured anew.
inline constexpr int measure_version = 4;

// What the person's photos are to the reward networks: face embeddings [R,D], as the face embedder gives them, and CLIP's image embeddings [R,P].
struct PhotoFeatures {
  at::Tensor faces, images;
};

struct MeasuredVideo {
  nlohmann::json metrics;          // video_metrics() -> number, null where it is not finite
  storage::NamedTensors features;  // as features() gives them
};

class VideoMeasurer {
 public:
  // Measures with these networks and, where `i3d` names its file, loads the network of FVD. `vqa` gives the semantic reward, or is null, and CLIP gives it.
  // Throws UserError for what is missing. Not collective.
  VideoMeasurer(const rewards::Options& options, std::shared_ptr<rewards::RewardNetworks> networks, std::shared_ptr<const rewards::VqaScore> vqa,
                const std::filesystem::path& i3d, const models::nn::Placement& placement);

  // frames [F,3,H,W] RGB in 0..1; `text` is what CLIP compares them with, and what `vqa` is asked about.
  MeasuredVideo operator()(const at::Tensor& frames, double fps, const std::string& text, const PhotoFeatures& photos);

  // "clip" [P]: the mean of the frames' image features; "i3d" [D] of the first frames, where its network is there and the video long enough.
  storage::NamedTensors features(const at::Tensor& frames) const;

 private:
  storage::NamedTensors features(const at::Tensor& frames, const at::Tensor& images) const;

  rewards::Options options_;
  std::shared_ptr<rewards::RewardNetworks> networks_;
  std::shared_ptr<const rewards::VqaScore> vqa_;
  std::optional<models::vision::I3d> i3d_;
};

}  // namespace magicid::evaluation
