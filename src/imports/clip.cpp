#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "imports/kinds.h"
#include "models/nn/network_config.h"
#include "models/text/clip_text.h"
#include "models/vision/clip_vision.h"

namespace magicid::imports {
namespace {

using base::UserError;
using models::nn::ImportPlan;
using models::nn::PlanBuilder;
using models::nn::WeightSource;
using models::text::ClipTextConfig;
using models::vision::ClipVisionConfig;
using nlohmann::json;

constexpr std::int64_t kClipHeadSize = 64;  // of every published CLIP

// Where a half's names are found. Signatures of openai's are whole names below a prefix.
constexpr const char* kTextOpenai = "transformer.resblocks.0.attn.in_proj_weight";
constexpr const char* kImageOpenai = "visual.conv1.weight";
constexpr const char* kTextTransformers = "embeddings.token_embedding.weight";
constexpr const char* kImageTransformers = "embeddings.patch_embedding.weight";

bool is_openai(const WeightSource& source) { return source.contains(kTextOpenai) || source.contains(kImageOpenai); }

// What stands before the whole: before "text_model." and the projection beside it.
std::optional<std::string> transformers_root(const WeightSource& source, const char* signature, const std::string& half) {
  auto prefix = source.prefix_of(signature);
  if (prefix && (*prefix == half || prefix->ends_with("." + half))) prefix->resize(prefix->size() - half.size());
  return prefix;
}

std::optional<std::string> text_root(const WeightSource& source) {
  // openai's image half has blocks of the same names below "visual.".
  for (const auto& [name, tensor] : source.tensors)
    if ((name == kTextOpenai || name.ends_with(std::string(".") + kTextOpenai)) && !name.ends_with(std::string("visual.") + kTextOpenai))
      return name.substr(0, name.size() - std::string_view(kTextOpenai).size());
  return transformers_root(source, kTextTransformers, "text_model.");
}

std::optional<std::string> image_root(const WeightSource& source) {
  // Qwen's vision tower has no class embedding.
  if (const auto prefix = source.prefix_of(kImageOpenai); prefix && source.contains(*prefix + "visual.class_embedding")) return prefix;
  const auto prefix = source.prefix_of(kImageTransformers);
  if (!prefix || !source.contains(*prefix + "embeddings.class_embedding")) return std::nullopt;
  return transformers_root(source, kImageTransformers, "vision_model.");
}

// Names of one half's blocks and what is around them, in the source.
struct HalfNames {
  bool openai;
  std::string in, out;  // before the names, in the source and in the result

