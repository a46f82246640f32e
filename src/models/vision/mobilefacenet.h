// MobileFaceNet face embedders: two public variants, three public namings of their tensors.
// Source: Chen et al., "MobileFaceNets" (arXiv:1804.07573); keys of Xiaoccer/MobileFaceNet_Pytorch (core/model.py),
// TreB1eN/InsightFace_Pytorch (model.py) and deepinsight/insightface (recognition/arcface_torch/backbones/mobilefacenet.py).
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "models/nn/linear.h"
#include "models/nn/weights.h"
#include "models/vision/convolution.h"

namespace magicid::models::vision {

// Widths and depths of mobilefacenet_112x112 in TreB1eN's naming. The default is the public network; small worlds do with less.
struct MobileFaceNetShape {
  std::array<std::int64_t, 4> channels{64, 128, 128, 512};  // at 56 and 28 pixels, at 14, at 7, and of the last convolution
  std::array<std::int64_t, 3> blocks{4, 6, 2};              // residual blocks at 28, 14 and 7 pixels
  bool operator==(const MobileFaceNetShape&) const = default;
};

struct MobileFaceNet {
  // Convolution and batch norm, then a PReLU unless the unit is linear.
  struct Unit {
    Convolution conv;
    at::Tensor slope;  // [C], undefined when linear
  };
  struct Block {
    std::vector<Unit> units;
    bool residual = false;
  };
  // What a file calls a unit's three parts. `slope` is empty for a linear unit.
  struct UnitNames {
    std::string conv, norm, slope;
    // "name.conv", "name.bn", "name.prelu": Xiaoccer's and TreB1eN's.
    static UnitNames spoken(const std::string& name, bool linear = false) { return {name + ".conv", name + ".bn", linear ? "" : name + ".prelu"}; }
  };
  std::vector<Block> blocks;
  BatchNorm after_head;  // defined only in training
  nn::Linear head;       // with its batch norm; weight undefined when the last block gives the embedding (112x96)
  bool narrow = false;   // 112x96: only columns 8..103 of a face are seen

  // mobilefacenet_112x96: Xiaoccer's keys, `embedding_size` 128 in the public checkpoint.
  static MobileFaceNet load_112x96(const nn::Weights& weights, std::int64_t embedding_size, const NormMode& norms = {});
  // mobilefacenet_112x112: TreB1eN's keys, or insightface's (`mbf` and `mbf_large`, which are wider), whichever the file holds;
  // `embedding_size` 512 in the public checkpoints. insightface's have the one shape of their file.
  static MobileFaceNet load_112x112(const nn::Weights& weights, std::int64_t embedding_size, const MobileFaceNetShape& shape = {}, const NormMode& norms = {});

  // faces [N,3,112,112] in the placement's dtype -> [N, embedding_size], not normalised.
  at::Tensor operator()(const at::Tensor& faces) const;
};

}  // namespace magicid::models::vision
