#include "rewards/models.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "models/vision/optical_flow.h"

namespace magicid::rewards {

FaceNetwork face_network(std::shared_ptr<const models::vision::FaceEmbedder> network) {
  return [network](const at::Tensor& faces) { return (*network)((faces - 0.5) / 0.5); };
}

ImageNetwork image_network(std::shared_ptr<const models::vision::ClipVision> network) {
  return [network](const at::Tensor& frames) { return network->encode_frames(frames.to(network->placement.device)); };
}

FlowNetwork flow_network(std::shared_ptr<const models::vision::Raft> network, std::int64_t updates) {
  return [network, updates](const at::Tensor& first, const at::Tensor& second) {
    return models::vision::estimate_flow(*network, first * 2 - 1, second * 2 - 1, static_cast<int>(updates));
  };
}

}  // namespace magicid::rewards
