// Everything that is measured on a video once; rewards and metrics are cheap functions of it, so a video shared by identities is looked at once.
#pragma once

#include <ATen/core/Tensor.h>

#include "rewards/dynamics.h"
#include "rewards/identity.h"
#include "rewards/normalisation.h"
#include "rewards/options.h"
#include "rewards/semantics.h"

namespace magicid::rewards {

// Part of what determines a score: another number where the same video and options give other figures than before.
inline constexpr int measures_version = 2;

struct VideoFeatures {
  FaceEmbeddings faces;
  Dynamics dynamics;
  at::Tensor images;     // [S,D] as image_features; undefined without an image network
  at::Tensor semantics;  // [S,D]: what the semantic reward compares with the prompt, by options.semantic_input; undefined without an image network
  std::int64_t frames = 0, height = 0, width = 0;
  double fps = 0;
};

// What is asked for beyond the rest.
struct Wanted {
  bool every_frame = false;   // image features of all frames, as temporal_consistency needs
  bool motion_reward = true;  // R_dy, which needs the flow in both directions; VBench's figures are there without it
};

// frames [F,3,H,W] RGB in 0..1. Networks missing from `models` leave their part empty. Where grad mode is on and the frames need a gradient, face and image
// features keep their graph back to them; dynamics has none.
VideoFeatures measure_video(const at::Tensor& frames, double fps, const Models& models, media::FaceDetector& detector, const Options& options,
                            const Wanted& wanted = {});

// The three raw rewards. references [R,D] face embeddings, text [D] CLIP text feature of the prompt.
Rewards raw_rewards(const VideoFeatures& features, const at::Tensor& references, const at::Tensor& text, const Options& options);

// R_id and R_sem as raw_rewards() gives them, to the bit, but on the graph that `features` have: [] double on the CPU. Undefined where `features` lack the
// part. A frame without a face gives R_id no gradient.
struct DifferentiableRewards {
  at::Tensor identity, semantics;
};
DifferentiableRewards differentiable_rewards(const VideoFeatures& features, const at::Tensor& references, const at::Tensor& text, const Options& options);

// What `evaluate` reports for one video. `semantics` is the reward R_sem, all others are the metrics of the field.
struct Metrics {
  double face_similarity = 0, dynamic_degree = 0, temporal_consistency = 0, semantics = 0, clip_text = 0, clip_image = 0;
  bool dynamic = false;
  std::int64_t frames_with_face = 0;
};
// `features` of every frame; image_references [R,D] CLIP features of the reference photos.
Metrics evaluate_video(const VideoFeatures& features, const at::Tensor& references, const at::Tensor& text, const at::Tensor& image_references,
                       const Options& options);

}  // namespace magicid::rewards
