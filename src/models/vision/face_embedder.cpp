#include "models/vision/face_embedder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include "base/errors.h"
#include "models/vision/network_config.h"

namespace magicid::models::vision {

const std::vector<std::string>& face_embedder_architectures() {
  static const std::vector<std::string> names = {"iresnet18",  "iresnet34",  "iresnet50",           "iresnet100",
                                                 "iresnet200", "mobilefacenet_112x96", "mobilefacenet_112x112"};
  return names;
}

std::int64_t default_embedding_size(const std::string& architecture) { return architecture == "mobilefacenet_112x96" ? 128 : 512; }

FaceEmbedder FaceEmbedder::load(const std::filesystem::path& folder, const nn::Placement& placement) {
  const NetworkConfig config = NetworkConfig::open(folder / "config.json");
  const std::string architecture = config.architecture(face_embedder_architectures());
  return from_weights(nn::Weights::open_folder(folder, placement), architecture, config.positive("embedding_size", default_embedding_size(architecture)));
}

FaceEmbedder FaceEmbedder::from_weights(const nn::Weights& weights, const std::string& architecture, std::int64_t embedding_size) {
  // Files saved from a network under DataParallel.
  const nn::Weights keys = weights.contains("module.conv1.weight") || weights.contains("module.conv1.conv.weight") || weights.contains("module.layers.0.layers.0.weight")
                               ? weights.sub("module.")
                               : weights;
  FaceEmbedder embedder;
  embedder.architecture = architecture;
  embedder.embedding_size = embedding_size;
  embedder.placement = weights.placement();
  if (architecture == "mobilefacenet_112x96") embedder.network = MobileFaceNet::load_112x96(keys, embedding_size);
  else if (architecture == "mobilefacenet_112x112") embedder.network = MobileFaceNet::load_112x112(keys, embedding_size);
  else embedder.network = IResNet::load(keys, architecture, embedding_size);
  keys.finish();
  return embedder;
}

at::Tensor FaceEmbedder::operator()(const at::Tensor& faces) const {
  base::check_invariant(faces.dim() == 4 && faces.size(1) == 3 && faces.size(2) == face_size && faces.size(3) == face_size, "faces have the shape ",
                        faces.sizes(), "; [N,3,112,112] was expected");
  if (faces.size(0) == 0) return at::zeros({0, embedding_size}, at::TensorOptions().dtype(at::kFloat).device(placement.device));
  const at::NoGradGuard no_gradient;
  const at::Tensor x = faces.to(placement.device, placement.dtype);
  return std::visit([&](const auto& embed) { return embed(x); }, network).to(at::kFloat);
}

}  // namespace magicid::models::vision
