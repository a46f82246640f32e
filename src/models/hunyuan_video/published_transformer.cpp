#include <ATen/ops/cat.h>

#include <array>
#include <utility>

#include "base/errors.h"
#include "models/hunyuan_video/published.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "models/nn/network_config.h"

namespace magicid::models::hunyuan_video {
namespace {

using base::UserError;
using nn::ImportPlan;
using nn::PlanBuilder;
using nn::WeightSource;

enum class TransformerNames { tencent, comfyui, diffusers };

constexpr std::pair<TransformerNames, const char*> kSignatures[] = {
    {TransformerNames::diffusers, "context_embedder.token_refiner.refiner_blocks.0.attn.to_q.weight"},
    {TransformerNames::tencent, "txt_in.individual_token_refiner.blocks.0.self_attn_qkv.weight"},
    {TransformerNames::comfyui, "txt_in.individual_token_refiner.blocks.0.self_attn.qkv.weight"}};

// What a network without refiner blocks is told by.
constexpr std::pair<TransformerNames, const char*> kShortSignatures[] = {{TransformerNames::diffusers, "context_embedder.proj_in.weight"},
                                                                         {TransformerNames::tencent, "txt_in.t_embedder.mlp.0.weight"},
                                                                         {TransformerNames::comfyui, "txt_in.t_embedder.in_layer.weight"}};

std::optional<std::pair<TransformerNames, std::string>> recognise(const WeightSource& source) {
  for (const auto* list : {&kSignatures, &kShortSignatures})
    for (const auto& [names, signature] : *list)
      if (const auto prefix = source.prefix_of(signature)) return std::pair{names, *prefix};
  return std::nullopt;
}

// ComfyUI's names differ from Tencent's in single words.
std::string tencent_name(std::string name) {
  static const std::pair<const char*, const char*> words[] = {{"txt_in.t_embedder.in_layer.", "txt_in.t_embedder.mlp.0."},
                                                              {"txt_in.t_embedder.out_layer.", "txt_in.t_embedder.mlp.2."},
                                                              {"txt_in.c_embedder.in_layer.", "txt_in.c_embedder.linear_1."},
                                                              {"txt_in.c_embedder.out_layer.", "txt_in.c_embedder.linear_2."},
                                                              {"time_in.in_layer.", "time_in.mlp.0."},
                                                              {"time_in.out_layer.", "time_in.mlp.2."},
                                                              {"guidance_in.in_layer.", "guidance_in.mlp.0."},
                                                              {"guidance_in.out_layer.", "guidance_in.mlp.2."},
                                                              {"_mod.lin.", "_mod.linear."},
                                                              {".modulation.lin.", ".modulation.linear."},
                                                              {"_attn.qkv.", "_attn_qkv."},
                                                              {"_attn.proj.", "_attn_proj."},
                                                              {"_attn.norm.query_norm.scale", "_attn_q_norm.weight"},
                                                              {"_attn.norm.key_norm.scale", "_attn_k_norm.weight"},
                                                              {"_attn.norm.query_norm.weight", "_attn_q_norm.weight"},
                                                              {"_attn.norm.key_norm.weight", "_attn_k_norm.weight"},
                                                              {".norm.query_norm.scale", ".q_norm.weight"},
                                                              {".norm.key_norm.scale", ".k_norm.weight"},
                                                              {".norm.query_norm.weight", ".q_norm.weight"},
                                                              {".norm.key_norm.weight", ".k_norm.weight"},
                                                              {"_mlp.0.", "_mlp.fc1."},
                                                              {"_mlp.2.", "_mlp.fc2."}};
  for (const auto& [from, to] : words)
    if (const auto at = name.find(from); at != std::string::npos) name.replace(at, std::string_view(from).size(), to);
  // The refiner's MLP has no stream's name before it.
  if (name.starts_with("txt_in.individual_token_refiner."))
    for (const auto& [from, to] : {std::pair{".mlp.0.", ".mlp.fc1."}, {".mlp.2.", ".mlp.fc2."}})
      if (const auto at = name.find(from); at != std::string::npos) name.replace(at, std::string_view(from).size(), to);
  return name;
}

// Where the sizes stand in a layout.
struct SizeNames {
  std::string patch, text, pooled, guidance, double_block, single_block, refiner_block, double_mlp, single_in, final_linear, double_norm, single_norm;
};

SizeNames size_names(bool diffusers) {
  if (diffusers)
    return {"x_embedder.proj.weight",
            "context_embedder.proj_in.weight",
            "time_text_embed.text_embedder.linear_1.weight",
            "time_text_embed.guidance_embedder.linear_1.weight",
            "transformer_blocks.",
            "single_transformer_blocks.",
            "context_embedder.token_refiner.refiner_blocks.",
            "transformer_blocks.0.ff.net.0.proj.weight",
            "single_transformer_blocks.0.proj_mlp.weight",
            "proj_out.weight",
            "transformer_blocks.0.attn.norm_q.weight",
            "single_transformer_blocks.0.attn.norm_q.weight"};
  return {"img_in.proj.weight",
          "txt_in.input_embedder.weight",
          "vector_in.in_layer.weight",
          "guidance_in.mlp.0.weight",
          "double_blocks.",
          "single_blocks.",
          "txt_in.individual_token_refiner.blocks.",
          "double_blocks.0.img_mlp.fc1.weight",
          "single_blocks.0.linear1.weight",
          "final_layer.linear.weight",
          "double_blocks.0.img_attn_q_norm.weight",
          "single_blocks.0.q_norm.weight"};
}

// The published network gives 1/8 of a head to frames, 7/16 to height and width each.
void assume_rotary(TransformerConfig& config, ImportPlan& plan, const WeightSource& source) {
  const std::int64_t head = config.attention_head_dim;
  if (head % 16 != 0 || head / 16 * 7 % 2 != 0 || head / 8 % 2 != 0)
    throw UserError(source.path.string(), ": its heads have ", head,
                    " numbers, for which no share of frames, height and width is known; give them with --config");
  config.rope_axes_dim = {head / 8, head / 16 * 7, head / 16 * 7};
  plan.assumed.push_back(base::concat("rope_axes_dim [", head / 8, ",", head / 16 * 7, ",", head / 16 * 7, "]"));
  plan.assumed.push_back("rope_theta 256");
}

TransformerConfig sizes_of(const WeightSource& source, bool diffusers, ImportPlan& plan) {
  const SizeNames n = size_names(diffusers);
  TransformerConfig config;
  const std::int64_t width = source.size(n.patch, 0);
  config.in_channels = source.size(n.patch, 1);
  config.patch_size_t = source.size(n.patch, 2);
  config.patch_size = source.size(n.patch, 3);
  config.text_embed_dim = source.size(n.text, 1);
  config.pooled_projection_dim = source.size(n.pooled, 1);
  config.guidance_embeds = source.contains(n.guidance);
  config.num_layers = source.count(n.double_block, ".");
  config.num_single_layers = source.count(n.single_block, ".");
  config.num_refiner_layers = source.count(n.refiner_block, ".");
  config.out_channels = source.size(n.final_linear, 0) / (config.patch_size_t * config.patch_size * config.patch_size);
  if (config.in_channels != config.out_channels)
    throw UserError(source.path.string(), ": takes ", config.in_channels, " channels and gives ", config.out_channels,
                    ", as HunyuanVideo's image-to-video networks do; the text-to-video network was expected");
  std::int64_t mlp = width * 4;
  if (config.num_layers > 0) mlp = source.size(n.double_mlp, 0);
  else if (config.num_single_layers > 0) mlp = source.size(n.single_in, 0) - (diffusers ? 0 : 3 * width);
  config.mlp_ratio = static_cast<double>(mlp) / static_cast<double>(width);
  config.qk_norm = source.contains(n.double_norm) || source.contains(n.single_norm);
  if (config.qk_norm) config.attention_head_dim = source.size(source.contains(n.double_norm) ? n.double_norm : n.single_norm, 0);
  else plan.assumed.push_back("attention_head_dim 128");
  if (width % config.attention_head_dim != 0)
    throw UserError(source.path.string(), ": a width of ", width, " is no multiple of its heads' ", config.attention_head_dim, " numbers");
  config.num_attention_heads = width / config.attention_head_dim;
  assume_rotary(config, plan, source);
  return config;
}

// One module of the network under its names, and what stands below each.
class TransformerPlanner {
 public:
  TransformerPlanner(PlanBuilder& builder, bool diffusers) : builder_(builder), diffusers_(diffusers) {}

