#include "planning/cost.h"

#include <algorithm>
#include <string_view>

#include "base/errors.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer_layout.h"

namespace magicid::planning {
namespace {

namespace hv = models::hunyuan_video;

constexpr double kSinusoid = 256;  // models/hunyuan_video/transformer_embeddings.h
constexpr double kFp32 = 4;

double product(double rows, double in, double out) { return 2 * rows * in * out; }

// `*` stands for any text.
bool matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern.front() == '*') return matches(pattern.substr(1), text) || (!text.empty() && matches(pattern, text.substr(1)));
  return !text.empty() && text.front() == pattern.front() && matches(pattern.substr(1), text.substr(1));
}

bool is_adapted(const hv::BlockLinear& linear, const AdapterSize& adapter) {
  if (adapter.targets.empty()) return !linear.modulation;
  return std::any_of(adapter.targets.begin(), adapter.targets.end(),
                     [&](const std::string& target) { return matches(target, linear.target) || matches(target, linear.name); });
}

// part 0..parts-1 of a total: as parallel::slice_of.
std::int64_t slice(std::int64_t total, int part, int parts) { return total * (part + 1) / parts - total * part / parts; }

// Of one rank and of the others.
struct Slices {
  double tokens = 0, other_tokens = 0, heads = 0, other_heads = 0;
};

Slices slices_of(const hv::TransformerConfig& config, const Tokens& whole, int sequence, int rank) {
  const std::int64_t tokens = slice(whole.video, rank, sequence) + slice(whole.text, rank, sequence), heads = slice(config.num_attention_heads, rank, sequence);
  return {static_cast<double>(tokens), static_cast<double>(whole.all() - tokens), static_cast<double>(heads),
          static_cast<double>(config.num_attention_heads - heads)};
}

double rows_of(const hv::BlockLinear& linear, const Tokens& local) {
  if (linear.modulation) return 1;
  if (linear.target.starts_with("img_")) return static_cast<double>(local.video);
  if (linear.target.starts_with("txt_")) return static_cast<double>(local.text);
  return static_cast<double>(local.all());
}

double lora_product(const hv::BlockLinear& linear, double rows, const AdapterSize& adapter) {
  return product(rows, static_cast<double>(linear.in + linear.out), static_cast<double>(adapter.lora_rank));
}

double block_attention(const hv::TransformerConfig& config, const Share& share) {
  const double tokens = static_cast<double>(share.whole.all());
  return 4 * tokens * tokens * static_cast<double>(share.heads * config.attention_head_dim);
}

double blocks(const hv::TransformerConfig& config) { return static_cast<double>(config.num_layers + config.num_single_layers); }

// Time, guidance, pooled text; the text refiner; the first and the last Linear. Every rank refines all of the text.
Flops outside_of_blocks(const hv::TransformerConfig& config, const Share& share) {
  const double width = static_cast<double>(config.width()), text_width = static_cast<double>(config.text_embed_dim),
               text = static_cast<double>(share.whole.text);
  const double video = static_cast<double>(share.local.video);
  const auto embedder = [&](double in) { return product(1, in, width) + product(1, width, width); };
  Flops flops;
  flops.linear += embedder(kSinusoid) * (config.guidance_embeds ? 2 : 1) + embedder(static_cast<double>(config.pooled_projection_dim));
  flops.linear += embedder(kSinusoid) + embedder(text_width) + product(text, text_width, width);
  const double refiner =
      product(1, width, 2 * width) + product(text, width, 4 * width) + 2 * product(text, width, static_cast<double>(config.refiner_mlp_width()));
  flops.linear += static_cast<double>(config.num_refiner_layers) * refiner;
  flops.attention += static_cast<double>(config.num_refiner_layers) * 4 * text * text * width;
  flops.linear += product(video, static_cast<double>(config.patch_numbers(config.in_channels)), width) + product(1, width, 2 * width) +
                  product(video, width, static_cast<double>(config.patch_numbers(config.out_channels)));
  return flops;
}

Flops linear_flops(const std::vector<hv::BlockLinear>& linears, const Share& share, const AdapterSize* adapter) {
  Flops flops;
  for (const auto& linear : linears) {
    const double rows = rows_of(linear, share.local);
    flops.linear += product(rows, static_cast<double>(linear.in), static_cast<double>(linear.out));
    if (adapter && is_adapted(linear, *adapter)) flops.adapter += lora_product(linear, rows, *adapter);
  }
  return flops;
}

Flops block_flops(const hv::TransformerConfig& config, const Share& share, const AdapterSize* adapter) {
  Flops flops = linear_flops(hv::block_linears(config), share, adapter);
  flops.attention = blocks(config) * block_attention(config, share);
  return flops;
}

