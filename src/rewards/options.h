// What can be set about rewards and metrics.
#pragma once

#include <cstdint>
#include <string>

#include "config/fields.h"
#include "media/faces.h"

namespace magicid::rewards {

struct Options {
  media::DetectorOptions face_detector;
  std::int64_t face_frames = 16;
  std::string reference_aggregation = "mean";
  std::string dynamics = "visible";  // visible | flow
  double flow_rate = 8;
  std::int64_t flow_updates = 20;
  std::int64_t semantic_frames = 16;
  std::string semantic_input = "frames";  // frames | grid
  std::int64_t semantic_grid = 3;
  std::int64_t batch = 8;
};

void describe(config::Fields& fields, Options& options);

// The question that a vision-language model is asked about a video, where it gives the semantic reward (vqa.h).
struct VqaOptions {
  std::string answer = "yes";  // yes | rating
  std::string question;        // with one {} for the prompt; empty: default_question() of the answer
  std::int64_t frames = 16;
  std::string dtype = "bfloat16";  // bfloat16 | float32
};

// The section `rewards`. The reward networks' folders; empty: below the model's folder, in rewards/<name>, where `init-model` and `pretrain` put them.
struct RewardOptions {
  std::string arcface, raft, clip, vqa;
  std::string semantics = "clip";  // clip | vqa
  VqaOptions question;
  std::string frames_without_face = "zero";  // zero | whole_frame
  Options scoring;
};
void describe(config::Fields& fields, RewardOptions& options);

}  // namespace magicid::rewards
