#include "diffusion/guidance.h"

#include <ATen/ops/full.h>

#include "base/errors.h"

namespace magicid::diffusion {

at::Tensor embedded_guidance(double scale, std::int64_t batch, c10::Device device) {
  return at::full({batch}, 1000 * scale, at::TensorOptions().dtype(at::kFloat).device(device));
}

bool uses_true_guidance(double scale, bool has_negative_prompt) { return scale > 1 && has_negative_prompt; }

at::Tensor true_guidance(const at::Tensor& positive, const at::Tensor& negative, double scale) {
  base::check_invariant(positive.sizes() == negative.sizes(), "true guidance: positive ", positive.sizes(), " and negative ", negative.sizes(),
                        " differ in shape");
  return positive.sub(negative).mul(scale).add(negative);
}

}  // namespace magicid::diffusion
