#include "models/text/llama.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "models/text/input_ids.h"

namespace magicid::models::text {
namespace {

at::Tensor inverse_frequencies(const LlamaConfig& c) {
  const at::Tensor exponents = at::arange(0, c.head_dim, 2, at::TensorOptions(at::kFloat)) / static_cast<double>(c.head_dim);
  const at::Tensor base = at::pow(c.rope_theta, exponents).reciprocal();
  if (!c.rope_scaling) return base;
  // Long waves are stretched by `factor`, short ones are kept, those between are blended (transformers' modeling_rope_utils.py).
  const RopeScaling& s = *c.rope_scaling;
  const at::Tensor wavelength = base.reciprocal() * (2 * std::numbers::pi);
  const double longest = s.original_max_position_embeddings / s.low_freq_factor, shortest = s.original_max_position_embeddings / s.high_freq_factor;
  const at::Tensor blend = (wavelength.reciprocal() * s.original_max_position_embeddings - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  const at::Tensor between = base * blend + base / s.factor * (1 - blend);
  return at::where(wavelength > longest, base / s.factor, at::where(wavelength < shortest, base, between));
}

RopeScaling llama3_scaling(const nn::NetworkConfig& json) {
  const auto needed = [&](const char* key) {
    if (!json.has(key)) json.refuse(key, "a number");
    return json.positive(key, 0);
  };
  return {needed("factor"), needed("low_freq_factor"), needed("high_freq_factor"), needed("original_max_position_embeddings")};
}

}  // namespace

LlamaConfig LlamaConfig::from_json(const nn::NetworkConfig& json) {
  if (json.has("text_config")) return from_json(json.object("text_config"));
  json.choice("model_type", {"llama"});
  LlamaConfig c;
  c.vocab_size = json.size("vocab_size", c.vocab_size);
  c.hidden_size = json.size("hidden_size", c.hidden_size);
  c.intermediate_size = json.size("intermediate_size", c.intermediate_size);
  c.num_hidden_layers = json.size("num_hidden_layers", c.num_hidden_layers);
  c.num_attention_heads = json.size("num_attention_heads", c.num_attention_heads);
  c.num_key_value_heads = json.size("num_key_value_heads", c.num_attention_heads);
  c.head_dim = json.size("head_dim", c.hidden_size / c.num_attention_heads);
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    throw base::UserError(json.place(), ": ", c.num_attention_heads, " attention heads cannot share ", c.num_key_value_heads, " key and value heads evenly");
  }
  if (c.head_dim % 2 != 0) throw base::UserError(json.place(), ": a head size of ", c.head_dim, " is odd, and rotary embedding needs pairs");
  c.rms_norm_eps = json.number("rms_norm_eps", c.rms_norm_eps);
  c.attention_bias = json.boolean("attention_bias", false);
  c.mlp_bias = json.boolean("mlp_bias", false);
  c.hidden_act = activation(json.text("hidden_act", "silu"), json.place());

  c.rope_theta = json.number("rope_theta", c.rope_theta);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!json.has(key)) continue;
    const nn::NetworkConfig rope = json.object(key);
    c.rope_theta = rope.number("rope_theta", c.rope_theta);
    const std::string kind = rope.text("rope_type", rope.text("type", "default"));
    if (kind == "llama3") c.rope_scaling = llama3_scaling(rope);
    else if (kind != "default") throw base::UserError(rope.place(), ": rope_type \"", kind, "\" is not supported; supported are default and llama3");
    if (rope.number("partial_rotary_factor", 1) != 1) rope.refuse("partial_rotary_factor", "1, as LLaMA has it,");
  }
  return c;
}

nlohmann::json LlamaConfig::to_json() const {
  base::check_invariant(hidden_act == Activation::silu && !rope_scaling, "LlamaConfig::to_json is for initialised models");
  return {{"architectures", {"LlamaModel"}},
          {"model_type", "llama"},
          {"vocab_size", vocab_size},
          {"hidden_size", hidden_size},
          {"intermediate_size", intermediate_size},
          {"num_hidden_layers", num_hidden_layers},
          {"num_attention_heads", num_attention_heads},
          {"num_key_value_heads", num_key_value_heads},
          {"head_dim", head_dim},
          {"rms_norm_eps", rms_norm_eps},
          {"rope_theta", rope_theta},
          {"attention_bias", attention_bias},
          {"mlp_bias", mlp_bias},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 8192},
          {"attention_dropout", 0.0},
          {"tie_word_embeddings", false},
          {"use_cache", true},
          {"bos_token_id", nullptr},
          {"eos_token_id", nullptr},
          {"pad_token_id", nullptr},
          {"torch_dtype", "float32"}};
}

