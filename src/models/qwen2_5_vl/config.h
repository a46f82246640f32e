// Qwen2.5-VL's config.json.
// Source: transformers' models/qwen2_5_vl/configuration_qwen2_5_vl.py (5.24).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "models/text/activation.h"

namespace magicid::models::nn {
class NetworkConfig;
}

namespace magicid::models::qwen2_5_vl {

// `vision_config`, with transformers' defaults.
struct VisionTowerConfig {
  std::int64_t depth = 32, hidden_size = 3584, intermediate_size = 3420, num_heads = 16, in_channels = 3, patch_size = 14, temporal_patch_size = 2,
               spatial_merge_size = 2, window_size = 112, out_hidden_size = 3584;
  double tokens_per_second = 4, rope_theta = 10000;
  std::vector<std::int64_t> fullatt_block_indexes = {7, 15, 23, 31};  // layers whose attention sees a whole frame, and not a window of it
  text::Activation hidden_act = text::Activation::silu;

  // Side of a window in merged tokens.
  std::int64_t window() const { return window_size / spatial_merge_size / patch_size; }
  // Values of one patch: channels x temporal_patch_size x patch_size x patch_size.
  std::int64_t patch_values() const { return in_channels * temporal_patch_size * patch_size * patch_size; }
};

// `text_config`, or the same keys at the top of older files.
struct LanguageModelConfig {
  std::int64_t vocab_size = 152064, hidden_size = 8192, intermediate_size = 29568, num_hidden_layers = 80, num_attention_heads = 64, num_key_value_heads = 8;
  double rms_norm_eps = 1e-5, rope_theta = 1e6;
  std::vector<std::int64_t> mrope_section = {16, 24, 24};  // pairs of a head that turn by the temporal, vertical and horizontal position, in turn
  text::Activation hidden_act = text::Activation::silu;

  std::int64_t head_dim() const { return hidden_size / num_attention_heads; }
};

struct QwenVlConfig {
  VisionTowerConfig vision;
  LanguageModelConfig language;
  std::int64_t image_token_id = 151655, video_token_id = 151656, vision_start_token_id = 151652, vision_end_token_id = 151653;
  bool tie_word_embeddings = false;  // the head is the embedding

  // Throws UserError for another model, for sizes that do not go together, for sliding windows in the language model and kinds of RoPE other than default and
  // mrope.
  static QwenVlConfig from_json(const nn::NetworkConfig& json);
  // As transformers 5 writes it; for hidden_act silu, as initialisation makes it.
  nlohmann::json to_json() const;
};

}  // namespace magicid::models::qwen2_5_vl
