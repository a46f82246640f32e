// CLIP's image encoder with its projection.
// Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020); configuration and
// keys of transformers' CLIPModel and CLIPVisionModelWithProjection (models/clip/modeling_clip.py).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "models/nn/linear.h"
#include "models/nn/weights.h"
#include "models/vision/clip_preprocessing.h"

namespace magicid::models::nn {
class NetworkConfig;
}

namespace magicid::models::vision {

// Defaults are transformers' own, which its config.json may leave out.
struct ClipVisionConfig {
  enum class Activation { quick_gelu, gelu };
  std::int64_t hidden_size = 768, intermediate_size = 3072, layers = 12, heads = 12;
  std::int64_t image_size = 224, patch_size = 32;
  std::int64_t projection_dim = 512;
  double layer_norm_eps = 1e-5;
  Activation activation = Activation::quick_gelu;

  // Takes a full model's config.json (`architecture: clip`, `model_type: clip` or `architectures: ["CLIPModel"]`; the vision half is its
  // vision_config) and an image encoder's alone (`model_type: clip_vision_model`). Throws UserError for anything else.
  static ClipVisionConfig from_json(const nn::NetworkConfig& config);
};

// N images, T = (image_size / patch_size)^2 + 1 tokens, D hidden size.
struct ClipVision {
  struct Norm {
    at::Tensor weight, bias;  // [D]
  };
  struct Layer {
    Norm norm1, norm2;
    nn::Linear qkv, out, fc1, fc2;
  };
  ClipVisionConfig config;
  ClipPreprocessing preprocessing;
  nn::Placement placement;
  at::Tensor class_embedding;     // [D]
  at::Tensor patch_embedding;     // [D, 3, patch, patch]
  at::Tensor position_embedding;  // [T, D]
  Norm pre_norm, post_norm;
  std::vector<Layer> layers;
  nn::Linear projection;  // no bias

  // Reads config.json, preprocessor_config.json when it is there, and the weights. Tensors of the text half are left alone.
  // Throws UserError that names the file and what is wrong with it.
  static ClipVision load(const std::filesystem::path& folder, const nn::Placement& placement);
  // Keys with or without the prefix "vision_model.". `preprocessing` is set to CLIP's own figures at the configured size.
  static ClipVision from_weights(const nn::Weights& weights, const ClipVisionConfig& config);

  // pixel_values [N,3,image_size,image_size], as `preprocessing` gives them -> image embeddings [N, projection_dim] float on the
  // placement's device, not normalised. Recorded by autograd where grad mode is on and the pixel values need a gradient; parameters alone do not
  // make a graph here. Throws InvariantError for another shape.
  at::Tensor operator()(const at::Tensor& pixel_values) const;
  // The same, recorded by autograd whenever grad mode is on: for training.
  at::Tensor embed(const at::Tensor& pixel_values) const;

  // frames [N,3,H,W] RGB in 0..1 of any size -> [N, projection_dim] float, not normalised: preprocessing and encoder in one, a few frames
  // at a time. Recorded by autograd where grad mode is on and the frames need a gradient.
  at::Tensor encode_frames(const at::Tensor& frames) const;
};

}  // namespace magicid::models::vision
