// All weights of a network on one flat vector, for training it whole.
//
// The optimizer works on one vector; the network is built anew from named parts of it at every step, with the loading code that reads its files.
// Whatever loading does (casts, fused matrices, folded norms) is then recorded by autograd, so no network needs a second, trainable form.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <string>

#include "models/nn/weights.h"
#include "storage/safetensors.h"

namespace magicid::models::nn {

class Parameters {
 public:
  // Copies of `initial` (floating tensors under their file names) in float on `device`. `origin` is used in messages.
  Parameters(const storage::NamedTensors& initial, c10::Device device, std::string origin);

  // [P] float: values, and the buffer that backward passes add to. Always the same storage.
  const at::Tensor& values() const { return values_; }
  const at::Tensor& gradient() const { return gradient_; }

  // Weights to build the network from, in `dtype`. With grad mode on, gradients of what is built reach gradient(): build anew for every
  // backward pass. With grad mode off it is an ordinary copy.
  Weights weights(at::ScalarType dtype) const;

  // The parts by name, float, sharing memory with values(), without gradient.
  storage::NamedTensors named_tensors() const;
  // The parts as leaves that record gradients; one of them, for heads that only training has.
  const storage::NamedTensors& leaves() const { return leaves_; }
  const at::Tensor& at(const std::string& name) const;
  // Overwrites the parts that `tensors` names. Throws UserError for an unknown name or another shape.
  void assign(const storage::NamedTensors& tensors);

 private:
  std::string origin_;
  at::Tensor values_, gradient_;
  storage::NamedTensors leaves_;
};

}  // namespace magicid::models::nn
