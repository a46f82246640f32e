// The reward networks of a run, loaded from their folders.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "commands/configuration.h"
#include "media/faces.h"
#include "models/nn/weights.h"
#include "models/text/clip_text.h"
#include "models/text/tokenizer.h"
#include "rewards/models.h"

namespace magicid::commands {

struct RewardFolders {
  std::filesystem::path arcface, raft, clip;
};
// Throws UserError naming the configuration's key when a folder is not there.
RewardFolders reward_folders(const Configuration& configuration);

// What each reward network is, by its contents and never by its path: "arcface", "raft", "clip" as folder_identity() gives them, "face_detector" as
// face_detector_identity() does. Reads every byte of them: RunContext::reward_networks() keeps the result. Throws as reward_folders() does. Not collective.
nlohmann::json reward_network_identities(const Configuration& configuration);
// The detector's kind and a hash of the file or folder that it is read from; the threshold and the choice of a face are options. Not collective.
nlohmann::json face_detector_identity(const Configuration& configuration);

class RewardNetworks {
 public:
  // `which`: networks whose folders are read; the text encoder of CLIP comes with `clip`.
  struct Which {
    bool face = true, flow = true, clip = true;
  };
  static RewardNetworks load(const Configuration& configuration, const models::nn::Placement& placement, const Which& which);

  const rewards::Models& models() const { return models_; }
  // For photos; and for frames of videos, where rewards.frames_without_face may put the whole frame in a missing face's place.
  media::FaceDetector& detector() { return *detector_; }
  media::FaceDetector& frame_detector() { return frame_detector_ ? *frame_detector_ : *detector_; }
  // CLIP's text feature [D] of a prompt, of length 1, on the CPU; cut at CLIP's limit of tokens. Remembered.
  at::Tensor text_feature(const std::string& prompt);

 private:
  rewards::Models models_;
  std::unique_ptr<media::FaceDetector> detector_, frame_detector_;
  std::shared_ptr<const models::text::ClipTextEncoder> text_;
  std::shared_ptr<const models::text::Tokenizer> tokenizer_;
  models::nn::Placement placement_;
  std::map<std::string, at::Tensor> features_;
};

}  // namespace magicid::commands