// q and k of `rows` tokens in fp32, four times: what the rotation's LibTorch operations hold where there is no fused kernel (transformer_rotary.cpp).
double rotation_bytes(double rows, double width) { return 4 * 2 * rows * width * kFp32; }

// Numbers that autograd holds of one block, and the gradients in flight at the start of its backward. In both blocks the peak lies where the gradient of
// the MLP's hidden numbers arrives from the LoRA, which then frees the hidden numbers, and from the frozen weight.
struct BlockNumbers {
  double kept = 0, in_flight = 0, input = 0, attention_out = 0, log_sum = 0, norms = 0;
};

BlockNumbers block_numbers(const hv::TransformerConfig& config, const Share& share, const AdapterSize& adapter, bool single) {
  const double width = static_cast<double>(config.width()), mlp = static_cast<double>(config.mlp_width()), r = static_cast<double>(adapter.lora_rank);
  const double rows = static_cast<double>(share.local.all()), whole = static_cast<double>(share.whole.all());
  const double heads_layout = whole * static_cast<double>(share.heads * config.attention_head_dim);  // one of q, k, v, out inside of attention
  const bool shared = share.sequence > 1;
  BlockNumbers n;
  n.input = rows * width;
  n.attention_out = heads_layout;
  n.log_sum = whole * static_cast<double>(share.heads);
  // Residual stream (the norm's input) and the normalised numbers (the LoRA's input). Queries, keys and values before the rotation are one storage; in a
  // single block it holds the MLP's too. Behind the exchange, q, k, v and out are tensors of their own.
  const double qkv = shared ? 3 * heads_layout : single ? 2 * rows * width : 3 * rows * width;
  const double out = heads_layout + (shared ? rows * width : 0);
  if (single) {
    n.kept = rows * (2 * width + (3 * width + mlp) + mlp + 2 * r) + qkv + out;
    n.in_flight = rows * (3 * width + mlp);
    n.norms = rows * 2;
  } else {
    n.kept = rows * (4 * width + 3 * width + 2 * mlp + 4 * r) + qkv + out;
    n.in_flight = rows * (2 * width + mlp);
    n.norms = rows * 4;
  }
  return n;
}

}  // namespace

Tokens tokens_of(const hv::TransformerConfig& config, const hv::AutoencoderConfig& autoencoder, const VideoSize& size, std::int64_t text) {
  const std::int64_t pixels = autoencoder.spatial_compression_ratio * config.patch_size;
  const std::int64_t frames = autoencoder.latent_frames(size.frames);
  if (size.frames < 1 || size.height < 1 || size.width < 1 || size.height % pixels != 0 || size.width % pixels != 0 || frames % config.patch_size_t != 0 ||
      text < 1)
    throw base::UserError("a video of ", size.frames, " x ", size.height, " x ", size.width, " with ", text,
                          " text tokens: height and width must be multiples of ", pixels, ", latent frames (here ", frames, ") of ", config.patch_size_t,
                          ", and there must be text");
  return {.video = frames / config.patch_size_t * (size.height / pixels) * (size.width / pixels), .text = text};
}

Share largest_share(const hv::TransformerConfig& config, const Tokens& whole, int sequence) {
  base::check_invariant(sequence >= 1, "a sequence shared by ", sequence, " ranks");
  Share share{.whole = whole, .sequence = sequence};
  for (int rank = 0; rank < sequence; ++rank) {
    const Tokens here{slice(whole.video, rank, sequence), slice(whole.text, rank, sequence)};
    if (here.all() > share.local.all()) share.local = here;
    share.heads = std::max(share.heads, slice(config.num_attention_heads, rank, sequence));
  }
  return share;
}

std::int64_t transformer_parameters(const hv::TransformerConfig& config) {
  std::int64_t count = 0;
  for (const auto& [name, shape] : hv::transformer_parameter_shapes(config)) {
    std::int64_t numbers = 1;
    for (const auto size : shape) numbers *= size;
    count += numbers;
  }
  return count;
}

std::int64_t adapter_parameters(const hv::TransformerConfig& config, const AdapterSize& adapter) {
  std::int64_t count = 0;
  for (const auto& linear : hv::block_linears(config))
    if (is_adapted(linear, adapter)) count += adapter.lora_rank * (linear.in + linear.out);
  return count;
}

std::int64_t adapted_modules(const hv::TransformerConfig& config, const AdapterSize& adapter) {
  const auto linears = hv::block_linears(config);
  return std::count_if(linears.begin(), linears.end(), [&](const auto& linear) { return is_adapted(linear, adapter); });
}

