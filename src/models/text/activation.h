// Activation functions by the names that transformers' configurations use.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace magicid::models::text {

enum class Activation { silu, gelu, gelu_tanh, quick_gelu };

// "silu"/"swish", "gelu", "gelu_new"/"gelu_pytorch_tanh", "quick_gelu". Throws UserError naming any other.
Activation activation(const std::string& name, const std::string& where);
at::Tensor activate(const at::Tensor& x, Activation kind);

}  // namespace magicid::models::text