  std::string block(std::int64_t index) const { return in + (openai ? "transformer.resblocks." : "encoder.layers.") + std::to_string(index) + "."; }
  std::string first_mlp() const { return block(0) + (openai ? "mlp.c_fc.weight" : "mlp.fc1.weight"); }
  std::int64_t blocks(const WeightSource& source) const { return source.count(in + (openai ? "transformer.resblocks." : "encoder.layers."), "."); }
};

HalfNames text_names(const WeightSource& source) {
  if (is_openai(source)) return {true, "", "text_model."};
  return {false, source.contains("text_model.embeddings.token_embedding.weight") ? "text_model." : "", "text_model."};
}

HalfNames image_names(const WeightSource& source) {
  if (is_openai(source)) return {true, "visual.", "vision_model."};
  return {false, source.contains("vision_model.embeddings.patch_embedding.weight") ? "vision_model." : "", "vision_model."};
}

void plan_pair(PlanBuilder& builder, const std::string& out, const std::string& in, const PlanBuilder::Shape& weight) {
  builder.copy(out + ".weight", in + ".weight", weight);
  builder.copy(out + ".bias", in + ".bias", {weight[0]});
}

void plan_block(PlanBuilder& builder, const HalfNames& names, std::int64_t index, std::int64_t width, std::int64_t mlp) {
  const std::string in = names.block(index), out = names.out + "encoder.layers." + std::to_string(index) + ".";
  const auto part = [&](const char* openai, const char* transformers) { return in + (names.openai ? openai : transformers); };
  if (names.openai) {
    std::int64_t first = 0;
    for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
      builder.rows(out + "self_attn." + name + ".weight", in + "attn.in_proj_weight", {3 * width, width}, first, width);
      builder.rows(out + "self_attn." + name + ".bias", in + "attn.in_proj_bias", {3 * width}, first, width);
      first += width;
    }
  } else {
    for (const char* name : {"q_proj", "k_proj", "v_proj"}) plan_pair(builder, out + "self_attn." + name, in + "self_attn." + name, {width, width});
  }
  plan_pair(builder, out + "self_attn.out_proj", part("attn.out_proj", "self_attn.out_proj"), {width, width});
  plan_pair(builder, out + "mlp.fc1", part("mlp.c_fc", "mlp.fc1"), {mlp, width});
  plan_pair(builder, out + "mlp.fc2", part("mlp.c_proj", "mlp.fc2"), {width, mlp});
  plan_pair(builder, out + "layer_norm1", part("ln_1", "layer_norm1"), {width});
  plan_pair(builder, out + "layer_norm2", part("ln_2", "layer_norm2"), {width});
}

// openai's projections are kept as matrices to multiply with from the right.
void plan_projection(PlanBuilder& builder, const std::string& out, bool openai, const std::string& openai_name, std::int64_t to, std::int64_t from) {
  if (!openai) return builder.copy(out, out, {to, from});
  builder.make(out, openai_name, {from, to}, {to, from}, [](const at::Tensor& x) { return x.t(); });
}

std::int64_t heads(const WeightSource& source, std::int64_t width) {
  if (width % kClipHeadSize != 0)
    throw UserError(source.path.string(), ": a width of ", width, " is no multiple of a head's ", kClipHeadSize,
                    " numbers; give the network's config.json with --config");
  return width / kClipHeadSize;
}

ClipTextConfig text_sizes(const WeightSource& source, const HalfNames& names) {
  const std::string tokens = names.openai ? "token_embedding.weight" : names.in + "embeddings.token_embedding.weight";
  ClipTextConfig config;
  config.vocab_size = source.size(tokens, 0);
  config.hidden_size = source.size(tokens, 1);
  config.max_position_embeddings = source.size(names.openai ? "positional_embedding" : names.in + "embeddings.position_embedding.weight", 0);
  config.intermediate_size = source.size(names.first_mlp(), 0);
  config.num_hidden_layers = names.blocks(source);
  config.num_attention_heads = heads(source, config.hidden_size);
  config.projection_dim = config.hidden_size;
  if (names.openai && source.contains("text_projection")) config.projection_dim = source.size("text_projection", 1);
  if (!names.openai && source.contains("text_projection.weight")) config.projection_dim = source.size("text_projection.weight", 0);
  // As the published files have it: 2 stands for "at the largest id", which is the end of the text in CLIP's vocabulary.
  config.eos_token_id = 2;
  return config;
}

json vision_sizes(const WeightSource& source, const HalfNames& names) {
  const std::string patch = names.in + (names.openai ? "conv1.weight" : "embeddings.patch_embedding.weight");
  const std::string places = names.in + (names.openai ? "positional_embedding" : "embeddings.position_embedding.weight");
  const std::int64_t width = source.size(patch, 0), patch_size = source.size(patch, 2);
  const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(source.size(places, 0) - 1))));
  if (side < 1 || side * side + 1 != source.size(places, 0))
    throw UserError(source.path.string(), ": has ", source.size(places, 0), " places of patches, which are no square and one more");
  return {{"model_type", "clip_vision_model"},
          {"hidden_size", width},
          {"intermediate_size", source.size(names.first_mlp(), 0)},
          {"num_hidden_layers", names.blocks(source)},
          {"num_attention_heads", heads(source, width)},
          {"num_channels", 3},
          {"image_size", side * patch_size},
          {"patch_size", patch_size},
          {"layer_norm_eps", 1e-5},
          {"hidden_act", "quick_gelu"},
          {"projection_dim", source.size(names.openai ? "visual.proj" : "visual_projection.weight", names.openai ? 1 : 0)}};
}

void assume(ImportPlan& plan) { plan.assumed = {"heads of 64 numbers", "hidden_act quick_gelu", "layer_norm_eps 1e-5"}; }

void plan_text(PlanBuilder& builder, const HalfNames& names, const ClipTextConfig& config, bool projection) {
  const std::int64_t width = config.hidden_size;
  const auto part = [&](const char* openai, const char* transformers) { return names.in + (names.openai ? openai : transformers); };
  builder.copy(names.out + "embeddings.token_embedding.weight", part("token_embedding.weight", "embeddings.token_embedding.weight"),
               {config.vocab_size, width});
  builder.copy(names.out + "embeddings.position_embedding.weight", part("positional_embedding", "embeddings.position_embedding.weight"),
               {config.max_position_embeddings, width});
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) plan_block(builder, names, i, width, config.intermediate_size);
  plan_pair(builder, names.out + "final_layer_norm", part("ln_final", "final_layer_norm"), {width});
  builder.ignore(names.in + "embeddings.position_ids");
  if (projection) plan_projection(builder, "text_projection.weight", names.openai, "text_projection", config.projection_dim, width);
}

void plan_image(PlanBuilder& builder, const HalfNames& names, const ClipVisionConfig& config) {
  const std::int64_t width = config.hidden_size, side = config.image_size / config.patch_size;
  const auto part = [&](const char* openai, const char* transformers) { return names.in + (names.openai ? openai : transformers); };
  builder.copy(names.out + "embeddings.class_embedding", part("class_embedding", "embeddings.class_embedding"), {width});
  builder.copy(names.out + "embeddings.patch_embedding.weight", part("conv1.weight", "embeddings.patch_embedding.weight"),
               {width, 3, config.patch_size, config.patch_size});
  builder.copy(names.out + "embeddings.position_embedding.weight", part("positional_embedding", "embeddings.position_embedding.weight"),
               {side * side + 1, width});
  plan_pair(builder, names.out + "pre_layrnorm", part("ln_pre", "pre_layrnorm"), {width});  // spelt so in transformers
  for (std::int64_t i = 0; i < config.layers; ++i) plan_block(builder, names, i, width, config.intermediate_size);
  plan_pair(builder, names.out + "post_layernorm", part("ln_post", "post_layernorm"), {width});
  builder.ignore(names.in + "embeddings.position_ids");
  plan_projection(builder, "visual_projection.weight", names.openai, "visual.proj", config.projection_dim, width);
}

