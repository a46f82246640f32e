#include "rewards/reward_networks.h"

#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "base/errors.h"
#include "base/hash.h"
#include "models/vision/clip_vision.h"
#include "models/vision/face_embedder.h"
#include "models/vision/landmark_detector.h"
#include "models/vision/raft.h"
#include "rewards/landmark_faces.h"
#include "rewards/semantics.h"

namespace magicid::rewards {

namespace fs = std::filesystem;

namespace {

class WholeFrameWithoutFace : public media::FaceDetector {
 public:
  explicit WholeFrameWithoutFace(media::FaceDetector& detector) : detector_(detector) {}
  std::vector<media::FaceDetection> detect(const at::Tensor& image) override {
    auto faces = detector_.detect(image);
    const media::Box whole{0, 0, static_cast<double>(image.size(2)), static_cast<double>(image.size(1))};
    if (faces.empty() && media::has_texture(image, whole)) faces.push_back({.box = whole, .score = 0, .whole_image = true});
    return faces;
  }
  std::string name() const override { return detector_.name() + ", whole frame without a face"; }

 private:
  media::FaceDetector& detector_;
};

std::unique_ptr<media::FaceDetector> landmark_detector(const RewardOptions& options, const fs::path& model, const models::nn::Placement& placement) {
  const auto network = std::make_shared<models::vision::LandmarkDetector>(models::vision::LandmarkDetector::load(landmark_folder(options, model), placement));
  return landmark_face_detector(network, media::score_threshold_of(options.scoring.face_detector));
}

fs::path network_folder(const std::string& given, const char* name, const fs::path& model) {
  const fs::path folder = given.empty() ? model / "rewards" / name : fs::path(given);
  if (!fs::is_directory(folder))
    throw base::UserError("rewards.", name, ": ", folder.string(),
                          " is no folder; a folder with config.json and model.safetensors was expected (docs/files.md says what is in them)");
  return folder;
}

}  // namespace

fs::path landmark_folder(const RewardOptions& options, const fs::path& model) {
  const auto& wanted = options.scoring.face_detector;
  const fs::path folder = wanted.file.empty() ? model / "rewards" / "landmarks" : fs::path(wanted.file);
  if (!fs::is_directory(folder))
    throw base::UserError("rewards.face_detector.file: ", folder.string(),
                          " is no folder; kind landmarks expects one with config.json and model.safetensors, as `magicid pretrain` writes it");
  return folder;
}

RewardFolders reward_folders(const RewardOptions& options, const fs::path& model) {
  return {network_folder(options.arcface, "arcface", model), network_folder(options.raft, "raft", model), network_folder(options.clip, "clip", model)};
}

fs::path vqa_folder(const RewardOptions& options, const fs::path& model) { return network_folder(options.vqa, "vqa", model); }

RewardNetworks RewardNetworks::load(const RewardOptions& options, const fs::path& model, const models::nn::Placement& placement, const Which& which) {
  const RewardFolders folders = reward_folders(options, model);
  RewardNetworks networks;
  // The reward networks are small: always fp32, so that scores do not depend on the generator's dtype.
  networks.placement_ = {placement.device, at::kFloat};
  if (which.face)
    networks.models_.face =
        face_network(std::make_shared<models::vision::FaceEmbedder>(models::vision::FaceEmbedder::load(folders.arcface, networks.placement_)));
  if (which.flow)
    networks.models_.flow =
        flow_network(std::make_shared<models::vision::Raft>(models::vision::Raft::load(folders.raft, placement.device)), options.scoring.flow_updates);
  if (which.clip) {
    networks.models_.image = image_network(std::make_shared<models::vision::ClipVision>(models::vision::ClipVision::load(folders.clip, networks.placement_)));
    networks.text_ = std::make_shared<models::text::ClipTextEncoder>(models::text::ClipTextEncoder::load(folders.clip, networks.placement_));
    networks.tokenizer_ = std::make_shared<models::text::Tokenizer>(models::text::Tokenizer::load(folders.clip));
    if (!networks.text_->has_projection()) throw base::UserError(folders.clip.string(), ": has no text_projection; a whole CLIPModel was expected");
  }
  const auto& wanted = options.scoring.face_detector;
  networks.detector_ = wanted.kind == "landmarks" ? landmark_detector(options, model, networks.placement_) : media::make_face_detector(wanted);
  if (options.frames_without_face == "whole_frame") networks.frame_detector_ = std::make_unique<WholeFrameWithoutFace>(*networks.detector_);
  return networks;
}

at::Tensor RewardNetworks::text_feature(const std::string& prompt) {
  const auto known = features_.find(prompt);
  if (known != features_.end()) return known->second;
  const c10::AutoGradMode no_grad(false);
  const auto limit = text_->config().max_position_embeddings;
  const at::Tensor ids = at::tensor(tokenizer_->encode_padded(prompt, limit).ids).unsqueeze(0).to(placement_.device);
  const at::Tensor feature = normalise_rows((*text_)(ids).text_embeds.to(at::kFloat).cpu())[0];
  return features_.emplace(prompt, feature).first->second;
}

}  // namespace magicid::rewards
