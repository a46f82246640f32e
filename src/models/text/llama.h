// LLaMA as a text encoder: the states of an inner layer.
// B: prompts, S: tokens, D: width.
// Source: transformers' models/llama (5.23); Touvron et al. 2023 (arXiv:2302.13971).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/nn/weights.h"
#include "models/text/activation.h"
#include "models/text/decoder_layer.h"

namespace magicid::models::nn {
class NetworkConfig;
}

namespace magicid::models::text {

// Frequencies of LLaMA 3.1 for contexts longer than those trained on ("rope_type": "llama3").
struct RopeScaling {
  double factor = 8, low_freq_factor = 1, high_freq_factor = 4, original_max_position_embeddings = 8192;
};

// The fields of config.json with transformers' defaults.
struct LlamaConfig {
  std::int64_t vocab_size = 32000, hidden_size = 4096, intermediate_size = 11008, num_hidden_layers = 32, num_attention_heads = 32, num_key_value_heads = 32,
               head_dim = 128;
  double rms_norm_eps = 1e-6, rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  bool attention_bias = false, mlp_bias = false;
  Activation hidden_act = Activation::silu;

  // LlamaModel, LlamaForCausalLM, or a wrapper (Llava) whose `text_config` is one of them; rope_theta and rope_scaling of transformers 4 or
  // rope_parameters of 5. Throws UserError for other models and other kinds of RoPE.
  static LlamaConfig from_json(const nn::NetworkConfig& json);
  // As transformers reads it, old and new. Only for configurations with hidden_act silu and without rope_scaling, as initialisation makes them.
  nlohmann::json to_json() const;
};

class LlamaEncoder {
 public:
  // Reads config.json and the weights of a folder, only the layers that the states need: with `layers_to_skip` = 2 the last two layers
  // and the final norm are not read. Keys with or without `model.` (or `language_model.model.`). Throws UserError listing every problem.
  static LlamaEncoder load(const std::filesystem::path& folder, const nn::Placement& placement, std::int64_t layers_to_skip = 2);
  static LlamaEncoder from_weights(const LlamaConfig& config, const nn::Weights& weights, std::int64_t layers_to_skip = 2);

  // hidden_states[-(layers_to_skip + 1)] of transformers' output, [B,S,D] in the placement's dtype.
  // input_ids [B,S] int64; attention_mask [B,S] of any type, ones then zeros in each row (text, then padding on its right), or undefined for
  // all ones. Rows at padding are zero here; the reference leaves values there that nothing may read. Throws UserError for other
  // masks and for ids outside the vocabulary.
  at::Tensor hidden_states(const at::Tensor& input_ids, const at::Tensor& attention_mask = {}) const;

  const LlamaConfig& config() const { return config_; }

 private:
  LlamaConfig config_;
  nn::Placement placement_;
  at::Tensor embedding_;  // [vocabulary, D]
  std::vector<DecoderLayer> layers_;
  at::Tensor final_norm_;  // [D]; undefined when layers are skipped
};

}  // namespace magicid::models::text
