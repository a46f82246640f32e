#include "models/qwen2_5_vl/language_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>

#include <algorithm>

namespace magicid::models::qwen2_5_vl {
namespace {

// Rows of the head that are made fp32 at once.
constexpr std::int64_t head_rows = 16384;

// Angles [S,K]: the pairs of a head in sections, each turning by another of the three positions.
at::Tensor multimodal_angles(const LanguageModelConfig& c, const at::Tensor& positions) {
  const at::Tensor exponents = at::arange(0, c.head_dim(), 2, at::TensorOptions(at::kFloat)) / static_cast<double>(c.head_dim());
  const at::Tensor frequencies = at::pow(c.rope_theta, exponents).reciprocal();              // [K/2]
  const at::Tensor angles = positions.to(at::kCPU, at::kFloat).unsqueeze(-1) * frequencies;  // [3,S,K/2]
  std::vector<at::Tensor> sections;
  std::int64_t from = 0, section = 0;
  for (const std::int64_t pairs : c.mrope_section) {
    sections.push_back(angles.select(0, section++ % 3).slice(1, from, from + pairs));
    from += pairs;
  }
  const at::Tensor pairs = at::cat(sections, 1);
  return at::cat({pairs, pairs}, 1);
}

}  // namespace

LanguageModel LanguageModel::load(const QwenVlConfig& config, const nn::Weights& weights, const nn::Weights& head) {
  const LanguageModelConfig& c = config.language;
  LanguageModel model;
  model.config_ = c;
  model.placement_ = weights.placement();
  model.embedding_ = weights.take("embed_tokens.weight", {c.vocab_size, c.hidden_size});
  const text::DecoderShape shape{.hidden_size = c.hidden_size,
                                 .intermediate_size = c.intermediate_size,
                                 .num_attention_heads = c.num_attention_heads,
                                 .num_key_value_heads = c.num_key_value_heads,
                                 .head_dim = c.head_dim(),
                                 .rms_norm_eps = c.rms_norm_eps,
                                 .qkv_bias = true,
                                 .hidden_act = c.hidden_act};
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
    model.layers_.push_back(text::DecoderLayer::load(weights.sub("layers." + std::to_string(i) + "."), shape));
  model.norm_ = weights.take("norm.weight", {c.hidden_size});
  if (config.tie_word_embeddings) {
    model.head_ = model.embedding_;
    head.ignore("lm_head.");  // some files hold the tied head a second time
  } else {
    model.head_ = head.take("lm_head.weight", {c.vocab_size, c.hidden_size});
  }
  return model;
}

at::Tensor LanguageModel::embed(const at::Tensor& input_ids) const { return at::embedding(embedding_, input_ids.to(placement_.device)); }

at::Tensor LanguageModel::states(const at::Tensor& embedded, const at::Tensor& positions) const {
  at::Tensor x = embedded.unsqueeze(0);
  const at::Tensor angles = multimodal_angles(config_, positions).to(placement_.device);
  const at::Tensor cos = at::cos(angles).to(x.scalar_type()), sin = at::sin(angles).to(x.scalar_type());
  for (const text::DecoderLayer& layer : layers_) x = layer(x, cos, sin);
  return text::rms_norm(x, norm_, config_.rms_norm_eps).squeeze(0);
}

at::Tensor LanguageModel::logits(const at::Tensor& states) const {
  const at::Tensor wide = states.to(at::kFloat);
  std::vector<at::Tensor> parts;
  for (std::int64_t from = 0; from < config_.vocab_size; from += head_rows)
    parts.push_back(at::linear(wide, head_.slice(0, from, std::min(config_.vocab_size, from + head_rows)).to(at::kFloat)));
  return at::cat(parts, 1);
}

}  // namespace magicid::models::qwen2_5_vl
