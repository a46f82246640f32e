// What the diffusion transformer costs: floating point operations, bytes of memory, bytes sent. Pure arithmetic on its configuration.
//
// One multiplication and one addition count as two operations; matrix products, convolutions and attention are counted, nothing else (the rest is a
// fraction of a percent of the operations, though not of the time). D width, S tokens (video and text), r the LoRA's rank. Bytes are per rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/generator/recompute_plan.h"
#include "models/hunyuan_video/autoencoder_config.h"
#include "models/hunyuan_video/transformer_config.h"

namespace magicid::planning {

struct VideoSize {
  std::int64_t frames = 61, height = 720, width = 1280;
  bool operator==(const VideoSize&) const = default;
};

struct Tokens {
  std::int64_t video = 0, text = 0;
  std::int64_t all() const { return video + text; }
};

struct AdapterSize {
  std::int64_t lora_rank = 32;
  std::vector<std::string> targets;  // as in a configuration; empty: every Linear of the blocks but the modulations
};

// Throws UserError for a size that does not fit the patches and compression ratios.
Tokens tokens_of(const models::hunyuan_video::TransformerConfig& config, const models::hunyuan_video::AutoencoderConfig& autoencoder, const VideoSize& size,
                 std::int64_t text);

// What one of `sequence` ranks holds of a sample: the largest slice of tokens and the largest slice of heads that any rank has (parallel/sequence_attention.h).
struct Share {
  Tokens whole, local;
  std::int64_t heads = 0;
  int sequence = 1;
};
Share largest_share(const models::hunyuan_video::TransformerConfig& config, const Tokens& whole, int sequence);

std::int64_t transformer_parameters(const models::hunyuan_video::TransformerConfig& config);
std::int64_t adapter_parameters(const models::hunyuan_video::TransformerConfig& config, const AdapterSize& adapter);
std::int64_t adapted_modules(const models::hunyuan_video::TransformerConfig& config, const AdapterSize& adapter);

// Operations of one sample on one rank.
struct Flops {
  double linear = 0;     // of the frozen weights
  double adapter = 0;    // the LoRA's own
  double attention = 0;  // of the blocks and of the text refiner
  double total() const { return linear + adapter + attention; }
  Flops operator+(const Flops& other) const { return {linear + other.linear, adapter + other.adapter, attention + other.attention}; }
  Flops operator*(double factor) const { return {linear * factor, adapter * factor, attention * factor}; }
};

// A prediction. `adapter` may be null: the bare model.
Flops forward_flops(const models::hunyuan_video::TransformerConfig& config, const Share& share, const AdapterSize* adapter);
// What backward computes for the adapter's gradients: for the frozen Linears the gradient of their inputs alone (nothing before the first adapted one),
// for the LoRA both factors' gradients and the inputs'. Attention: two products for each of the forward's two (`executed` false: the model's operations,
// as MFU counts them), or five in all, since flash attention computes the scores again (`executed` true; Dao 2023, arXiv:2307.08691, section 3.1).
Flops backward_flops(const models::hunyuan_video::TransformerConfig& config, const Share& share, const AdapterSize& adapter, bool executed);
// What backward computes a second time.
Flops recomputed_flops(const models::hunyuan_video::TransformerConfig& config, const Share& share, const AdapterSize& adapter,
                       const models::generator::RecomputePlan& recompute);

// Bytes that autograd holds of one sample's forward, read off models/hunyuan_video/transformer_blocks.cpp and recompute.cpp.
struct ActivationBytes {
  double kept = 0;     // over all blocks, when the backward begins
  double working = 0;  // on top of it at the peak: a recomputed block's own activations, and the gradients in flight
  double copies = 0;   // the adapter in the model's dtype (none where that is fp32): of blocks that are not computed again, and of one that is
  double total() const { return kept + working + copies; }
};
// `element`: bytes of a number in the model's dtype. `fused_rotation`: queries and keys are normalised and rotated by one kernel, as on the CPU; elsewhere
// LibTorch's operations do it in fp32, whose temporaries are reckoned from the code and not measured.
ActivationBytes training_bytes(const models::hunyuan_video::TransformerConfig& config, const Share& share, const AdapterSize& adapter,
                               const models::generator::RecomputePlan& recompute, std::int64_t element, bool fused_rotation);
// The most that is alive in a forward without a graph, the inputs left out.
double forward_bytes(const models::hunyuan_video::TransformerConfig& config, const Share& share, std::int64_t element, bool fused_rotation);

// Weights, fp32 optimizer: parameters, gradient, total, two moments of AdamW, and the frozen reference (HPO only).
double weight_bytes(const models::hunyuan_video::TransformerConfig& config, std::int64_t element);
double adapter_state_bytes(const models::hunyuan_video::TransformerConfig& config, const AdapterSize& adapter, bool with_reference);

// Bytes that rank `rank` sends to others in the exchanges of one forward (queries, keys and values in, outputs back, for each block), as
// parallel/sequence_attention.cpp makes them.
double exchange_bytes(const models::hunyuan_video::TransformerConfig& config, const Tokens& whole, int sequence, int rank, std::int64_t element);
// The same of forward and backward, where every block's attention lies behind an adapted Linear: the forward's, the recomputed forward's (whether attention is
// kept or not: its output passes between the ranks again), and in the backward what the others sent to it.
double training_exchange_bytes(const models::hunyuan_video::TransformerConfig& config, const Tokens& whole, int sequence, int rank,
                               const models::generator::RecomputePlan& recompute, std::int64_t element);
// A ring's: 2 (n-1)/n times the bytes (Patarasuk & Yuan 2009).
double all_reduce_bytes(double bytes, int ranks);

}  // namespace magicid::planning
