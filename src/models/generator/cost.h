// What a backbone costs: floating point operations, bytes of memory, bytes sent. What `plan` and the figures of a training step's speed know of a backbone.
//
// One multiplication and one addition count as two operations; matrix products, convolutions and attention are counted, nothing else (the rest is a
// fraction of a percent of the operations, though not of the time). Bytes are of one rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/generator/adaptable.h"
#include "models/generator/recompute_plan.h"
#include "models/generator/token_range.h"
#include "models/generator/video_size.h"

namespace at {
class Tensor;
}

namespace magicid::models::generator {

struct Condition;

struct AdapterSize {
  std::int64_t lora_rank = 32;
  std::vector<std::string> targets;  // as in a configuration; empty: the backbone's default
};

// What one of `sequence` ranks holds of a sample: a slice of the tokens, and inside of attention all tokens with a slice of the heads.
struct Share {
  TokenCounts whole, local;
  std::int64_t heads = 0;
  int sequence = 1;
};

// Operations of one sample on one rank.
struct Flops {
  double linear = 0;     // of the frozen weights
  double adapter = 0;    // the LoRA's own
  double attention = 0;  // of the blocks, and of what the network does to the text before them
  double total() const { return linear + adapter + attention; }
  Flops operator+(const Flops& other) const { return {linear + other.linear, adapter + other.adapter, attention + other.attention}; }
  Flops operator*(double factor) const { return {linear * factor, adapter * factor, attention * factor}; }
};

// How a device computes.
struct Arithmetic {
  std::int64_t element = 2;     // bytes of a number in the network's dtype
  bool fused_rotation = false;  // one kernel normalises and rotates queries and keys, as on the CPU; elsewhere LibTorch's operations do, in fp32
};

// Bytes that autograd holds of one sample's forward.
struct ActivationBytes {
  double kept = 0;     // over all blocks, when the backward begins
  double working = 0;  // on top of it at the peak: a recomputed block's own activations, and the gradients in flight
  double copies = 0;   // the adapter in the network's dtype (none where that is fp32): of blocks that are not computed again, and of one that is
  double total() const { return kept + working + copies; }
};

// Of one video through the network between pixels and latents, in the tiles that the program makes.
struct CodecCost {
  double flops = 0;       // convolutions, attention and its Linears: equal to what is executed
  double peak_bytes = 0;  // most that is alive at once, without weights
};

// A transformer that reads text or patches of a picture: `layers` of attention (keys and values of `kv_width`) and an MLP of `mlp_products` matrices
// (3: gated). `embeddings`: rows of all tables, words and positions.
struct EncoderSize {
  std::int64_t layers = 0, width = 0, kv_width = 0, mlp_width = 0, mlp_products = 2, embeddings = 0;
  double flops(std::int64_t tokens) const;
  double parameters() const;  // norms and biases left out: below a thousandth
};

class BackboneCost {
 public:
  virtual ~BackboneCost() = default;

  // What can be adapted: to check an adapter's targets.
  virtual Adaptable adaptable() const = 0;
  // Blocks that a RecomputePlan can be for.
  virtual std::int64_t blocks() const = 0;
  // Heads of the blocks' attention.
  virtual std::int64_t heads() const = 0;
  // Between one size that fits and the next: heights and widths are multiples of these; fitting numbers of frames differ by multiples.
  virtual VideoSize steps_of_size() const = 0;

  // Tokens of a video and of `text` tokens of a prompt. Throws UserError for a size that does not fit patches and compression.
  virtual TokenCounts tokens_of(const VideoSize& size, std::int64_t text) const = 0;
  // Those that the network sees of latents [1,C,T,H,W] and a prompt without its padding.
  virtual TokenCounts tokens_of(const at::Tensor& latents, const Condition& prompt) const = 0;
  // The largest slice of tokens and the largest slice of heads that any of `sequence` ranks has.
  Share largest_share(const TokenCounts& whole, int sequence) const;

  // Of the network that predicts velocities, of an adapter for it, and the modules that the adapter is put on.
  virtual std::int64_t parameters() const = 0;
  virtual std::int64_t adapter_parameters(const AdapterSize& adapter) const = 0;
  virtual std::int64_t adapted_modules(const AdapterSize& adapter) const = 0;

  // A prediction. `adapter` may be null: the bare network.
  virtual Flops forward_flops(const Share& share, const AdapterSize* adapter) const = 0;
  // What backward computes for the adapter's gradients: for the frozen Linears the gradient of their inputs alone (nothing before the first adapted one),
  // for the LoRA both factors' gradients and the inputs'. Attention: two products for each of the forward's two (`executed` false: the model's operations,
  // as MFU counts them), or five in all, since flash attention computes the scores again (`executed` true; Dao 2023, arXiv:2307.08691, section 3.1).
  virtual Flops backward_flops(const Share& share, const AdapterSize& adapter, bool executed) const = 0;
  // What backward computes a second time.
  virtual Flops recomputed_flops(const Share& share, const AdapterSize& adapter, const RecomputePlan& recompute) const = 0;

  // Of a forward and backward.
  virtual ActivationBytes training_bytes(const Share& share, const AdapterSize& adapter, const RecomputePlan& recompute,
                                         const Arithmetic& arithmetic) const = 0;
  // The most that is alive in a forward without a graph, the inputs left out.
  virtual double forward_bytes(const Share& share, const Arithmetic& arithmetic) const = 0;
  // Of the network that predicts velocities, `element` bytes a number.
  double weight_bytes(std::int64_t element) const;
  // In fp32: parameters, gradient, total, two moments of AdamW, and the frozen reference (HPO only).
  double adapter_state_bytes(const AdapterSize& adapter, bool with_reference) const;

  // Bytes that rank `rank` of `sequence` sends to others in the exchanges of one forward (queries, keys and values in, outputs back, for each block), as
  // parallel/sequence_attention.cpp makes them.
  virtual double exchange_bytes(const TokenCounts& whole, int sequence, int rank, std::int64_t element) const = 0;
  // The same of forward and backward, where every block's attention lies behind an adapted Linear: the forward's, the recomputed forward's (whether attention
  // is kept or not: its output passes between the ranks again), and in the backward what the others sent to it.
  virtual double training_exchange_bytes(const TokenCounts& whole, int sequence, int rank, const RecomputePlan& recompute, std::int64_t element) const = 0;

  // Pixels to latents and back, `element` bytes a number.
  virtual CodecCost encode_cost(const VideoSize& size, std::int64_t element) const = 0;
  virtual CodecCost decode_cost(const VideoSize& size, std::int64_t element) const = 0;
  virtual std::int64_t codec_parameters() const = 0;

  // One prompt of at most `text` tokens through all text encoders.
  virtual double prompt_flops(std::int64_t text) const = 0;
  virtual double text_encoder_parameters() const = 0;
};

}  // namespace magicid::models::generator
