// Faces aligned to the ArcFace template, the input of every face embedder here.
// Sources: S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, equations 34-43; the template is
// insightface's (python-package/insightface/utils/face_align.py).
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <span>

#include "media/faces.h"

namespace magicid::media {

// The five points in a 112x112 crop: left eye in the picture, right eye, nose tip, mouth corners. Pixel indices (a pixel's centre is an integer).
inline constexpr std::array<Point, 5> arcface_template{{{38.2946, 51.6963}, {73.5318, 51.5014}, {56.0252, 71.7366}, {41.5493, 92.3655}, {70.7299, 92.2041}}};

// Where a typical frontal face box (Haar cascade frontalface_alt2) lies in the same crop: a square of this side around this centre. It is the scale and shift,
// without rotation, that brings the mean landmarks inside such boxes (eyes at 0.28/0.72 of the width and 0.38 of the height, nose 0.5/0.64, mouth 0.31/0.69 and
// 0.80, measured against YuNet's landmarks) closest to the template.
inline constexpr double template_box_side = 87.4;
inline constexpr Point template_box_center{56.0, 63.0};

// x' = a x - b y + tx, y' = b x + a y + ty.
struct Similarity {
  double a = 1, b = 0, tx = 0, ty = 0;
  Point operator()(const Point& p) const { return {a * p.x - b * p.y + tx, b * p.x + a * p.y + ty}; }
  double scale() const;
  Similarity inverse() const;
};

// The least-squares similarity (rotation, one scale, shift; no reflection) from `from` to `to`, at least two points each, not all equal (InvariantError).
Similarity fit_similarity(std::span<const Point> from, std::span<const Point> to);

// The map from the image's pixel indices to those of the 112x112 crop: by the landmarks; without them by the box (no rotation); for the
// whole image (detector `none`) its centre square fills the crop.
Similarity alignment_of(const FaceDetection& face);

// image [3,H,W] -> [3,size,size], size 112 unless told (the template scales with it). Bilinear, 0 outside the image, as insightface's warp; a face that is at
// least twice too large is first averaged over whole pixel blocks, so that photos do not alias. Differentiable with respect to the image.
at::Tensor align_face(const at::Tensor& image, const FaceDetection& face, std::int64_t size = 112);
at::Tensor warp_similarity(const at::Tensor& image, const Similarity& to_crop, std::int64_t size);

}  // namespace magicid::media
