#include "evaluation/video_measurer.h"

#include <algorithm>
#include <cmath>

#include "rewards/features.h"

namespace magicid::evaluation {
namespace {

using nlohmann::json;

// Of a video, as FVD is usually computed; fewer where the video is shorter.
constexpr std::int64_t fvd_frames = 16;

json finite_number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

}  // namespace

VideoMeasurer::VideoMeasurer(const rewards::Options& options, std::shared_ptr<rewards::RewardNetworks> networks, std::shared_ptr<const rewards::VqaScore> vqa,
                             const std::filesystem::path& i3d, const models::nn::Placement& placement)
    : options_(options), networks_(std::move(networks)), vqa_(std::move(vqa)) {
  if (!i3d.empty()) i3d_ = models::vision::I3d::load(i3d, placement.device);
}

MeasuredVideo VideoMeasurer::operator()(const at::Tensor& frames, double fps, const std::string& text, const PhotoFeatures& photos) {
  const auto measured =
      rewards::measure_video(frames, fps, networks_->models(), networks_->frame_detector(), options_, {.every_frame = true, .motion_reward = false});
  const auto f = rewards::evaluate_video(measured, photos.faces, networks_->text_feature(text), photos.images, options_);
  const double semantics = vqa_ ? (*vqa_)(frames, fps, text) : f.semantics;
  return {.metrics = {{"face_similarity", finite_number(f.face_similarity)},
                      {"dynamic_degree", finite_number(f.dynamic_degree)},
                      {"dynamic", f.dynamic ? 1.0 : 0.0},
                      {"temporal_consistency", finite_number(f.temporal_consistency)},
                      {"semantic", finite_number(semantics)},
                      {"clip_t", finite_number(f.clip_text)},
                      {"clip_i", finite_number(f.clip_image)},
                      {"frames_with_face", static_cast<double>(f.frames_with_face)}},
          .features = features(frames, measured.images)};
}

storage::NamedTensors VideoMeasurer::features(const at::Tensor& frames) const {
  return features(frames, rewards::image_features(frames, 0, networks_->models().image, options_.batch));
}

storage::NamedTensors VideoMeasurer::features(const at::Tensor& frames, const at::Tensor& images) const {
  storage::NamedTensors found{{"clip", images.mean(0)}};
  if (i3d_ && frames.size(0) >= models::vision::I3d::minimum_frames) found["i3d"] = (*i3d_)(frames.narrow(0, 0, std::min(frames.size(0), fvd_frames)));
  return found;
}

}  // namespace magicid::evaluation
