#include "models/qwen2_5_vl/config.h"

#include <algorithm>
#include <numeric>

#include "base/errors.h"
#include "models/nn/network_config.h"

namespace magicid::models::qwen2_5_vl {
namespace {

using base::UserError;
using nn::NetworkConfig;

// Indices may be 0, which is no size.
std::vector<std::int64_t> layer_indices(const NetworkConfig& json, const std::string& key, const std::vector<std::int64_t>& fallback) {
  if (!json.has(key)) return fallback;
  const auto& list = json.value().at(key);
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), [](const auto& v) { return v.is_number_unsigned(); }))
    json.refuse(key, "a list of layers, counted from 0,");
  return list.get<std::vector<std::int64_t>>();
}

void require_multiple(const NetworkConfig& json, const char* what, std::int64_t value, std::int64_t of) {
  if (value % of != 0) throw UserError(json.place(), ": ", what, " is ", value, "; a multiple of ", of, " was expected");
}

VisionTowerConfig read_vision(const NetworkConfig& json) {
  VisionTowerConfig c;
  c.depth = json.size("depth", c.depth);
  c.hidden_size = json.size("hidden_size", c.hidden_size);
  c.intermediate_size = json.size("intermediate_size", c.intermediate_size);
  c.num_heads = json.size("num_heads", c.num_heads);
  c.in_channels = json.size("in_channels", c.in_channels);  // the published files' `in_chans` is not read by transformers either
  c.patch_size = json.size("patch_size", c.patch_size);
  c.temporal_patch_size = json.size("temporal_patch_size", c.temporal_patch_size);
  c.spatial_merge_size = json.size("spatial_merge_size", c.spatial_merge_size);
  c.window_size = json.size("window_size", c.window_size);
  c.out_hidden_size = json.size("out_hidden_size", c.out_hidden_size);
  c.tokens_per_second = json.positive("tokens_per_second", c.tokens_per_second);
  c.fullatt_block_indexes = layer_indices(json, "fullatt_block_indexes", c.fullatt_block_indexes);
  c.hidden_act = text::activation(json.text("hidden_act", "silu"), json.place());
  const NetworkConfig rope = json.object("rope_parameters");
  c.rope_theta = rope.positive("rope_theta", c.rope_theta);
  rope.choice("rope_type", {"axial", "default"}, "axial");
  if (c.in_channels != 3) json.refuse("in_channels", "3, for frames of colour,");
  require_multiple(json, "hidden_size", c.hidden_size, c.num_heads);
  require_multiple(json, "the head size", c.hidden_size / c.num_heads, 4);  // pairs for the row, pairs for the column
  if (c.window() < 1) json.refuse("window_size", "at least patch_size x spatial_merge_size, ", c.patch_size * c.spatial_merge_size, ",");
  return c;
}

void read_rope(const NetworkConfig& json, LanguageModelConfig& c) {
  c.rope_theta = json.positive("rope_theta", c.rope_theta);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!json.has(key)) continue;
    const NetworkConfig rope = json.object(key);
    c.rope_theta = rope.positive("rope_theta", c.rope_theta);
    for (const char* kind : {"rope_type", "type"}) rope.choice(kind, {"default", "mrope"}, "default");
    c.mrope_section = rope.sizes("mrope_section", c.mrope_section);
  }
}

LanguageModelConfig read_language(const NetworkConfig& json) {
  LanguageModelConfig c;
  c.vocab_size = json.size("vocab_size", c.vocab_size);
  c.hidden_size = json.size("hidden_size", c.hidden_size);
  c.intermediate_size = json.size("intermediate_size", c.intermediate_size);
  c.num_hidden_layers = json.size("num_hidden_layers", c.num_hidden_layers);
  c.num_attention_heads = json.size("num_attention_heads", c.num_attention_heads);
  c.num_key_value_heads = json.size("num_key_value_heads", json.value().contains("num_key_value_heads") ? c.num_attention_heads : c.num_key_value_heads);
  c.rms_norm_eps = json.positive("rms_norm_eps", c.rms_norm_eps);
  c.hidden_act = text::activation(json.text("hidden_act", "silu"), json.place());
  read_rope(json, c);
  require_multiple(json, "hidden_size", c.hidden_size, c.num_attention_heads);
  require_multiple(json, "num_attention_heads", c.num_attention_heads, c.num_key_value_heads);
  const std::int64_t pairs = std::accumulate(c.mrope_section.begin(), c.mrope_section.end(), std::int64_t{0});
  if (2 * pairs != c.head_dim())
    throw UserError(json.place(), ": mrope_section adds up to ", pairs, " pairs, and a head of ", c.head_dim(), " numbers has ", c.head_dim() / 2);
  if (json.boolean("use_sliding_window", false) && json.integer("max_window_layers", 80) < c.num_hidden_layers)
    json.refuse("use_sliding_window", "false, as the published models have it,");
  if (json.has("layer_types"))
    for (const std::string& type : json.texts("layer_types"))
      if (type != "full_attention") json.refuse("layer_types", "full_attention for each layer");
  return c;
}

}  // namespace

