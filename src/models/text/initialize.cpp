#include "models/text/initialize.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "base/random.h"
#include "storage/atomic_file.h"

namespace magicid::models::text {
namespace {

class Initializer {
 public:
  explicit Initializer(const nn::InitialValues& values) : values_(values) {}

  void normal(const std::string& name, std::int64_t rows, std::int64_t columns, double deviation) {
    if (!values_.wants(name)) return;
    at::Tensor tensor = at::empty({rows, columns}, options());
    if (values_.seed) {
      base::CounterRandom(*values_.seed, "initialize " + name).normal(std::span<float>(tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())), 0);
      tensor.mul_(deviation);
    }
    tensors_[name] = tensor;
  }
  void constant(const std::string& name, std::int64_t size, double value) {
    if (values_.wants(name)) tensors_[name] = at::full({size}, value, options());
  }
  void linear(const std::string& name, std::int64_t out, std::int64_t in, bool bias) {
    normal(name + ".weight", out, in, 1.0 / std::sqrt(static_cast<double>(in)));
    if (bias) constant(name + ".bias", out, 0);
  }
  void norm(const std::string& name, std::int64_t size, bool bias) {
    constant(name + ".weight", size, 1);
    if (bias) constant(name + ".bias", size, 0);
  }
  storage::NamedTensors take() { return std::move(tensors_); }

 private:
  at::TensorOptions options() const { return at::TensorOptions(at::kFloat).device(values_.seed ? c10::kCPU : c10::kMeta); }

  const nn::InitialValues& values_;
  storage::NamedTensors tensors_;
};

}  // namespace

storage::NamedTensors initialize_llama(const LlamaConfig& c, const nn::InitialValues& values) {
  Initializer init(values);
  const std::int64_t attention = c.num_attention_heads * c.head_dim, shared = c.num_key_value_heads * c.head_dim;
  init.normal("embed_tokens.weight", c.vocab_size, c.hidden_size, 1.0);
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    init.linear(layer + "self_attn.q_proj", attention, c.hidden_size, c.attention_bias);
    init.linear(layer + "self_attn.k_proj", shared, c.hidden_size, c.attention_bias);
    init.linear(layer + "self_attn.v_proj", shared, c.hidden_size, c.attention_bias);
    init.linear(layer + "self_attn.o_proj", c.hidden_size, attention, c.attention_bias);
    init.linear(layer + "mlp.gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    init.linear(layer + "mlp.up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    init.linear(layer + "mlp.down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
    init.norm(layer + "input_layernorm", c.hidden_size, false);
    init.norm(layer + "post_attention_layernorm", c.hidden_size, false);
  }
  init.norm("norm", c.hidden_size, false);
  return init.take();
}

storage::NamedTensors initialize_clip_text(const ClipTextConfig& c, bool with_projection, const nn::InitialValues& values) {
  Initializer init(values);
  init.normal("text_model.embeddings.token_embedding.weight", c.vocab_size, c.hidden_size, 1.0);
  init.normal("text_model.embeddings.position_embedding.weight", c.max_position_embeddings, c.hidden_size, 0.1);
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = "text_model.encoder.layers." + std::to_string(i) + ".";
    for (const char* projection : {"q_proj", "k_proj", "v_proj", "out_proj"})
      init.linear(layer + "self_attn." + projection, c.hidden_size, c.hidden_size, true);
    init.linear(layer + "mlp.fc1", c.intermediate_size, c.hidden_size, true);
    init.linear(layer + "mlp.fc2", c.hidden_size, c.intermediate_size, true);
    init.norm(layer + "layer_norm1", c.hidden_size, true);
    init.norm(layer + "layer_norm2", c.hidden_size, true);
  }
  init.norm("text_model.final_layer_norm", c.hidden_size, true);
  if (with_projection) init.linear("text_projection", c.projection_dim, c.hidden_size, false);
  return init.take();
}

void write_text_model(const std::filesystem::path& folder, const nlohmann::json& config, const storage::NamedTensors& tensors) {
  std::filesystem::create_directories(folder);
  storage::write_text_atomically(folder / "config.json", config.dump(2) + "\n");
  storage::write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});  // transformers asks for the entry
}

}  // namespace magicid::models::text
