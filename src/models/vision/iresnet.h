// IResNet face embedders (ArcFace): 18, 34, 50, 100 and 200 layers.
// Source: Deng et al., "ArcFace" (arXiv:1801.07698); keys of deepinsight/insightface, recognition/arcface_torch/backbones/iresnet.py.
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

// Blocks in each of the four layers. Throws UserError for another name than iresnet18, 34, 50, 100, 200.
std::array<std::int64_t, 4> iresnet_blocks(const std::string& architecture);

// N images, channels, height and width 112.
struct IResNet {
  struct Block {
    ChannelAffine input_norm;  // before a padded convolution, so that it cannot be folded in; [C,1,1] in the placement's dtype
    BatchNorm training_norm;   // in its place in training
    Convolution conv1, conv2;
    at::Tensor slope;        // [C] of the PReLU
    Convolution downsample;  // weight undefined when the block keeps its shape
  };
  Convolution stem;
  at::Tensor stem_slope;
  std::vector<Block> blocks;
  nn::Linear head;                    // last batch norm, fully connected layer and batch norm of the features in one
  BatchNorm before_head, after_head;  // defined only in training

  // `embedding_size` is 512 in the public checkpoints.
  static IResNet load(const nn::Weights& weights, const std::string& architecture, std::int64_t embedding_size, const NormMode& norms = {});

  // faces [N,3,112,112] in the placement's dtype -> [N, embedding_size], not normalised.
  at::Tensor operator()(const at::Tensor& faces) const;
};

}  // namespace magicid::models::vision