QwenVlConfig QwenVlConfig::from_json(const NetworkConfig& json) {
  json.choice("model_type", {"qwen2_5_vl"});
  if (!json.has("vision_config")) json.refuse("vision_config", "an object");
  QwenVlConfig c;
  const NetworkConfig language = json.has("text_config") ? json.object("text_config") : json;
  c.vision = read_vision(json.object("vision_config"));
  c.language = read_language(language);
  const auto token = [&](const char* key, std::int64_t& id) { id = json.size(key, id, 0); };
  token("image_token_id", c.image_token_id);
  token("video_token_id", c.video_token_id);
  token("vision_start_token_id", c.vision_start_token_id);
  token("vision_end_token_id", c.vision_end_token_id);
  c.tie_word_embeddings = json.boolean("tie_word_embeddings", false) || language.boolean("tie_word_embeddings", false);
  if (c.vision.out_hidden_size != c.language.hidden_size)
    throw UserError(json.place(), ": vision_config.out_hidden_size is ", c.vision.out_hidden_size, " and the language model's hidden_size ",
                    c.language.hidden_size, "; the same was expected, since the tower's tokens stand among the text's");
  if (c.video_token_id >= c.language.vocab_size) json.refuse("video_token_id", "an id below vocab_size, ", c.language.vocab_size, ",");
  return c;
}

nlohmann::json QwenVlConfig::to_json() const {
  base::check_invariant(vision.hidden_act == text::Activation::silu && language.hidden_act == text::Activation::silu,
                        "QwenVlConfig::to_json is for initialised models");
  return {{"architectures", {"Qwen2_5_VLForConditionalGeneration"}},
          {"model_type", "qwen2_5_vl"},
          {"image_token_id", image_token_id},
          {"video_token_id", video_token_id},
          {"vision_start_token_id", vision_start_token_id},
          {"vision_end_token_id", vision_end_token_id},
          {"tie_word_embeddings", tie_word_embeddings},
          {"vision_config",
           {{"model_type", "qwen2_5_vl_vision"},
            {"depth", vision.depth},
            {"hidden_act", "silu"},
            {"hidden_size", vision.hidden_size},
            {"intermediate_size", vision.intermediate_size},
            {"num_heads", vision.num_heads},
            {"in_channels", vision.in_channels},
            {"patch_size", vision.patch_size},
            {"temporal_patch_size", vision.temporal_patch_size},
            {"spatial_merge_size", vision.spatial_merge_size},
            {"window_size", vision.window_size},
            {"out_hidden_size", vision.out_hidden_size},
            {"tokens_per_second", static_cast<std::int64_t>(vision.tokens_per_second)},
            {"fullatt_block_indexes", vision.fullatt_block_indexes}}},
          {"text_config",
           {{"model_type", "qwen2_5_vl_text"},
            {"vocab_size", language.vocab_size},
            {"hidden_size", language.hidden_size},
            {"intermediate_size", language.intermediate_size},
            {"num_hidden_layers", language.num_hidden_layers},
            {"num_attention_heads", language.num_attention_heads},
            {"num_key_value_heads", language.num_key_value_heads},
            {"hidden_act", "silu"},
            {"rms_norm_eps", language.rms_norm_eps},
            {"bos_token_id", nullptr},
            {"eos_token_id", nullptr},
            {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", language.rope_theta}, {"mrope_section", language.mrope_section}}}}}};
}

}  // namespace magicid::models::qwen2_5_vl
