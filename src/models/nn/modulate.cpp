#include "models/nn/modulate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/layer_norm.h>
#include <c10/util/ArrayRef.h>

#include "base/errors.h"
#include "models/nn/modulate_device.h"

namespace magicid::models::nn {

namespace {

void check(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale) {
  const bool fits = x.dim() == 3 && shift.dim() == 2 && scale.sizes() == shift.sizes() && shift.size(0) == x.size(0) && shift.size(1) == x.size(2);
  if (fits && shift.scalar_type() == x.scalar_type() && scale.scalar_type() == x.scalar_type() && shift.device() == x.device() &&
      scale.device() == x.device()) {
    return;
  }
  throw base::InvariantError("layer_norm_modulate takes x [B,S,D] and shift, scale [B,D] of one dtype on one device, and got x ", x.sizes(), ' ',
                             x.scalar_type(), " on ", x.device(), ", shift ", shift.sizes(), ' ', shift.scalar_type(), " on ", shift.device(), ", scale ",
                             scale.sizes(), ' ', scale.scalar_type(), " on ", scale.device());
}

bool asks_for_gradients(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale) {
  return at::GradMode::is_enabled() && (x.requires_grad() || shift.requires_grad() || scale.requires_grad());
}

}  // namespace

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps) {
  check(x, shift, scale);
  if (device_modulates(x) && !asks_for_gradients(x, shift, scale)) {
    return device_layer_norm_modulate(x.contiguous(), shift.contiguous(), scale.contiguous(), eps);
  }
  return at::layer_norm(x, {x.size(2)}, {}, {}, eps).mul(scale.unsqueeze(1).add(1)).add(shift.unsqueeze(1));
}

}  // namespace magicid::models::nn
