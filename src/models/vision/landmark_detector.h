// A small detector of one main face: is there one, where is its box, where are its five landmarks. Made for the small world's pictures; it finds the
// face it was trained on the likes of, at any size of picture.
//
// The picture is put, whole, into a square with a border. A convolutional pyramid gives a heatmap for each of seven points: the five
// landmarks, the box's upper left and lower right corner. A point is the mean position of its heatmap's softmax, which is exact below a cell's
// size (Sun et al., "Integral Human Pose Regression", arXiv:1711.08229).
//
// N pictures, S the side of the square, M = S / 2 the side of the heatmaps. Positions are pixel indices: a pixel's centre is an integer.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>

#include "models/nn/weights.h"
#include "models/vision/convolution.h"

namespace magicid::models::nn {
class NetworkConfig;
}

namespace magicid::models::vision {

// config.json: {"architecture": "landmark_detector", "image_size", "border", "channels": [at 1/2, at 1/4, at 1/8 of the square]}.
struct LandmarkDetectorConfig {
  std::int64_t image_size = 64;  // S, a multiple of 8
  std::int64_t border = 4;       // pixels of the square on each side that the picture leaves free: boxes may reach out of it
  std::array<std::int64_t, 3> channels{16, 32, 64};

  // Throws UserError naming the file and key. Absent keys have the values above.
  static LandmarkDetectorConfig from_json(const nn::NetworkConfig& json);
  std::string to_json() const;
};

// A picture in the square, and where its points lie there: square = picture * scale + shift.
struct Letterbox {
  at::Tensor square;  // [3,S,S] in -1..1, 0 outside the picture
  double scale_x = 1, scale_y = 1, shift_x = 0, shift_y = 0;
};

struct LandmarkDetector {
  static constexpr std::int64_t points = 7;

  struct Output {
    at::Tensor score;     // [N] float: logit of a face being there
    at::Tensor heatmaps;  // [N,7,M,M] float, logits
    at::Tensor points;    // [N,7,2] float: (x, y) in the square: eye on the left, eye on the right, nose, mouth corners left and right, box corners
  };

  LandmarkDetectorConfig config;
  nn::Placement placement;
  std::array<Convolution, 8> down;                       // two for each halving, two more at the bottom
  Convolution lateral4, merge4, lateral2, merge2, heat;  // back up to 1/4 and to 1/2
  Convolution score;                                     // 1x1, on the mean and the largest value of each bottom channel

  // Throws UserError that names the file and what is wrong with it.
  static LandmarkDetector load(const std::filesystem::path& folder, const nn::Placement& placement);
  static LandmarkDetector from_weights(const nn::Weights& weights, const LandmarkDetectorConfig& config);

  // squares [N,3,S,S] in -1..1, any floating dtype and device. Recorded by autograd when grad mode is on. Throws InvariantError for another shape.
  Output operator()(const at::Tensor& squares) const;
};

// picture [3,H,W] in 0..1, resized (averaging where it shrinks) and centred.
Letterbox letterbox(const at::Tensor& picture, const LandmarkDetectorConfig& config);

}  // namespace magicid::models::vision
