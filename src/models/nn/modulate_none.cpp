#include "base/errors.h"
#include "models/nn/modulate_device.h"

namespace magicid::models::nn {

bool device_modulates(const at::Tensor&) { return false; }

at::Tensor device_layer_norm_modulate(const at::Tensor&, const at::Tensor&, const at::Tensor&, double) {
  throw base::InvariantError("device_layer_norm_modulate was called in a build without CUDA; device_modulates() says beforehand that it cannot be");
}

}  // namespace magicid::models::nn
