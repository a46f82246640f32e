// A face's embedding: the networks that R_id and the face similarity stand on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "models/nn/weights.h"
#include "models/vision/iresnet.h"
#include "models/vision/mobilefacenet.h"

namespace magicid::models::nn {
class NetworkConfig;
}

namespace magicid::models::vision {

// Side of the aligned face in pixels.
inline constexpr std::int64_t face_size = 112;

// The values that `architecture` may have in an `arcface` folder's config.json.
const std::vector<std::string>& face_embedder_architectures();

// What an `arcface` folder's config.json says.
struct FaceEmbedderConfig {
  std::string architecture;
  std::int64_t embedding_size = 0;  // 0: the public checkpoints'
  MobileFaceNetShape shape;         // `channels` and `blocks`, for mobilefacenet_112x112 alone

  // Throws UserError naming the file and key.
  static FaceEmbedderConfig from_json(const nn::NetworkConfig& json);
  std::string to_json() const;
};

struct FaceEmbedder {
  std::variant<IResNet, MobileFaceNet> network;
  std::string architecture;
  std::int64_t embedding_size = 0;
  nn::Placement placement;

  // Reads config.json (FaceEmbedderConfig; all but `architecture` may be absent) and the weights; keys may all begin with "module.".
  // Throws UserError that names the file and what is wrong with it.
  static FaceEmbedder load(const std::filesystem::path& folder, const nn::Placement& placement);
  // For training, with norms that take the batch's statistics.
  static FaceEmbedder from_weights(const nn::Weights& weights, const FaceEmbedderConfig& config, const NormMode& norms = {});

  // faces [N,3,112,112]: aligned, RGB, (x / 255 - 0.5) / 0.5, any floating dtype and device; N may be 0.
  // -> [N, embedding_size] float (double where the placement is) on its device, not normalised. Recorded by autograd where grad mode is on and `faces` need a
  // gradient, for a reward's gradient; parameters alone do not make a graph here. Throws InvariantError for another shape.
  at::Tensor operator()(const at::Tensor& faces) const;
  // The same, recorded by autograd whenever grad mode is on: for training. At least one face; in training at least two.
  at::Tensor embed(const at::Tensor& faces) const;
};

// The embedding size of the public checkpoints: 128 for mobilefacenet_112x96, else 512.
std::int64_t default_embedding_size(const std::string& architecture);

}  // namespace magicid::models::vision
