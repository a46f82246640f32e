// RAFT's convolutional encoders: three layers of two residual blocks at an eighth of the resolution.
// Source: torchvision models/optical_flow/raft.py; princeton-vl/RAFT core/extractor.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "models/nn/weights.h"
#include "models/vision/convolution.h"

namespace magicid::models::vision {

struct RaftEncoder {
  enum class Norm { none, instance, batch };
  struct Options {
    std::array<std::int64_t, 5> widths;  // stem, three layers, output
    Norm norm;
    bool bottleneck;  // three convolutions a block, the inner ones a quarter as wide; else two
  };
  // Convolution, then norm (a batch norm is folded into the convolution).
  struct Unit {
    Convolution conv;
    bool instance_norm = false;
    at::Tensor operator()(const at::Tensor& x) const;
  };
  struct Block {
    std::vector<Unit> units;
    Unit downsample;  // weight undefined when the block keeps its shape
  };
  Unit stem;
  std::vector<Block> blocks;
  Convolution out;

  // `name` is the encoder's in torchvision's naming; `rename` gives a module's name in the file.
  static RaftEncoder load(const nn::Weights& weights, const std::string& name, const Options& options,
                          const std::function<std::string(const std::string&)>& rename);

  // x [N,3,H,W] -> [N, widths[4], H/8, W/8]; H and W multiples of 8.
  at::Tensor operator()(const at::Tensor& x) const;
};

}  // namespace magicid::models::vision
