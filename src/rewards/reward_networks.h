// The networks behind the rewards, loaded from their folders.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "media/faces.h"
#include "models/nn/weights.h"
#include "models/text/clip_text.h"
#include "models/text/tokenizer.h"
#include "rewards/models.h"
#include "rewards/options.h"

namespace magicid::rewards {

struct RewardFolders {
  std::filesystem::path arcface, raft, clip;
};
// Those that `options` names, else those below `model`/rewards. `model`: a pipeline folder. Throws UserError naming the configuration's key when a folder is
// not there.
RewardFolders reward_folders(const RewardOptions& options, const std::filesystem::path& model);

// The folder of the vision-language model: rewards.vqa, else the one below `model`/rewards. Throws as reward_folders().
std::filesystem::path vqa_folder(const RewardOptions& options, const std::filesystem::path& model);

// The folder of the landmark network, for the face detector of that kind: rewards.face_detector.file, else the one below `model`/rewards. Throws as
// reward_folders().
std::filesystem::path landmark_folder(const RewardOptions& options, const std::filesystem::path& model);

class RewardNetworks {
 public:
  // `which`: networks whose folders are read; the text encoder of CLIP comes with `clip`.
  struct Which {
    bool face = true, flow = true, clip = true;
  };
  // The folders are those of reward_folders(), the face detector's likewise. Throws UserError for a folder that is missing or is not of its network. Not
  // collective.
  static RewardNetworks load(const RewardOptions& options, const std::filesystem::path& model, const models::nn::Placement& placement, const Which& which);

  const Models& models() const { return models_; }
  // For photos; and for frames of videos, where rewards.frames_without_face may put the whole frame in a missing face's place.
  media::FaceDetector& detector() { return *detector_; }
  media::FaceDetector& frame_detector() { return frame_detector_ ? *frame_detector_ : *detector_; }
  // CLIP's text feature [D] of a prompt, of length 1, on the CPU; cut at CLIP's limit of tokens. Remembered.
  at::Tensor text_feature(const std::string& prompt);

 private:
  Models models_;
  std::unique_ptr<media::FaceDetector> detector_, frame_detector_;
  std::shared_ptr<const models::text::ClipTextEncoder> text_;
  std::shared_ptr<const models::text::Tokenizer> tokenizer_;
  models::nn::Placement placement_;
  std::map<std::string, at::Tensor> features_;
};

}  // namespace magicid::rewards