  // A Linear, q, k and v in one in Tencent's names.
  void linear(const BlockLinear& module) {
    std::int64_t first = 0;
    for (const auto& part : module.parts) {
      if (diffusers_ || module.parts.size() == 1) {
        const std::string& name = diffusers_ ? part.name : module.name;
        builder_.copy(part.name + ".weight", name + ".weight", {part.rows, module.in});
        builder_.copy(part.name + ".bias", name + ".bias", {part.rows});
      } else {
        builder_.rows(part.name + ".weight", module.name + ".weight", {module.out, module.in}, first, part.rows);
        builder_.rows(part.name + ".bias", module.name + ".bias", {module.out}, first, part.rows);
      }
      first += part.rows;
    }
  }

  void linear(const std::string& tencent, const std::string& diffusers, std::int64_t out, std::int64_t in) {
    linear({tencent, "", in, out, false, {{diffusers, out}}});
  }

  void tensor(const std::string& tencent, const std::string& diffusers, const std::vector<std::int64_t>& shape) {
    builder_.copy(diffusers, diffusers_ ? diffusers : tencent, shape);
  }

  // Tencent's order is shift, scale; diffusers' scale, shift.
  void final_modulation(std::int64_t width) {
    const std::string tencent = "final_layer.adaLN_modulation.1", diffusers = "norm_out.linear";
    if (diffusers_) return linear(tencent, diffusers, 2 * width, width);
    const auto swapped = [width](const at::Tensor& x) { return at::cat({x.slice(0, width), x.slice(0, 0, width)}, 0); };
    builder_.make(diffusers + ".weight", tencent + ".weight", {2 * width, width}, {2 * width, width}, swapped);
    builder_.make(diffusers + ".bias", tencent + ".bias", {2 * width}, {2 * width}, swapped);
  }

