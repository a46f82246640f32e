#include "rewards/features.h"

#include "base/errors.h"

namespace magicid::rewards {

VideoFeatures measure_video(const at::Tensor& frames, double fps, const Models& models, media::FaceDetector& detector, const Options& options,
                            const Wanted& wanted) {
  base::check_invariant(frames.dim() == 4 && frames.size(1) == 3 && frames.size(0) >= 1, "measure_video needs frames [F,3,H,W]");
  VideoFeatures features;
  features.frames = frames.size(0);
  features.height = frames.size(2);
  features.width = frames.size(3);
  features.fps = fps;
  if (models.face) features.faces = embed_faces(frames, options.face_frames, detector, models.face, options.batch);
  if (models.flow) {
    const bool visible = options.dynamics == "visible";
    // Flow networks iterate, and no method here follows their gradient.
    features.dynamics = measure_dynamics(frames.detach(), fps, options.flow_rate, models.flow, options.batch, wanted.motion_reward && visible);
    if (wanted.motion_reward && !visible) features.dynamics.reward = features.dynamics.score;
  }
  if (models.image) {
    const bool grid = options.semantic_input == "grid";
    // Single frames are needed for the metrics, or where the reward compares them.
    if (wanted.every_frame || !grid) features.images = image_features(frames, wanted.every_frame ? 0 : options.semantic_frames, models.image, options.batch);
    features.semantics = grid ? image_features(tile_frames(frames, options.semantic_grid).unsqueeze(0), 0, models.image, options.batch) : features.images;
  }
  return features;
}

Rewards raw_rewards(const VideoFeatures& features, const at::Tensor& references, const at::Tensor& text, const Options& options) {
  base::check_invariant(features.faces.found.defined() && features.semantics.defined(), "raw_rewards needs face and image features");
  return {identity_reward(features.faces, references, options.reference_aggregation), features.dynamics.reward, semantic_reward(features.semantics, text)};
}

DifferentiableRewards differentiable_rewards(const VideoFeatures& features, const at::Tensor& references, const at::Tensor& text, const Options& options) {
  DifferentiableRewards rewards;
  if (features.faces.found.defined()) rewards.identity = mean_similarity(features.faces, references, options.reference_aggregation);
  if (features.semantics.defined()) rewards.semantics = text_similarity(features.semantics, text);
  return rewards;
}

Metrics evaluate_video(const VideoFeatures& features, const at::Tensor& references, const at::Tensor& text, const at::Tensor& image_references,
                       const Options& options) {
  base::check_invariant(features.faces.found.defined() && features.images.defined() && features.images.size(0) == features.frames,
                        "evaluate_video needs face features and image features of every frame");
  Metrics metrics;
  metrics.face_similarity = face_similarity(features.faces, references, options.reference_aggregation);
  metrics.frames_with_face = features.faces.found.sum().item<std::int64_t>();
  metrics.dynamic_degree = features.dynamics.score;
  metrics.dynamic = features.dynamics.dynamic;
  metrics.temporal_consistency = temporal_consistency(features.images);
  metrics.semantics = semantic_reward(features.semantics, text);
  metrics.clip_text = clip_text_score(features.images, text);
  metrics.clip_image = clip_image_score(features.images, image_references);
  return metrics;
}

}  // namespace magicid::rewards
