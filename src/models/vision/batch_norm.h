// Batch norms that are not folded: networks in training.
//
// Training takes the statistics of the batch at hand and keeps none, so that ranks need not agree on running ones. When it ends, the population's
// statistics are computed once, over batches of the caller's choice ("precise batch norm": Wu & Johnson, "Rethinking 'Batch' in BatchNorm",
// arXiv:2105.07576, section 3), and written as running_mean and running_var, which is what evaluation folds.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "models/nn/weights.h"
#include "storage/safetensors.h"

namespace magicid::models::vision {

// What passes through a network's batch norms, summed over batches. One network, one thread.
class BatchStatistics {
 public:
  // x [N,C] or [N,C,H,W], of the norm called `name`.
  void add(const std::string& name, const at::Tensor& x);
  // `name`.running_mean and `name`.running_var [C] float of all that was added.
  storage::NamedTensors population() const;

 private:
  struct Sums {
    at::Tensor sum, squares;  // [C] double
    std::int64_t count = 0;
  };
  std::map<std::string, Sums> sums_;
};

// How a network is loaded: with its norms folded into what stands before them, or for training. Weights for training have no running
// statistics; those in a file are ignored.
struct NormMode {
  bool training = false;
  BatchStatistics* statistics = nullptr;  // receives what training norms see; outlives the network
};

struct BatchNorm {
  at::Tensor weight, bias;  // [C] float; undefined: no norm
  std::string name;
  BatchStatistics* statistics = nullptr;

  bool defined() const { return weight.defined(); }
  // x [N,C] or [N,C,H,W], normalised with its own mean and variance for each channel, eps 1e-5.
  at::Tensor operator()(const at::Tensor& x) const;
};

// Takes `name`.{weight,bias} [channels]. `mode.training` must be set.
BatchNorm load_training_norm(const nn::Weights& weights, const std::string& name, std::int64_t channels, const NormMode& mode);

}  // namespace magicid::models::vision
