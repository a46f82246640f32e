// What a backbone's text encoders make of one prompt, and its denoiser reads.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace magicid::models::generator {

// Tensors with a batch of one, under the names of the reference's arguments and in the encoders' order (HunyuanVideo: prompt_embeds [1,L,D],
// pooled_prompt_embeds [1,P], prompt_attention_mask [1,L]). Opaque to whoever carries it from an encoder to a denoiser of the same backbone.
struct Condition {
  std::vector<std::pair<std::string, at::Tensor>> tensors;

  // Throws InvariantError when there is no such tensor: a condition of another backbone.
  const at::Tensor& at(const std::string& name) const;
  // The tensor, or an undefined one.
  at::Tensor find(const std::string& name) const;
  // The same tensors on another device.
  Condition to(c10::Device device) const;
};

}  // namespace magicid::models::generator
