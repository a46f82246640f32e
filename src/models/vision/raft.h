// RAFT optical flow, large and small.
// Source: Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow" (arXiv:2003.12039); torchvision
// models/optical_flow/raft.py (raft_large, raft_small); princeton-vl/RAFT core/.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "models/nn/weights.h"
#include "models/vision/convolution.h"
#include "models/vision/raft_encoder.h"

namespace magicid::models::vision {

// The values that `architecture` may have in a `raft` folder's config.json: raft_large, raft_small.
const std::vector<std::string>& raft_architectures();

// Widths and kernels of the two networks. Throws UserError for another name than those above.
struct RaftSizes {
  RaftEncoder::Options features, context;
  std::int64_t radius, state, context_out;
  std::vector<std::int64_t> correlation, flow;  // of the motion encoder's layers
  std::int64_t motion;                          // motion encoder's output, the flow's two channels included
  std::vector<std::array<std::int64_t, 2>> gru_kernels;
  std::int64_t flow_head;
  bool mask;  // upsampling by a predicted mask
};
RaftSizes raft_sizes(const std::string& architecture);
inline constexpr int raft_pyramid_levels = 4;

// The smallest height and width that the network takes: below it the coarsest correlation level has a single row.
inline constexpr std::int64_t raft_minimum_size = 128;

// Always computed in float: a flow is a difference of coordinates.
// N pairs, h = H/8, w = W/8.
struct Raft {
  // A gated recurrent unit. Its input is state, context, motion; the context is the same at every update, so that its part of the
  // convolutions (with the biases) is computed once.
  struct Gru {
    Convolution gates, candidate;                  // of [state, motion]: update and reset gate in one, and the candidate
    Convolution gates_context, candidate_context;  // of the context
  };
  RaftEncoder feature_encoder, context_encoder;
  std::vector<Convolution> correlation_layers, flow_layers;  // of the motion encoder; each followed by a ReLU
  Convolution motion_out;
  std::vector<Gru> grus;
  Convolution flow_head1, flow_head2;
  Convolution mask1, mask2;  // weights undefined in the small network, which upsamples bilinearly
  std::int64_t state_size = 0, radius = 0;
  c10::Device device = c10::kCPU;

  // Reads config.json (`architecture`) and the weights, named as torchvision or as princeton-vl/RAFT name them (with or without
  // "module."). Throws UserError that names the file and what is wrong with it.
  static Raft load(const std::filesystem::path& folder, c10::Device device);
  static Raft from_weights(const nn::Weights& weights, const std::string& architecture);

  // image1, image2 [N,3,H,W] RGB in -1..1, H and W multiples of 8 and at least raft_minimum_size; `updates` at least 1 (12 is the
  // networks' default, 20 VBench's) -> the last flow [N,2,H,W] float on `device`: channel 0 is x, channel 1 is y, in pixels, and pixel p of
  // image1 is found at p + flow in image2. Memory: 4 * 4/3 * (hw)^2 bytes a pair for the correlations. Not differentiable.
  // Throws InvariantError for other shapes.
  at::Tensor flow(const at::Tensor& image1, const at::Tensor& image2, int updates) const;

  // The same with the flows after every update, recorded by autograd where grad mode is on: for training. As in the reference, no gradient passes from an
  // update's flow into the next update's start, only through the recurrent state.
  std::vector<at::Tensor> flows(const at::Tensor& image1, const at::Tensor& image2, int updates) const;

 private:
  std::vector<at::Tensor> run(const at::Tensor& image1, const at::Tensor& image2, int updates, bool all) const;
};

}  // namespace magicid::models::vision