  void time_embedding(const std::string& tencent, const std::string& diffusers, std::int64_t width) {
    linear(tencent + ".mlp.0", diffusers + ".linear_1", width, kSinusoidSize);
    linear(tencent + ".mlp.2", diffusers + ".linear_2", width, width);
  }

 private:
  static constexpr std::int64_t kSinusoidSize = 256;
  PlanBuilder& builder_;
  bool diffusers_;
};

void plan_refiner_block(TransformerPlanner& planner, const TransformerConfig& config, std::int64_t index) {
  const std::int64_t width = config.width(), mlp = config.refiner_mlp_width();
  const std::string number = std::to_string(index) + ".";
  const std::string a = "txt_in.individual_token_refiner.blocks." + number, b = "context_embedder.token_refiner.refiner_blocks." + number;
  for (const char* name : {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"}) planner.tensor(a + name, b + name, {width});
  planner.linear({a + "self_attn_qkv", "", width, 3 * width, false, {{b + "attn.to_q", width}, {b + "attn.to_k", width}, {b + "attn.to_v", width}}});
  planner.linear(a + "self_attn_proj", b + "attn.to_out.0", width, width);
  planner.linear(a + "mlp.fc1", b + "ff.net.0.proj", mlp, width);
  planner.linear(a + "mlp.fc2", b + "ff.net.2", width, mlp);
  planner.linear(a + "adaLN_modulation.1", b + "norm_out.linear", 2 * width, width);
}

void plan_blocks(TransformerPlanner& planner, const TransformerConfig& config) {
  for (const auto& linear : block_linears(config)) planner.linear(linear);
  if (!config.qk_norm) return;
  const std::vector<std::int64_t> head{config.attention_head_dim};
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const std::string a = base::concat("double_blocks.", i, "."), b = base::concat("transformer_blocks.", i, ".attn.norm_");
    for (const auto& [stream, added] : {std::pair{"img", ""}, {"txt", "added_"}})
      for (const char* part : {"q", "k"}) planner.tensor(a + stream + "_attn_" + part + "_norm.weight", b + added + part + ".weight", head);
  }
  for (std::int64_t i = 0; i < config.num_single_layers; ++i) {
    const std::string a = base::concat("single_blocks.", i, "."), b = base::concat("single_transformer_blocks.", i, ".attn.norm_");
    for (const char* part : {"q", "k"}) planner.tensor(a + part + "_norm.weight", b + part + ".weight", head);
  }
}

ImportPlan plan_transformer(const WeightSource& given, const std::optional<nlohmann::json>& json) {
  const auto known = recognise(given);
  base::check_invariant(known.has_value(), "an import of a transformer from a source that is none");
  const bool diffusers = known->first == TransformerNames::diffusers;
  const WeightSource source = known->first == TransformerNames::comfyui ? given.renamed(tencent_name) : given;
  ImportPlan plan;
  plan.layout = known->first == TransformerNames::tencent ? "Tencent's names" : diffusers ? "diffusers' names" : "ComfyUI's names";
  plan.weights = "diffusion_pytorch_model";
  const TransformerConfig config = json ? TransformerConfig::from_json({*json, "the given config.json"}) : sizes_of(source, diffusers, plan);
  plan.config = config.to_json();

  PlanBuilder builder(source, plan);
  TransformerPlanner planner(builder, diffusers);
  const std::int64_t width = config.width();
  planner.tensor("img_in.proj.weight", "x_embedder.proj.weight", {width, config.in_channels, config.patch_size_t, config.patch_size, config.patch_size});
  planner.tensor("img_in.proj.bias", "x_embedder.proj.bias", {width});
  planner.time_embedding("time_in", "time_text_embed.timestep_embedder", width);
  planner.linear("vector_in.in_layer", "time_text_embed.text_embedder.linear_1", width, config.pooled_projection_dim);
  planner.linear("vector_in.out_layer", "time_text_embed.text_embedder.linear_2", width, width);
  if (config.guidance_embeds) planner.time_embedding("guidance_in", "time_text_embed.guidance_embedder", width);
  planner.linear("txt_in.input_embedder", "context_embedder.proj_in", width, config.text_embed_dim);
  planner.time_embedding("txt_in.t_embedder", "context_embedder.time_text_embed.timestep_embedder", width);
  planner.linear("txt_in.c_embedder.linear_1", "context_embedder.time_text_embed.text_embedder.linear_1", width, config.text_embed_dim);
  planner.linear("txt_in.c_embedder.linear_2", "context_embedder.time_text_embed.text_embedder.linear_2", width, width);
  for (std::int64_t i = 0; i < config.num_refiner_layers; ++i) plan_refiner_block(planner, config, i);
  plan_blocks(planner, config);
  planner.final_modulation(width);
  planner.linear("final_layer.linear", "proj_out", config.patch_numbers(config.out_channels), width);
  builder.finish();
  return plan;
}

}  // namespace

nn::PublishedNetwork published_transformer() {
  return {"hunyuanvideo-transformer", "HunyuanVideo's transformer",
          [](const WeightSource& source) -> std::optional<std::string> {
            const auto known = recognise(source);
            return known ? std::optional(known->second) : std::nullopt;
          },
          plan_transformer};
}

}  // namespace magicid::models::hunyuan_video
