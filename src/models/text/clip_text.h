// CLIP's text encoder.
// B: texts, S: tokens, D: width, P: projected width.
// Source: transformers' models/clip (5.23); Radford et al. 2021 (arXiv:2103.00020).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "models/nn/linear.h"
#include "models/nn/weights.h"
#include "models/text/activation.h"

namespace magicid::models::nn {
class NetworkConfig;
}

namespace magicid::models::text {

// The fields of config.json with transformers' defaults.
struct ClipTextConfig {
  std::int64_t vocab_size = 49408, hidden_size = 512, intermediate_size = 2048, num_hidden_layers = 12, num_attention_heads = 8, max_position_embeddings = 77,
               projection_dim = 512, eos_token_id = 49407;
  double layer_norm_eps = 1e-5;
  Activation hidden_act = Activation::quick_gelu;

  // CLIPTextModel, CLIPTextModelWithProjection, or a whole CLIPModel (`text_config`, with `projection_dim` beside it). Throws UserError
  // for other models.
  static ClipTextConfig from_json(const nn::NetworkConfig& json);
  // As transformers reads it; only for hidden_act quick_gelu or gelu.
  nlohmann::json to_json(bool with_projection) const;
};

struct ClipTextOutput {
  at::Tensor last_hidden_state;  // [B,S,D], after the final norm
  at::Tensor pooler_output;      // [B,D]: its row at the first end-of-text token (at the largest id when eos_token_id is 2, as old files need)
  at::Tensor text_embeds;        // [B,P]: pooler_output projected, not normalised; undefined when the folder has no text_projection
};

class ClipTextEncoder {
 public:
  // A folder of CLIPTextModel, CLIPTextModelWithProjection or CLIPModel (whose vision tensors are left alone); keys with or without
  // `text_model.`. Throws UserError listing every problem.
  static ClipTextEncoder load(const std::filesystem::path& folder, const nn::Placement& placement);
  static ClipTextEncoder from_weights(const ClipTextConfig& config, const nn::Weights& weights);

  // input_ids [B,S], S at most max_position_embeddings. No mask: attention is causal and only the row at the end of the text is pooled.
  // Throws UserError for ids outside the vocabulary and for too many tokens.
  ClipTextOutput operator()(const at::Tensor& input_ids) const;

  bool has_projection() const { return projection_.weight.defined(); }
  const ClipTextConfig& config() const { return config_; }

 private:
  struct LayerNorm {
    at::Tensor weight, bias;  // [D]
  };
  struct Layer {
    LayerNorm norm1, norm2;
    nn::Linear q, k, v, out, fc1, fc2;
  };
  static LayerNorm load_norm(const nn::Weights& weights, const std::string& name, std::int64_t size);
  at::Tensor apply(const LayerNorm& norm, const at::Tensor& x) const;

  ClipTextConfig config_;
  nn::Placement placement_;
  at::Tensor token_embedding_, position_embedding_;  // [vocabulary,D], [positions,D]
  std::vector<Layer> layers_;
  LayerNorm final_norm_;
  nn::Linear projection_;
};

}  // namespace magicid::models::text
