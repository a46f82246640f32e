// The three rewards of one video, as candidates and previews are scored.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

#include "commands/run_context.h"
#include "models/hunyuan_video/autoencoder.h"
#include "rewards/features.h"
#include "rewards/reward_networks.h"

namespace magicid::commands {

class VideoScorer {
 public:
  // Loads the reward networks and the autoencoder onto this rank's device. Not collective.
  explicit VideoScorer(RunContext& context);

  struct Scored {
    rewards::Rewards raw;
    rewards::VideoFeatures features;
  };
  // Decodes latents [1,C,T,H,W], writes the video to `file` (mp4) and measures it: against `prompt`, and `references` [R,D] face embeddings. Decoding is the
  // larger part of the work, so that what is shown costs nothing more.
  Scored operator()(const at::Tensor& latents, const std::string& prompt, const at::Tensor& references, const std::filesystem::path& file);

 private:
  const Configuration& configuration_;
  rewards::RewardNetworks networks_;
  models::hunyuan_video::Autoencoder autoencoder_;
};

}  // namespace magicid::commands
