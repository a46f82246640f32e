#include "rewards/landmark_faces.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace magicid::rewards {
namespace {

class LandmarkFaceDetector final : public media::FaceDetector {
 public:
  LandmarkFaceDetector(std::shared_ptr<const models::vision::LandmarkDetector> network, double score_threshold)
      : network_(std::move(network)), score_threshold_(score_threshold) {}

  std::vector<media::FaceDetection> detect(const at::Tensor& image) override {
    const c10::AutoGradMode no_grad(false);
    const auto letterbox = models::vision::letterbox(image.cpu(), network_->config);
    const auto output = (*network_)(letterbox.square.unsqueeze(0));
    const double score = 1 / (1 + std::exp(-output.score.item<double>()));
    // A score that is not finite finds nothing.
    if (!(score >= score_threshold_)) return {};
    const at::Tensor points = output.points[0].cpu().contiguous();
    const auto at_square = points.accessor<float, 2>();
    const auto in_image = [&](int k) {
      return media::Point{(at_square[k][0] - letterbox.shift_x) / letterbox.scale_x, (at_square[k][1] - letterbox.shift_y) / letterbox.scale_y};
    };
    media::FaceDetection face;
    face.landmarks.emplace();
    for (int k = 0; k < 5; ++k) (*face.landmarks)[static_cast<std::size_t>(k)] = in_image(k);
    const media::Point first = in_image(5), last = in_image(6);
    // Boxes count from pixels' edges, points from their centres. Corners that crossed leave no box.
    face.box = {first.x + 0.5, first.y + 0.5, last.x - first.x, last.y - first.y};
    if (face.box.width <= 0 || face.box.height <= 0) return {};
    face.score = score;
    return {face};
  }
  std::string name() const override { return "landmarks"; }

 private:
  std::shared_ptr<const models::vision::LandmarkDetector> network_;
  double score_threshold_;
};

}  // namespace

std::unique_ptr<media::FaceDetector> landmark_face_detector(std::shared_ptr<const models::vision::LandmarkDetector> network, double score_threshold) {
  return media::only_with_texture(std::make_unique<LandmarkFaceDetector>(std::move(network), score_threshold));
}

}  // namespace magicid::rewards
