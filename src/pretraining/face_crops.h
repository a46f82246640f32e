// Aligned faces of the small world, as training and validation of the face embedder see them.
#pragma once

#include <ATen/core/Tensor.h>

#include "media/faces.h"
#include "miniature/dice.h"
#include "miniature/world.h"
#include "pretraining/network.h"

namespace magicid::pretraining {

// boxes [F,4] -> [F,1,H,W]: 1 inside, 0 elsewhere.
at::Tensor face_mask(const at::Tensor& boxes, std::int64_t height, std::int64_t width);

// boxes [F,4] of a face in each frame -> [S], S = latent frames x H/patch x W/patch, as the transformer orders its tokens: the share of a token's pixels, in
// the frame where it is largest, that show the head. Frame 0 is a latent frame of its own, then every `frames_per_latent` are one; F = 1 + n frames_per_latent.
// `patch`: pixels of a token's side.
at::Tensor head_shares(const at::Tensor& boxes, std::int64_t height, std::int64_t width, std::int64_t patch, std::int64_t frames_per_latent);

// image [3,H,W] in 0..1 as it may reach a run: degraded as augmentation.h does, and in some pictures by a lossy file.
at::Tensor as_received(const at::Tensor& image, miniature::Dice& dice);

// The photo's exact landmarks and box.
media::FaceDetection exact_face(const miniature::Photo& photo);

// A face of `scene` at a random time, rendered between once and twice as large as `world`'s frames, as_received; aligned by
// landmarks that are off by up to a third of a frame's pixel: [3,112,112] in -1..1.
at::Tensor training_face(const miniature::Scene& scene, const WorldOptions& world, miniature::Dice& dice);

// A face in a frame of the world, aligned by its exact landmarks: [3,112,112] in -1..1.
at::Tensor exact_crop(const miniature::Scene& scene, const WorldOptions& world, double time);

}  // namespace magicid::pretraining
