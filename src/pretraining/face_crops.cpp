#include "pretraining/face_crops.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "media/alignment.h"
#include "media/image.h"
#include "pretraining/augmentation.h"

namespace magicid::pretraining {

at::Tensor face_mask(const at::Tensor& boxes, std::int64_t height, std::int64_t width) {
  at::Tensor mask = at::zeros({boxes.size(0), 1, height, width});
  const auto box = boxes.accessor<float, 2>();
  for (std::int64_t f = 0; f < boxes.size(0); ++f) {
    const auto index = [](float value, std::int64_t size) { return std::clamp<std::int64_t>(std::llround(value), 0, size); };
    const std::int64_t left = index(box[f][0], width), right = index(box[f][2], width), top = index(box[f][1], height), bottom = index(box[f][3], height);
    if (right > left && bottom > top) mask[f].narrow(1, top, bottom - top).narrow(2, left, right - left).fill_(1);
  }
  return mask;
}

at::Tensor head_shares(const at::Tensor& boxes, std::int64_t height, std::int64_t width, std::int64_t patch, std::int64_t frames_per_latent) {
  at::Tensor heads = boxes.clone();
  // Boxes reach from brows to chin and from ear to ear: hair and hats lie above.
  heads.select(1, 1).sub_(heads.select(1, 3) - heads.select(1, 1), 0.6);
  const at::Tensor shown = at::adaptive_avg_pool2d(face_mask(heads, height, width), {height / patch, width / patch});  // [F,1,h,w]
  std::vector<at::Tensor> tokens{shown.narrow(0, 0, 1)};
  for (std::int64_t first = 1; first < shown.size(0); first += frames_per_latent) tokens.push_back(shown.narrow(0, first, frames_per_latent).amax(0, true));
  return at::cat(tokens).flatten();
}

at::Tensor as_received(const at::Tensor& image, miniature::Dice& dice) {
  const at::Tensor degraded = degrade(image.unsqueeze(0), dice)[0];
  if (!dice.chance(0.3)) return degraded;
  return media::decode_image(media::encode_jpeg(degraded, 40 + dice.below(55)), "a picture of the small world");
}

media::FaceDetection exact_face(const miniature::Photo& photo) {
  media::FaceDetection face;
  const auto box = photo.box.accessor<float, 1>();
  // Boxes have pixel centres at halves, the world's and its landmarks have them at integers.
  face.box = {box[0] + 0.5, box[1] + 0.5, static_cast<double>(box[2] - box[0]), static_cast<double>(box[3] - box[1])};
  face.landmarks.emplace();
  const auto points = photo.landmarks.accessor<float, 2>();
  for (int k = 0; k < 5; ++k) (*face.landmarks)[static_cast<std::size_t>(k)] = {points[k][0], points[k][1]};
  face.score = 1;
  return face;
}

at::Tensor training_face(const miniature::Scene& scene, const WorldOptions& world, miniature::Dice& dice) {
  const double scale = dice.chance(0.4) ? 1.0 : dice.uniform(1, 2);
  const auto sized = [&](std::int64_t size) { return static_cast<std::int64_t>(std::llround(scale * static_cast<double>(size))); };
  const auto photo = miniature::render_photo(scene, dice.uniform(), sized(world.height), sized(world.width));
  auto face = exact_face(photo);
  for (auto& point : *face.landmarks) point.x += scale * dice.uniform(-0.35, 0.35), point.y += scale * dice.uniform(-0.35, 0.35);
  return media::align_face(as_received(photo.image, dice), face) * 2 - 1;
}

at::Tensor exact_crop(const miniature::Scene& scene, const WorldOptions& world, double time) {
  const auto photo = miniature::render_photo(scene, time, world.height, world.width);
  return media::align_face(photo.image, exact_face(photo)) * 2 - 1;
}

}  // namespace magicid::pretraining
