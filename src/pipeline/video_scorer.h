// The three rewards of one video, as candidates and previews are scored.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>

#include "pipeline/run.h"
#include "rewards/features.h"
#include "rewards/reward_networks.h"
#include "rewards/vqa.h"

namespace magicid::pipeline {

class VideoScorer {
 public:
  // Borrows the reward networks and the codec for this rank. Not collective. `run` must outlive it.
  VideoScorer(session::Session& session, const Run& run);

  struct Scored {
    rewards::Rewards raw;
    rewards::VideoFeatures features;
  };
  // Decodes latents [1,C,T,H,W], writes the video to `file` (mp4) and measures it: against `prompt`, and `references` [R,D] face embeddings. Decoding is the
  // larger part of the work, so that what is shown costs nothing more. A vision-language model is asked about the prompt without the trigger, which it does not
  // know.
  Scored operator()(const at::Tensor& latents, const std::string& prompt, const at::Tensor& references, const std::filesystem::path& file);

 private:
  const Configuration& configuration_;
  std::shared_ptr<rewards::RewardNetworks> networks_;
  std::shared_ptr<const rewards::VqaScore> vqa_;  // null where CLIP gives the semantic reward
  std::shared_ptr<const models::generator::Codec> codec_;
};

}  // namespace magicid::pipeline
