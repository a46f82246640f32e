// Recomputation of a block's activations in its backward (Chen et al. 2016, arXiv:1604.06174), block by block.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <vector>

#include "models/generator/attention_kernel.h"
#include "models/generator/recompute_plan.h"

namespace magicid::models::generator {

// A block as a function of its inputs; it may overwrite them when grad mode is off. Everything else that it reads must stay until backward.
using BlockFunction = std::function<std::vector<at::Tensor>(std::vector<at::Tensor> inputs, AttentionTape* tape)>;

// block(inputs), with a graph that computes it again in backward as `mode` says. `parameters` are the leaves inside the block whose gradients
// are wanted: a parameter that is missing here gets none. Their gradients are the bits of plain autograd's in every mode; gradients of
// `inputs` too, but those of an input that other blocks share (the conditioning vector) are then summed in another order.
// Differentiable once. With grad mode off, or when nothing needs a gradient, this is block(inputs). Collective where the block is, in forward
// and backward.
std::vector<at::Tensor> run_block(Recompute mode, const BlockFunction& block, std::vector<at::Tensor> inputs, const std::vector<at::Tensor>& parameters);

}  // namespace magicid::models::generator