Flops forward_flops(const hv::TransformerConfig& config, const Share& share, const AdapterSize* adapter) {
  return outside_of_blocks(config, share) + block_flops(config, share, adapter);
}

Flops backward_flops(const hv::TransformerConfig& config, const Share& share, const AdapterSize& adapter, bool executed) {
  Flops flops;
  // A Linear passes a gradient on when something before it is adapted. In a double block the order of work is: modulations, both streams' qkv,
  // attention, projections, MLPs. The modulations' input is never trained.
  bool reached = false;
  double attentions = 0;
  const auto pass = [&](const hv::BlockLinear& linear, bool input_needs_gradient) {
    const double rows = rows_of(linear, share.local), frozen = product(rows, static_cast<double>(linear.in), static_cast<double>(linear.out));
    if (input_needs_gradient) flops.linear += frozen;
    if (!is_adapted(linear, adapter)) return;
    const double a = product(rows, static_cast<double>(linear.in), static_cast<double>(adapter.lora_rank)), whole = lora_product(linear, rows, adapter);
    flops.adapter += 2 * whole - (input_needs_gradient ? 0 : a);
  };
  const auto block = [&](const std::vector<hv::BlockLinear>& linears, const auto& before_attention) {
    bool inputs = reached;
    for (const auto& linear : linears)
      if (linear.modulation) {
        pass(linear, false);
        inputs = inputs || is_adapted(linear, adapter);
      }
    bool into_attention = inputs;
    for (const auto& linear : linears)
      if (before_attention(linear)) {
        pass(linear, inputs);
        into_attention = into_attention || is_adapted(linear, adapter);
      }
    if (into_attention) attentions += 1;
    reached = into_attention;
    for (const auto& linear : linears)
      if (!linear.modulation && !before_attention(linear)) {
        pass(linear, reached);
        reached = reached || is_adapted(linear, adapter);
      }
  };
  for (std::int64_t i = 0; i < config.num_layers; ++i)
    block(hv::double_block_linears(config, i), [](const hv::BlockLinear& linear) { return linear.target.ends_with("_attn_qkv"); });
  for (std::int64_t i = 0; i < config.num_single_layers; ++i)
    block(hv::single_block_linears(config, i), [](const hv::BlockLinear& linear) { return linear.target == "linear1"; });
  flops.attention = attentions * block_attention(config, share) * (executed ? 2.5 : 2);
  if (reached)
    flops.linear +=
        product(static_cast<double>(share.local.video), static_cast<double>(config.width()), static_cast<double>(config.patch_numbers(config.out_channels)));
  return flops;
}

Flops recomputed_flops(const hv::TransformerConfig& config, const Share& share, const AdapterSize& adapter, const models::generator::RecomputePlan& recompute) {
  Flops flops;
  for (std::int64_t i = 0; i < config.num_layers + config.num_single_layers; ++i) {
    const auto mode = recompute.of(static_cast<std::size_t>(i));
    if (mode == models::generator::Recompute::none) continue;
    flops = flops + linear_flops(i < config.num_layers ? hv::double_block_linears(config, i) : hv::single_block_linears(config, i - config.num_layers), share,
                                 &adapter);
    if (mode == models::generator::Recompute::full) flops.attention += block_attention(config, share);
  }
  return flops;
}

