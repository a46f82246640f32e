#include "models/text/llama.h"
#include "base/errors.h"
#include "imports/kinds.h"
#include "models/nn/network_config.h"

namespace magicid::imports {
namespace {

using models::nn::ImportPlan;
using models::nn::PlanBuilder;
using models::nn::WeightSource;
using models::text::LlamaConfig;

constexpr const char* kSignature = "embed_tokens.weight";
constexpr std::int64_t kLlamaHeadSize = 128;  // of every published LLaMA

LlamaConfig llama_sizes(const WeightSource& source, ImportPlan& plan) {
  LlamaConfig config;
  config.vocab_size = source.size("embed_tokens.weight", 0);
  config.hidden_size = source.size("embed_tokens.weight", 1);
  config.intermediate_size = source.size("layers.0.mlp.gate_proj.weight", 0);
  config.num_hidden_layers = source.count("layers.", ".");
  const std::int64_t queries = source.size("layers.0.self_attn.q_proj.weight", 0), keys = source.size("layers.0.self_attn.k_proj.weight", 0);
  if (queries % kLlamaHeadSize != 0 || keys % kLlamaHeadSize != 0)
    throw base::UserError(source.path.string(), ": its queries have ", queries, " and its keys ", keys, " numbers, which are no heads of ", kLlamaHeadSize,
                          "; give the network's config.json with --config");
  config.head_dim = kLlamaHeadSize;
  config.num_attention_heads = queries / kLlamaHeadSize;
  config.num_key_value_heads = keys / kLlamaHeadSize;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 500000;
  plan.assumed = {"head_dim 128", "rope_theta 500000", "rms_norm_eps 1e-5", "hidden_act silu (Llama 3's)"};
  return config;
}

ImportPlan plan_llama(const WeightSource& source, const std::optional<nlohmann::json>& json) {
  ImportPlan plan;
  plan.layout = "transformers' names";
  plan.weights = "model";
  const LlamaConfig config = json ? LlamaConfig::from_json({*json, "the given config.json"}) : llama_sizes(source, plan);
  plan.config = json ? *json : config.to_json();

  PlanBuilder builder(source, plan);
  const std::int64_t width = config.hidden_size, mlp = config.intermediate_size;
  const std::int64_t queries = config.num_attention_heads * config.head_dim, keys = config.num_key_value_heads * config.head_dim;
  const auto copy = [&](const std::string& name, const PlanBuilder::Shape& shape) { builder.copy("model." + name, name, shape); };
  const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in, bool bias) {
    copy(name + ".weight", {out, in});
    if (bias) copy(name + ".bias", {out});
  };
  copy("embed_tokens.weight", {config.vocab_size, width});
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    linear(layer + "self_attn.q_proj", queries, width, config.attention_bias);
    linear(layer + "self_attn.k_proj", keys, width, config.attention_bias);
    linear(layer + "self_attn.v_proj", keys, width, config.attention_bias);
    linear(layer + "self_attn.o_proj", width, queries, config.attention_bias);
    linear(layer + "mlp.gate_proj", mlp, width, config.mlp_bias);
    linear(layer + "mlp.up_proj", mlp, width, config.mlp_bias);
    linear(layer + "mlp.down_proj", width, mlp, config.mlp_bias);
    copy(layer + "input_layernorm.weight", {width});
    copy(layer + "post_attention_layernorm.weight", {width});
    builder.ignore(layer + "self_attn.rotary_emb.");  // a buffer that old versions saved
  }
  copy("norm.weight", {width});
  builder.ignore("lm_head.");  // predicts words; only states are asked of it
  builder.finish();
  return plan;
}

}  // namespace

models::nn::PublishedNetwork published_llama() {
  return {"llama", "LLaMA, a text encoder",
          [](const WeightSource& source) -> std::optional<std::string> {
            const auto prefix = source.prefix_of(kSignature);
            // Qwen's and others' names are the same, with biases.
            const bool llama = prefix && source.contains(*prefix + "layers.0.self_attn.q_proj.weight") &&
                               source.contains(*prefix + "layers.0.mlp.gate_proj.weight") && !source.contains(*prefix + "layers.0.self_attn.q_proj.bias");
            return llama ? prefix : std::nullopt;
          },
          plan_llama};
}

}  // namespace magicid::imports