LlamaEncoder LlamaEncoder::load(const std::filesystem::path& folder, const nn::Placement& placement, std::int64_t layers_to_skip) {
  return from_weights(LlamaConfig::from_json(nn::NetworkConfig::open(folder / "config.json")), nn::Weights::open_folder(folder, placement), layers_to_skip);
}

LlamaEncoder LlamaEncoder::from_weights(const LlamaConfig& config, const nn::Weights& weights, std::int64_t layers_to_skip) {
  if (layers_to_skip < 0 || layers_to_skip > config.num_hidden_layers) {
    throw base::UserError(weights.origin(), ": cannot skip ", layers_to_skip, " of ", config.num_hidden_layers, " layers");
  }
  LlamaEncoder encoder;
  encoder.config_ = config;
  encoder.placement_ = weights.placement();
  const std::array<std::string, 4> prefixes = {"", "model.", "language_model.model.", "model.language_model."};
  const auto prefix = std::find_if(prefixes.begin(), prefixes.end(), [&](const auto& p) { return weights.contains(p + "embed_tokens.weight"); });
  const nn::Weights w = weights.sub(prefix == prefixes.end() ? "" : *prefix);

  const std::int64_t d = config.hidden_size;
  const DecoderShape shape{.hidden_size = d,
                           .intermediate_size = config.intermediate_size,
                           .num_attention_heads = config.num_attention_heads,
                           .num_key_value_heads = config.num_key_value_heads,
                           .head_dim = config.head_dim,
                           .rms_norm_eps = config.rms_norm_eps,
                           .qkv_bias = config.attention_bias,
                           .output_bias = config.attention_bias,
                           .mlp_bias = config.mlp_bias,
                           .hidden_act = config.hidden_act};
  encoder.embedding_ = w.take("embed_tokens.weight", {config.vocab_size, d});
  const std::int64_t needed = config.num_hidden_layers - layers_to_skip;
  for (std::int64_t i = 0; i < needed; ++i) {
    const nn::Weights l = w.sub("layers." + std::to_string(i) + ".");
    encoder.layers_.push_back(DecoderLayer::load(l, shape));
    l.ignore("self_attn.rotary_emb.");  // buffers that old versions saved
  }
  if (layers_to_skip == 0) encoder.final_norm_ = w.take("norm.weight", {d});
  for (std::int64_t i = needed; i < config.num_hidden_layers; ++i) w.ignore("layers." + std::to_string(i) + ".");
  w.ignore("norm.");
  w.ignore("rotary_emb.");
  for (const char* head : {"lm_head.", "language_model.lm_head.", "vision_tower.", "model.vision_tower.", "multi_modal_projector.",
                           "model.multi_modal_projector.", "image_newline"}) {
    weights.ignore(head);
  }
  weights.finish();
  return encoder;
}

at::Tensor LlamaEncoder::hidden_states(const at::Tensor& input_ids, const at::Tensor& attention_mask) const {
  check_input_ids(input_ids, config_.vocab_size, "LLaMA");
  const std::int64_t tokens = input_ids.size(1);
  const at::Tensor lengths = prefix_lengths(input_ids, attention_mask);  // [B]
  // Padding stands behind the text and attention is causal, so text never sees it: the longest text is all that must be computed.
  const std::int64_t used = lengths.max().item<std::int64_t>();
  at::Tensor x = at::embedding(embedding_, input_ids.slice(1, 0, used).to(placement_.device));
  const at::Tensor angles = at::arange(used, at::TensorOptions(at::kFloat)).unsqueeze(1) * inverse_frequencies(config_).unsqueeze(0);
  const at::Tensor doubled = at::cat({angles, angles}, -1).to(placement_.device);
  const at::Tensor cos = at::cos(doubled).to(x.scalar_type()), sin = at::sin(doubled).to(x.scalar_type());
  for (const DecoderLayer& layer : layers_) x = layer(x, cos, sin);
  if (final_norm_.defined()) x = rms_norm(x, final_norm_, config_.rms_norm_eps);
  const at::Tensor is_text = (at::arange(used).unsqueeze(0) < lengths.unsqueeze(1)).to(x.device()).unsqueeze(-1);
  x = at::where(is_text, x, at::zeros({}, x.options()));
  return used == tokens ? x : at::cat({x, at::zeros({x.size(0), tokens - used, x.size(2)}, x.options())}, 1);
}

}  // namespace magicid::models::text