ActivationBytes training_bytes(const hv::TransformerConfig& config, const Share& share, const AdapterSize& adapter,
                               const models::generator::RecomputePlan& recompute, std::int64_t element, bool fused_rotation) {
  const double bytes = static_cast<double>(element);
  const BlockNumbers kinds[2] = {block_numbers(config, share, adapter, false), block_numbers(config, share, adapter, true)};
  const std::int64_t all = config.num_layers + config.num_single_layers;
  ActivationBytes result;
  const auto first = config.num_layers > 0          ? hv::double_block_linears(config, 0)
                     : config.num_single_layers > 0 ? hv::single_block_linears(config, 0)
                                                    : std::vector<hv::BlockLinear>();
  const bool modulation = std::any_of(first.begin(), first.end(), [&](const auto& linear) { return linear.modulation && is_adapted(linear, adapter); });
  double before = 0;  // what is alive when the block's backward runs: its own and what lies below it
  for (std::int64_t i = 0; i < all; ++i) {
    const bool single = i >= config.num_layers;
    const BlockNumbers& n = kinds[single];
    const auto mode = recompute.of(static_cast<std::size_t>(i));
    const double whole = n.kept * bytes + (n.log_sum + n.norms) * kFp32;
    double kept = whole, working = n.in_flight * bytes;
    // Without the kernel the single block's peak is in the rotation's backward: there all the block held but the two inputs of Linears and one storage is
    // freed.
    if (!fused_rotation && single)
      working = std::max(working, n.input * bytes + rotation_bytes(static_cast<double>(share.local.all()), static_cast<double>(config.width())));
    if (mode != models::generator::Recompute::none) {
      const double attention = n.attention_out * bytes + n.log_sum * kFp32;
      kept = n.input * bytes;
      // Recomputed: all but the block's input, which is kept anyway; with the attention kept, not that either.
      working += whole - kept;
      if (mode == models::generator::Recompute::attention_kept) kept += attention, working -= attention;
    }
    // The first block's input needs no gradient, so its norm keeps nothing, unless what it is scaled by is trained.
    if (i == 0 && mode == models::generator::Recompute::none && !modulation) kept -= n.input * bytes;
    before += kept;
    if (before + working > result.kept + result.working) result.kept = before, result.working = working;
  }
  // The last norm's input, the rotation's angles and the prediction's error.
  result.kept += static_cast<double>(share.local.all() * config.width()) * bytes;
  result.kept += static_cast<double>(share.local.video * (config.attention_head_dim + config.patch_numbers(config.out_channels))) * kFp32;
  if (element != 4 && all > 0) {
    const std::int64_t again = recompute.recomputed(all);
    result.copies =
        static_cast<double>(adapter_parameters(config, adapter)) * bytes * static_cast<double>(all - again + (again > 0)) / static_cast<double>(all);
  }
  return result;
}

double forward_bytes(const hv::TransformerConfig& config, const Share& share, std::int64_t element, bool fused_rotation) {
  const double width = static_cast<double>(config.width()), mlp = static_cast<double>(config.mlp_width()), bytes = static_cast<double>(element);
  const double rows = static_cast<double>(share.local.all()), heads_layout = static_cast<double>(share.whole.all() * share.heads * config.attention_head_dim);
  // Beside queries, keys and values: what is sent and what is received of them; then, those sent gone, attention's output, what is received of it and that in
  // order.
  const double exchange = share.sequence > 1 ? std::max(3 * rows * width + 3 * heads_layout, 2 * rows * width + 4 * heads_layout) : 0;
  double most = 0;
  // A double block at its attention: residual streams, q, k, v twice (by stream, joined; later the output in place of the first).
  if (config.num_layers > 0) most = std::max(most, (std::max(rows * 8 * width, rows * 4 * width + exchange)) * bytes);
  if (config.num_layers > 0 && !fused_rotation) most = std::max(most, rows * 7 * width * bytes + rotation_bytes(rows, width));
  // A single block at its last product: residual stream, q to MLP as one storage, the attention's output, the result.
  if (config.num_single_layers > 0) most = std::max(most, std::max(rows * (6 * width + mlp), rows * (4 * width + mlp) + exchange) * bytes);
  if (config.num_single_layers > 0 && !fused_rotation) most = std::max(most, rows * (4 * width + mlp) * bytes + rotation_bytes(rows, width));
  const double angles = static_cast<double>(share.local.video * config.attention_head_dim) * kFp32;
  return most + angles;
}

double weight_bytes(const hv::TransformerConfig& config, std::int64_t element) { return static_cast<double>(transformer_parameters(config) * element); }

double adapter_state_bytes(const hv::TransformerConfig& config, const AdapterSize& adapter, bool with_reference) {
  return static_cast<double>(adapter_parameters(config, adapter)) * kFp32 * (with_reference ? 6 : 5);
}

double exchange_bytes(const hv::TransformerConfig& config, const Tokens& whole, int sequence, int rank, std::int64_t element) {
  const Slices here = slices_of(config, whole, sequence, rank);
  return blocks(config) * (3 * here.tokens * here.other_heads + here.other_tokens * here.heads) * static_cast<double>(config.attention_head_dim * element);
}

double training_exchange_bytes(const hv::TransformerConfig& config, const Tokens& whole, int sequence, int rank,
                               const models::generator::RecomputePlan& recompute, std::int64_t element) {
  const Slices here = slices_of(config, whole, sequence, rank);
  const double back =
      blocks(config) * (3 * here.other_tokens * here.heads + here.tokens * here.other_heads) * static_cast<double>(config.attention_head_dim * element);
  const std::int64_t all = config.num_layers + config.num_single_layers;
  const double again = all > 0 ? static_cast<double>(recompute.recomputed(all)) / static_cast<double>(all) : 0;
  return exchange_bytes(config, whole, sequence, rank, element) * (1 + again) + back;
}

double all_reduce_bytes(double bytes, int ranks) { return ranks > 1 ? 2 * bytes * (ranks - 1) / ranks : 0; }

}  // namespace magicid::planning
