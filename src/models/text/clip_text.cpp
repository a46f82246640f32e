#include "models/text/clip_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/layer_norm.h>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "models/text/attention.h"
#include "models/text/input_ids.h"

namespace magicid::models::text {

ClipTextConfig ClipTextConfig::from_json(const nn::NetworkConfig& json) {
  if (json.value().contains("text_config")) {
    // Files of the first CLIP conversion hold the settings a second time in text_config_dict, and transformers lets that one win whole.
    const nn::NetworkConfig inner = json.object(json.has("text_config_dict") ? "text_config_dict" : "text_config");
    nlohmann::json object = inner.value();
    object["model_type"] = "clip_text_model";
    object["projection_dim"] = json.size("projection_dim", 512);
    return from_json({std::move(object), inner.place()});
  }
  json.choice("model_type", {"clip_text_model"});
  ClipTextConfig c;
  c.vocab_size = json.size("vocab_size", c.vocab_size);
  c.hidden_size = json.size("hidden_size", c.hidden_size);
  c.intermediate_size = json.size("intermediate_size", c.intermediate_size);
  c.num_hidden_layers = json.size("num_hidden_layers", c.num_hidden_layers);
  c.num_attention_heads = json.size("num_attention_heads", c.num_attention_heads);
  c.max_position_embeddings = json.size("max_position_embeddings", c.max_position_embeddings);
  c.projection_dim = json.size("projection_dim", c.projection_dim);
  c.eos_token_id = json.integer("eos_token_id", c.eos_token_id);
  c.layer_norm_eps = json.number("layer_norm_eps", c.layer_norm_eps);
  c.hidden_act = activation(json.text("hidden_act", "quick_gelu"), json.place());
  if (c.hidden_size % c.num_attention_heads != 0)
    throw base::UserError(json.place(), ": a width of ", c.hidden_size, " cannot be shared by ", c.num_attention_heads, " heads");
  return c;
}

nlohmann::json ClipTextConfig::to_json(bool with_projection) const {
  base::check_invariant(hidden_act == Activation::quick_gelu || hidden_act == Activation::gelu, "ClipTextConfig::to_json is for initialised models");
  return {{"architectures", {with_projection ? "CLIPTextModelWithProjection" : "CLIPTextModel"}},
          {"model_type", "clip_text_model"},
          {"vocab_size", vocab_size},
          {"hidden_size", hidden_size},
          {"intermediate_size", intermediate_size},
          {"num_hidden_layers", num_hidden_layers},
          {"num_attention_heads", num_attention_heads},
          {"max_position_embeddings", max_position_embeddings},
          {"projection_dim", projection_dim},
          {"bos_token_id", nullptr},
          {"eos_token_id", eos_token_id},
          {"pad_token_id", nullptr},
          {"layer_norm_eps", layer_norm_eps},
          {"hidden_act", hidden_act == Activation::gelu ? "gelu" : "quick_gelu"},
          {"attention_dropout", 0.0},
          {"torch_dtype", "float32"}};
}

ClipTextEncoder ClipTextEncoder::load(const std::filesystem::path& folder, const nn::Placement& placement) {
  return from_weights(ClipTextConfig::from_json(nn::NetworkConfig::open(folder / "config.json")), nn::Weights::open_folder(folder, placement));
}

ClipTextEncoder::LayerNorm ClipTextEncoder::load_norm(const nn::Weights& weights, const std::string& name, std::int64_t size) {
  return {weights.take(name + ".weight", {size}), weights.take(name + ".bias", {size})};
}

ClipTextEncoder ClipTextEncoder::from_weights(const ClipTextConfig& config, const nn::Weights& weights) {
  ClipTextEncoder encoder;
  encoder.config_ = config;
  encoder.placement_ = weights.placement();
  const nn::Weights w = weights.sub(weights.contains("embeddings.token_embedding.weight") ? "" : "text_model.");
  const std::int64_t d = config.hidden_size;
  encoder.token_embedding_ = w.take("embeddings.token_embedding.weight", {config.vocab_size, d});
  encoder.position_embedding_ = w.take("embeddings.position_embedding.weight", {config.max_position_embeddings, d});
  w.ignore("embeddings.position_ids");  // a buffer that old versions saved
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const nn::Weights l = w.sub("encoder.layers." + std::to_string(i) + ".");
    Layer layer;
    layer.norm1 = load_norm(l, "layer_norm1", d);
    layer.norm2 = load_norm(l, "layer_norm2", d);
    layer.q = nn::Linear::load(l, "self_attn.q_proj", d, d);
    layer.k = nn::Linear::load(l, "self_attn.k_proj", d, d);
    layer.v = nn::Linear::load(l, "self_attn.v_proj", d, d);
    layer.out = nn::Linear::load(l, "self_attn.out_proj", d, d);
    layer.fc1 = nn::Linear::load(l, "mlp.fc1", config.intermediate_size, d);
    layer.fc2 = nn::Linear::load(l, "mlp.fc2", d, config.intermediate_size);
    encoder.layers_.push_back(std::move(layer));
  }
  encoder.final_norm_ = load_norm(w, "final_layer_norm", d);
  encoder.projection_.weight = weights.take_optional("text_projection.weight", {config.projection_dim, d});
  for (const char* other : {"vision_model.", "visual_projection.", "logit_scale"}) weights.ignore(other);
  weights.finish();
  return encoder;
}

at::Tensor ClipTextEncoder::apply(const LayerNorm& norm, const at::Tensor& x) const {
  return at::layer_norm(x, {config_.hidden_size}, norm.weight, norm.bias, config_.layer_norm_eps);
}

ClipTextOutput ClipTextEncoder::operator()(const at::Tensor& input_ids) const {
  check_input_ids(input_ids, config_.vocab_size, "CLIP");
  const std::int64_t batch = input_ids.size(0), tokens = input_ids.size(1), head = config_.hidden_size / config_.num_attention_heads;
  if (tokens > config_.max_position_embeddings)
    throw base::UserError("CLIP: ", tokens, " tokens, but the model has positions for ", config_.max_position_embeddings);
  const at::Tensor ids = input_ids.to(placement_.device).to(at::kLong);
  at::Tensor x = at::embedding(token_embedding_, ids) + position_embedding_.slice(0, 0, tokens);
  const auto heads = [&](const at::Tensor& y) { return y.view({batch, tokens, config_.num_attention_heads, head}).transpose(1, 2); };
  for (const Layer& layer : layers_) {
    const at::Tensor normed = apply(layer.norm1, x);
    x = x + layer.out(causal_attention(heads(layer.q(normed)), heads(layer.k(normed)), heads(layer.v(normed))));
    x = x + layer.fc2(activate(layer.fc1(apply(layer.norm2, x)), config_.hidden_act));
  }
  ClipTextOutput out;
  out.last_hidden_state = apply(final_norm_, x);
  // argmax gives the first of equal values, so the first end-of-text token; position 0 when there is none, as in the reference.
  const at::Tensor end = config_.eos_token_id == 2 ? ids.argmax(-1) : (ids == config_.eos_token_id).to(at::kInt).argmax(-1);
  out.pooler_output = out.last_hidden_state.gather(1, end.view({batch, 1, 1}).expand({batch, 1, config_.hidden_size})).squeeze(1);
  if (has_projection()) out.text_embeds = projection_(out.pooler_output);
  return out;
}

}  // namespace magicid::models::text