json preprocessor_config(const ClipVisionConfig& config) {
  const models::vision::ClipPreprocessing figures;
  return {{"image_processor_type", "CLIPImageProcessor"},
          {"do_resize", true},
          {"size", {{"shortest_edge", config.image_size}}},
          {"resample", 3},
          {"do_center_crop", true},
          {"crop_size", {{"height", config.image_size}, {"width", config.image_size}}},
          {"do_rescale", true},
          {"rescale_factor", 1 / 255.0},
          {"do_normalize", true},
          {"image_mean", figures.mean},
          {"image_std", figures.std},
          {"do_convert_rgb", true}};
}

ImportPlan new_plan(const WeightSource& source) {
  ImportPlan plan;
  plan.layout = is_openai(source) ? "openai's names" : "transformers' names";
  plan.weights = "model";
  return plan;
}

// Sizes that openai's scripted archives hold as tensors.
void ignore_sizes(PlanBuilder& builder) {
  for (const char* name : {"input_resolution", "context_length", "vocab_size"}) builder.ignore(name);
}

ImportPlan plan_clip_text(const WeightSource& source, const std::optional<json>& given) {
  ImportPlan plan = new_plan(source);
  const HalfNames names = text_names(source);
  const ClipTextConfig config = given ? ClipTextConfig::from_json({*given, "the given config.json"}) : text_sizes(source, names);
  const bool projection = source.contains(names.openai ? "text_projection" : "text_projection.weight");
  if (!given) assume(plan);
  plan.config = given ? *given : config.to_json(projection);
  PlanBuilder builder(source, plan);
  plan_text(builder, names, config, projection);
  for (const char* other : {"visual.", "vision_model.", "visual_projection.", "logit_scale"}) builder.ignore(other);
  ignore_sizes(builder);
  builder.finish();
  return plan;
}

ImportPlan plan_clip_image(const WeightSource& source, const std::optional<json>& given) {
  ImportPlan plan = new_plan(source);
  const HalfNames names = image_names(source);
  json derived = given ? *given : vision_sizes(source, names);
  if (!given) {
    derived["architectures"] = {"CLIPVisionModelWithProjection"};
    assume(plan);
  }
  const auto config = ClipVisionConfig::from_json({derived, given ? "the given config.json" : source.path.string()});
  plan.config = derived;
  plan.other_files["preprocessor_config.json"] = preprocessor_config(config);
  PlanBuilder builder(source, plan);
  plan_image(builder, names, config);
  for (const char* other : {"text_model.", "text_projection", "logit_scale", "transformer.", "token_embedding.", "positional_embedding", "ln_final."})
    builder.ignore(other);
  ignore_sizes(builder);
  builder.finish();
  return plan;
}

ImportPlan plan_clip(const WeightSource& source, const std::optional<json>& given) {
  ImportPlan plan = new_plan(source);
  const HalfNames text = text_names(source), image = image_names(source);
  if (given) {
    plan.config = *given;
  } else {
    json text_config = text_sizes(source, text).to_json(true);
    const json vision_config = vision_sizes(source, image);
    plan.config = {{"architectures", {"CLIPModel"}},   {"model_type", "clip"},       {"projection_dim", vision_config["projection_dim"]},
                   {"logit_scale_init_value", 2.6592}, {"text_config", text_config}, {"vision_config", vision_config}};
    assume(plan);
  }
  const models::nn::NetworkConfig parsed(plan.config, given ? "the given config.json" : source.path.string());
  const auto text_config = ClipTextConfig::from_json(parsed);
  const auto vision_config = ClipVisionConfig::from_json(parsed);
  plan.other_files["preprocessor_config.json"] = preprocessor_config(vision_config);
  PlanBuilder builder(source, plan);
  plan_text(builder, text, text_config, true);
  plan_image(builder, image, vision_config);
  builder.copy("logit_scale", "logit_scale", {});
  ignore_sizes(builder);
  builder.finish();
  return plan;
}

}  // namespace

models::nn::PublishedNetwork published_clip_text() { return {"clip-text", "CLIP's text encoder", text_root, plan_clip_text}; }

models::nn::PublishedNetwork published_clip_image() { return {"clip-image", "CLIP's image encoder", image_root, plan_clip_image}; }

models::nn::PublishedNetwork published_clip() {
  return {"clip", "CLIP, text and image encoder",
          [](const WeightSource& source) -> std::optional<std::string> {
            const auto text = text_root(source);
            return text && text == image_root(source) ? text : std::nullopt;
          },
          plan_clip};
}

}  // namespace magicid::imports
