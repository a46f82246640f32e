#include "models/hunyuan_video/cost.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <map>

#include "base/errors.h"
#include "models/generator/condition.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/codec_cost.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "models/text/prompt_template.h"

namespace magicid::models::hunyuan_video {
namespace {

using generator::ActivationBytes;
using generator::AdapterSize;
using generator::Flops;
using generator::Recompute;
using generator::RecomputePlan;
using generator::Share;
using generator::TokenCounts;

constexpr double kSinusoid = 256;  // models/hunyuan_video/transformer_embeddings.h
constexpr double kFp32 = 4;
constexpr std::int64_t kClipTokens = 77;  // positions of CLIP's text encoder, all of which are computed

std::int64_t numbers_in(const std::map<std::string, std::vector<std::int64_t>>& shapes) {
  std::int64_t count = 0;
  for (const auto& [name, shape] : shapes) {
    std::int64_t numbers = 1;
    for (const auto size : shape) numbers *= size;
    count += numbers;
  }
  return count;
}

double product(double rows, double in, double out) { return 2 * rows * in * out; }

bool is_adapted(const BlockLinear& linear, const AdapterSize& adapter) {
  return std::any_of(adapter.targets.begin(), adapter.targets.end(),
                     [&](const std::string& target) { return generator::names_linear(target, linear.target, linear.name); });
}

// Of one rank and of the others.
struct Slices {
  double tokens = 0, other_tokens = 0, heads = 0, other_heads = 0;
};

Slices slices_of(const TransformerConfig& config, const TokenCounts& whole, int sequence, int rank) {
  const std::int64_t tokens = generator::slice_of(whole.video, rank, sequence).count + generator::slice_of(whole.text, rank, sequence).count;
  const std::int64_t heads = generator::slice_of(config.num_attention_heads, rank, sequence).count;
  return {static_cast<double>(tokens), static_cast<double>(whole.all() - tokens), static_cast<double>(heads),
          static_cast<double>(config.num_attention_heads - heads)};
}

double rows_of(const BlockLinear& linear, const TokenCounts& local) {
  if (linear.modulation) return 1;
  if (linear.target.starts_with("img_")) return static_cast<double>(local.video);
  if (linear.target.starts_with("txt_")) return static_cast<double>(local.text);
  return static_cast<double>(local.all());
}

double lora_product(const BlockLinear& linear, double rows, const AdapterSize& adapter) {
  return product(rows, static_cast<double>(linear.in + linear.out), static_cast<double>(adapter.lora_rank));
}

double block_attention(const TransformerConfig& config, const Share& share) {
  const double tokens = static_cast<double>(share.whole.all());
  return 4 * tokens * tokens * static_cast<double>(share.heads * config.attention_head_dim);
}

double block_count(const TransformerConfig& config) { return static_cast<double>(config.num_layers + config.num_single_layers); }

// Time, guidance, pooled text; the text refiner; the first and the last Linear. Every rank refines all of the text.
Flops outside_of_blocks(const TransformerConfig& config, const Share& share) {
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

Flops linear_flops(const std::vector<BlockLinear>& linears, const Share& share, const AdapterSize* adapter) {
  Flops flops;
  for (const auto& linear : linears) {
    const double rows = rows_of(linear, share.local);
    flops.linear += product(rows, static_cast<double>(linear.in), static_cast<double>(linear.out));
    if (adapter && is_adapted(linear, *adapter)) flops.adapter += lora_product(linear, rows, *adapter);
  }
  return flops;
}

Flops block_flops(const TransformerConfig& config, const Share& share, const AdapterSize* adapter) {
  Flops flops = linear_flops(block_linears(config), share, adapter);
  flops.attention = block_count(config) * block_attention(config, share);
  return flops;
}

// q and k of `rows` tokens in fp32, four times: what the rotation's LibTorch operations hold where there is no fused kernel (transformer_rotary.cpp).
double rotation_bytes(double rows, double width) { return 4 * 2 * rows * width * kFp32; }

// Numbers that autograd holds of one block, and the gradients in flight at the start of its backward. In both blocks the peak lies where the gradient of
// the MLP's hidden numbers arrives from the LoRA, which then frees the hidden numbers, and from the frozen weight.
struct BlockNumbers {
  double kept = 0, in_flight = 0, input = 0, attention_out = 0, log_sum = 0, norms = 0;
};

BlockNumbers block_numbers(const TransformerConfig& config, const Share& share, const AdapterSize& adapter, bool single) {
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

HunyuanVideoCost::HunyuanVideoCost(const TransformerConfig& transformer, const AutoencoderConfig& autoencoder)
    : config_(transformer), autoencoder_(autoencoder), default_targets_(hunyuan_video::adaptable(transformer).default_targets) {
  AutoencoderOptions().check(autoencoder);  // the tiles that costs are counted in
}

generator::Adaptable HunyuanVideoCost::adaptable() const { return hunyuan_video::adaptable(config_); }
std::int64_t HunyuanVideoCost::blocks() const { return config_.num_layers + config_.num_single_layers; }
std::int64_t HunyuanVideoCost::heads() const { return config_.num_attention_heads; }

generator::VideoSize HunyuanVideoCost::steps_of_size() const {
  const std::int64_t pixels = autoencoder_.spatial_compression_ratio * config_.patch_size;
  return {.height = pixels, .width = pixels, .frames = autoencoder_.temporal_compression_ratio * config_.patch_size_t};
}

TokenCounts HunyuanVideoCost::tokens_of(const generator::VideoSize& size, std::int64_t text) const {
  const std::int64_t pixels = autoencoder_.spatial_compression_ratio * config_.patch_size;
  const std::int64_t frames = autoencoder_.latent_frames(size.frames);
  if (size.frames < 1 || size.height < 1 || size.width < 1 || size.height % pixels != 0 || size.width % pixels != 0 || frames % config_.patch_size_t != 0 ||
      text < 1)
    throw base::UserError("a video of ", size.frames, " x ", size.height, " x ", size.width, " with ", text,
                          " text tokens: height and width must be multiples of ", pixels, ", latent frames (here ", frames, ") of ", config_.patch_size_t,
                          ", and there must be text");
  return {.video = frames / config_.patch_size_t * (size.height / pixels) * (size.width / pixels), .text = text};
}

TokenCounts HunyuanVideoCost::tokens_of(const at::Tensor& latents, const generator::Condition& prompt) const {
  const at::Tensor mask = prompt.find("prompt_attention_mask");
  return {.video = latents.size(2) / config_.patch_size_t * (latents.size(3) / config_.patch_size) * (latents.size(4) / config_.patch_size),
          .text = mask.defined() ? mask.sum().item<std::int64_t>() : prompt.at("prompt_embeds").size(1)};
}

AdapterSize HunyuanVideoCost::with_targets(const AdapterSize& adapter) const {
  return adapter.targets.empty() ? AdapterSize{.lora_rank = adapter.lora_rank, .targets = default_targets_} : adapter;
}

std::int64_t HunyuanVideoCost::parameters() const { return numbers_in(transformer_parameter_shapes(config_)); }

std::int64_t HunyuanVideoCost::adapter_parameters(const AdapterSize& asked) const {
  const AdapterSize adapter = with_targets(asked);
  std::int64_t count = 0;
  for (const auto& linear : block_linears(config_))
    if (is_adapted(linear, adapter)) count += adapter.lora_rank * (linear.in + linear.out);
  return count;
}

std::int64_t HunyuanVideoCost::adapted_modules(const AdapterSize& asked) const {
  const AdapterSize adapter = with_targets(asked);
  const auto linears = block_linears(config_);
  return std::count_if(linears.begin(), linears.end(), [&](const auto& linear) { return is_adapted(linear, adapter); });
}

Flops HunyuanVideoCost::forward_flops(const Share& share, const AdapterSize* adapter) const {
  if (!adapter) return outside_of_blocks(config_, share) + block_flops(config_, share, nullptr);
  const AdapterSize with = with_targets(*adapter);
  return outside_of_blocks(config_, share) + block_flops(config_, share, &with);
}

Flops HunyuanVideoCost::backward_flops(const Share& share, const AdapterSize& asked, bool executed) const {
  const AdapterSize adapter = with_targets(asked);
  Flops flops;
  // A Linear passes a gradient on when something before it is adapted. In a double block the order of work is: modulations, both streams' qkv,
  // attention, projections, MLPs. The modulations' input is never trained.
  bool reached = false;
  double attentions = 0;
  const auto pass = [&](const BlockLinear& linear, bool input_needs_gradient) {
    const double rows = rows_of(linear, share.local), frozen = product(rows, static_cast<double>(linear.in), static_cast<double>(linear.out));
    if (input_needs_gradient) flops.linear += frozen;
    if (!is_adapted(linear, adapter)) return;
    const double a = product(rows, static_cast<double>(linear.in), static_cast<double>(adapter.lora_rank)), whole = lora_product(linear, rows, adapter);
    flops.adapter += 2 * whole - (input_needs_gradient ? 0 : a);
  };
  const auto block = [&](const std::vector<BlockLinear>& linears, const auto& before_attention) {
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
  for (std::int64_t i = 0; i < config_.num_layers; ++i)
    block(double_block_linears(config_, i), [](const BlockLinear& linear) { return linear.target.ends_with("_attn_qkv"); });
  for (std::int64_t i = 0; i < config_.num_single_layers; ++i)
    block(single_block_linears(config_, i), [](const BlockLinear& linear) { return linear.target == "linear1"; });
  flops.attention = attentions * block_attention(config_, share) * (executed ? 2.5 : 2);
  if (reached)
    flops.linear +=
        product(static_cast<double>(share.local.video), static_cast<double>(config_.width()), static_cast<double>(config_.patch_numbers(config_.out_channels)));
  return flops;
}

Flops HunyuanVideoCost::recomputed_flops(const Share& share, const AdapterSize& asked, const RecomputePlan& recompute) const {
  const AdapterSize adapter = with_targets(asked);
  Flops flops;
  for (std::int64_t i = 0; i < config_.num_layers + config_.num_single_layers; ++i) {
    const auto mode = recompute.of(static_cast<std::size_t>(i));
    if (mode == Recompute::none) continue;
    flops = flops +
            linear_flops(i < config_.num_layers ? double_block_linears(config_, i) : single_block_linears(config_, i - config_.num_layers), share, &adapter);
    if (mode == Recompute::full) flops.attention += block_attention(config_, share);
  }
  return flops;
}

ActivationBytes HunyuanVideoCost::training_bytes(const Share& share, const AdapterSize& asked, const RecomputePlan& recompute,
                                                 const generator::Arithmetic& arithmetic) const {
  const AdapterSize adapter = with_targets(asked);
  const double bytes = static_cast<double>(arithmetic.element);
  const BlockNumbers kinds[2] = {block_numbers(config_, share, adapter, false), block_numbers(config_, share, adapter, true)};
  const std::int64_t all = config_.num_layers + config_.num_single_layers;
  ActivationBytes result;
  const auto first = config_.num_layers > 0          ? double_block_linears(config_, 0)
                     : config_.num_single_layers > 0 ? single_block_linears(config_, 0)
                                                     : std::vector<BlockLinear>();
  const bool modulation = std::any_of(first.begin(), first.end(), [&](const auto& linear) { return linear.modulation && is_adapted(linear, adapter); });
  double before = 0;  // what is alive when the block's backward runs: its own and what lies below it
  for (std::int64_t i = 0; i < all; ++i) {
    const bool single = i >= config_.num_layers;
    const BlockNumbers& n = kinds[single];
    const auto mode = recompute.of(static_cast<std::size_t>(i));
    const double whole = n.kept * bytes + (n.log_sum + n.norms) * kFp32;
    double kept = whole, working = n.in_flight * bytes;
    // Without the kernel the single block's peak is in the rotation's backward: there all the block held but the two inputs of Linears and one storage is
    // freed.
    if (!arithmetic.fused_rotation && single)
      working = std::max(working, n.input * bytes + rotation_bytes(static_cast<double>(share.local.all()), static_cast<double>(config_.width())));
    if (mode != Recompute::none) {
      const double attention = n.attention_out * bytes + n.log_sum * kFp32;
      kept = n.input * bytes;
      // Recomputed: all but the block's input, which is kept anyway; with the attention kept, not that either.
      working += whole - kept;
      if (mode == Recompute::attention_kept) kept += attention, working -= attention;
    }
    // The first block's input needs no gradient, so its norm keeps nothing, unless what it is scaled by is trained.
    if (i == 0 && mode == Recompute::none && !modulation) kept -= n.input * bytes;
    before += kept;
    if (before + working > result.kept + result.working) result.kept = before, result.working = working;
  }
  // The last norm's input, the rotation's angles and the prediction's error.
  result.kept += static_cast<double>(share.local.all() * config_.width()) * bytes;
  result.kept += static_cast<double>(share.local.video * (config_.attention_head_dim + config_.patch_numbers(config_.out_channels))) * kFp32;
  if (arithmetic.element != 4 && all > 0) {
    const std::int64_t again = recompute.recomputed(all);
    result.copies = static_cast<double>(adapter_parameters(asked)) * bytes * static_cast<double>(all - again + (again > 0)) / static_cast<double>(all);
  }
  return result;
}

double HunyuanVideoCost::forward_bytes(const Share& share, const generator::Arithmetic& arithmetic) const {
  const double width = static_cast<double>(config_.width()), mlp = static_cast<double>(config_.mlp_width()), bytes = static_cast<double>(arithmetic.element);
  const double rows = static_cast<double>(share.local.all()), heads_layout = static_cast<double>(share.whole.all() * share.heads * config_.attention_head_dim);
  // Beside queries, keys and values: what is sent and what is received of them; then, those sent gone, attention's output, what is received of it and that in
  // order.
  const double exchange = share.sequence > 1 ? std::max(3 * rows * width + 3 * heads_layout, 2 * rows * width + 4 * heads_layout) : 0;
  double most = 0;
  // A double block at its attention: residual streams, q, k, v twice (by stream, joined; later the output in place of the first).
  if (config_.num_layers > 0) most = std::max(most, (std::max(rows * 8 * width, rows * 4 * width + exchange)) * bytes);
  if (config_.num_layers > 0 && !arithmetic.fused_rotation) most = std::max(most, rows * 7 * width * bytes + rotation_bytes(rows, width));
  // A single block at its last product: residual stream, q to MLP as one storage, the attention's output, the result.
  if (config_.num_single_layers > 0) most = std::max(most, std::max(rows * (6 * width + mlp), rows * (4 * width + mlp) + exchange) * bytes);
  if (config_.num_single_layers > 0 && !arithmetic.fused_rotation) most = std::max(most, rows * (4 * width + mlp) * bytes + rotation_bytes(rows, width));
  const double angles = static_cast<double>(share.local.video * config_.attention_head_dim) * kFp32;
  return most + angles;
}

double HunyuanVideoCost::exchange_bytes(const TokenCounts& whole, int sequence, int rank, std::int64_t element) const {
  const Slices here = slices_of(config_, whole, sequence, rank);
  return block_count(config_) * (3 * here.tokens * here.other_heads + here.other_tokens * here.heads) *
         static_cast<double>(config_.attention_head_dim * element);
}

double HunyuanVideoCost::training_exchange_bytes(const TokenCounts& whole, int sequence, int rank, const RecomputePlan& recompute, std::int64_t element) const {
  const Slices here = slices_of(config_, whole, sequence, rank);
  const double back =
      block_count(config_) * (3 * here.other_tokens * here.heads + here.tokens * here.other_heads) * static_cast<double>(config_.attention_head_dim * element);
  const std::int64_t all = config_.num_layers + config_.num_single_layers;
  const double again = all > 0 ? static_cast<double>(recompute.recomputed(all)) / static_cast<double>(all) : 0;
  return exchange_bytes(whole, sequence, rank, element) * (1 + again) + back;
}

generator::CodecCost HunyuanVideoCost::encode_cost(const generator::VideoSize& size, std::int64_t element) const {
  return hunyuan_video::encode_cost(autoencoder_, size, element);
}

generator::CodecCost HunyuanVideoCost::decode_cost(const generator::VideoSize& size, std::int64_t element) const {
  return hunyuan_video::decode_cost(autoencoder_, size, element);
}

std::int64_t HunyuanVideoCost::codec_parameters() const { return numbers_in(autoencoder_.parameter_shapes()); }

double HunyuanVideoCost::prompt_flops(std::int64_t text) const {
  // Before the prompt LLaMA reads the template's instruction.
  return llama3_8b_30_layers().flops(text::PromptTemplate::hunyuan_video().crop_start + text) + clip_l_text().flops(kClipTokens);
}

double HunyuanVideoCost::text_encoder_parameters() const { return llama3_8b_30_layers().parameters() + clip_l_text().parameters(); }

generator::EncoderSize llama3_8b_30_layers() {
  return {.layers = 30, .width = 4096, .kv_width = 1024, .mlp_width = 14336, .mlp_products = 3, .embeddings = 128320};
}

generator::EncoderSize clip_l_text() { return {.layers = 12, .width = 768, .kv_width = 768, .mlp_width = 3072, .embeddings = 49408 + kClipTokens}; }

std::unique_ptr<const generator::BackboneCost> cost_of_folder(const std::filesystem::path& folder) {
  return std::make_unique<HunyuanVideoCost>(TransformerConfig::from_file(folder / "transformer" / "config.json"),
                                            AutoencoderConfig::from_folder(folder / "vae"));
}

}  // namespace magicid::models::hunyuan_video
