#include "models/vision/face_embedder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/nn/network_config.h"

namespace magicid::models::vision {

const std::vector<std::string>& face_embedder_architectures() {
  static const std::vector<std::string> names = {
      "iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200", "mobilefacenet_112x96", "mobilefacenet_112x112"};
  return names;
}

std::int64_t default_embedding_size(const std::string& architecture) { return architecture == "mobilefacenet_112x96" ? 128 : 512; }

FaceEmbedderConfig FaceEmbedderConfig::from_json(const nn::NetworkConfig& json) {
  FaceEmbedderConfig config;
  config.architecture = json.choice("architecture", face_embedder_architectures());
  config.embedding_size = json.size("embedding_size", default_embedding_size(config.architecture));
  config.shape.channels = json.sizes("channels", config.shape.channels);
  config.shape.blocks = json.sizes("blocks", config.shape.blocks);
  if (config.architecture != "mobilefacenet_112x112" && config.shape != MobileFaceNetShape{})
    throw base::UserError(json.place(), ": `channels` and `blocks` belong to mobilefacenet_112x112; ", config.architecture, " has one shape");
  return config;
}

std::string FaceEmbedderConfig::to_json() const {
  nlohmann::json json = {{"architecture", architecture}, {"embedding_size", embedding_size > 0 ? embedding_size : default_embedding_size(architecture)}};
  if (shape != MobileFaceNetShape{}) json["channels"] = shape.channels, json["blocks"] = shape.blocks;
  return json.dump(2) + "\n";
}

FaceEmbedder FaceEmbedder::load(const std::filesystem::path& folder, const nn::Placement& placement) {
  const auto config = FaceEmbedderConfig::from_json(nn::NetworkConfig::open(folder / "config.json"));
  return from_weights(nn::Weights::open_folder(folder, placement), config);
}

FaceEmbedder FaceEmbedder::from_weights(const nn::Weights& weights, const FaceEmbedderConfig& config, const NormMode& norms) {
  // Files saved from a network under DataParallel.
  const nn::Weights keys =
      weights.contains("module.conv1.weight") || weights.contains("module.conv1.conv.weight") || weights.contains("module.layers.0.layers.0.weight")
          ? weights.sub("module.")
          : weights;
  FaceEmbedder embedder;
  const std::string& architecture = embedder.architecture = config.architecture;
  const std::int64_t embedding_size = embedder.embedding_size = config.embedding_size > 0 ? config.embedding_size : default_embedding_size(architecture);
  embedder.placement = weights.placement();
  if (architecture == "mobilefacenet_112x96") embedder.network = MobileFaceNet::load_112x96(keys, embedding_size, norms);
  else if (architecture == "mobilefacenet_112x112") embedder.network = MobileFaceNet::load_112x112(keys, embedding_size, config.shape, norms);
  else embedder.network = IResNet::load(keys, architecture, embedding_size, norms);
  keys.finish();
  return embedder;
}

at::Tensor FaceEmbedder::embed(const at::Tensor& faces) const {
  base::check_invariant(faces.dim() == 4 && faces.size(1) == 3 && faces.size(2) == face_size && faces.size(3) == face_size, "faces have the shape ",
                        faces.sizes(), "; [N,3,112,112] was expected");
  const at::Tensor x = faces.to(placement.device, placement.dtype);
  const at::Tensor embeddings = std::visit([&](const auto& of) { return of(x); }, network);
  return placement.dtype == at::kDouble ? embeddings : embeddings.to(at::kFloat);
}

at::Tensor FaceEmbedder::operator()(const at::Tensor& faces) const {
  const at::AutoGradMode gradient(at::GradMode::is_enabled() && faces.requires_grad());
  if (faces.dim() == 4 && faces.size(0) == 0) return at::zeros({0, embedding_size}, at::TensorOptions().dtype(at::kFloat).device(placement.device));
  return embed(faces);
}

}  // namespace magicid::models::vision
