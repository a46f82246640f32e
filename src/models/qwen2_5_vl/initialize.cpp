#include "models/qwen2_5_vl/initialize.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "base/random.h"
#include "models/text/initialize.h"
#include "models/text/tokenizer.h"
#include "models/text/write_tokenizer.h"
#include "storage/atomic_file.h"

namespace magicid::models::qwen2_5_vl {
namespace {

class TowerInitializer {
 public:
  TowerInitializer(storage::NamedTensors& tensors, std::uint64_t seed) : tensors_(tensors), seed_(seed) {}

  void matrix(const std::string& name, const std::vector<std::int64_t>& shape) {
    at::Tensor tensor = at::empty(shape, at::TensorOptions(at::kFloat));
    base::CounterRandom(seed_, "initialize " + name).normal(std::span<float>(tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())), 0);
    tensors_[name] = tensor.mul_(std::sqrt(static_cast<double>(shape[0]) / static_cast<double>(tensor.numel())));
  }
  void linear(const std::string& name, std::int64_t out, std::int64_t in) {
    matrix(name + ".weight", {out, in});
    tensors_[name + ".bias"] = at::zeros({out}, at::TensorOptions(at::kFloat));
  }
  void norm(const std::string& name, std::int64_t size) { tensors_[name + ".weight"] = at::ones({size}, at::TensorOptions(at::kFloat)); }

 private:
  storage::NamedTensors& tensors_;
  std::uint64_t seed_;
};

void initialize_tower(const VisionTowerConfig& c, TowerInitializer& init) {
  const std::string tower = "model.visual.";
  const std::int64_t d = c.hidden_size, merged = d * c.spatial_merge_size * c.spatial_merge_size;
  init.matrix(tower + "patch_embed.proj.weight", {d, c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size});
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const std::string block = tower + "blocks." + std::to_string(i) + ".";
    init.norm(block + "norm1", d);
    init.norm(block + "norm2", d);
    init.linear(block + "attn.qkv", 3 * d, d);
    init.linear(block + "attn.proj", d, d);
    init.linear(block + "mlp.gate_proj", c.intermediate_size, d);
    init.linear(block + "mlp.up_proj", c.intermediate_size, d);
    init.linear(block + "mlp.down_proj", d, c.intermediate_size);
  }
  init.norm(tower + "merger.ln_q", d);
  init.linear(tower + "merger.mlp.0", merged, merged);
  init.linear(tower + "merger.mlp.2", c.out_hidden_size, merged);
}

}  // namespace

storage::NamedTensors initialize(const QwenVlConfig& config, std::uint64_t seed) {
  const LanguageModelConfig& c = config.language;
  text::LlamaConfig llama;
  llama.vocab_size = c.vocab_size;
  llama.hidden_size = c.hidden_size;
  llama.intermediate_size = c.intermediate_size;
  llama.num_hidden_layers = c.num_hidden_layers;
  llama.num_attention_heads = c.num_attention_heads;
  llama.num_key_value_heads = c.num_key_value_heads;
  llama.head_dim = c.head_dim();
  llama.attention_bias = true;
  storage::NamedTensors tensors;
  for (const auto& [name, tensor] : text::initialize_llama(llama, seed))
    if (!name.ends_with("o_proj.bias")) tensors["model.language_model." + name] = tensor;  // Qwen2 has biases on queries, keys and values alone
  TowerInitializer init(tensors, seed);
  initialize_tower(config.vision, init);
  if (!config.tie_word_embeddings) init.matrix("lm_head.weight", {c.vocab_size, c.hidden_size});
  return tensors;
}

void write_random_network(const std::filesystem::path& folder, std::uint64_t seed) {
  std::vector<std::string> words = {"Yes",    "No", "yes", "no",   "Does", "this",   "show", "Please",
                                    "answer", "or", "How", "well", "Rate", "system", "user", "assistant"};
  words.insert(words.end(), text::common_prompt_words().begin(), text::common_prompt_words().end());
  QwenVlConfig c;
  c.language = {.vocab_size = text::write_qwen_tokenizer(folder, words),
                .hidden_size = 64,
                .intermediate_size = 128,
                .num_hidden_layers = 2,
                .num_attention_heads = 4,
                .num_key_value_heads = 2,
                .rms_norm_eps = 1e-6,
                .mrope_section = {2, 3, 3}};
  c.vision.depth = 2;
  c.vision.hidden_size = 32;
  c.vision.intermediate_size = 64;
  c.vision.num_heads = 2;
  c.vision.window_size = 56;
  c.vision.out_hidden_size = c.language.hidden_size;
  c.vision.tokens_per_second = 2;
  c.vision.fullatt_block_indexes = {1};
  const auto tokenizer = text::Tokenizer::load(folder);
  c.image_token_id = *tokenizer.id("<|image_pad|>");
  c.video_token_id = *tokenizer.id("<|video_pad|>");
  c.vision_start_token_id = *tokenizer.id("<|vision_start|>");
  c.vision_end_token_id = *tokenizer.id("<|vision_end|>");
  storage::write_text_atomically(folder / "preprocessor_config.json", nlohmann::json{{"min_pixels", 4 * 28 * 28},
                                                                                     {"max_pixels", 64 * 28 * 28},
                                                                                     {"patch_size", c.vision.patch_size},
                                                                                     {"temporal_patch_size", c.vision.temporal_patch_size},
                                                                                     {"merge_size", c.vision.spatial_merge_size},
                                                                                     {"image_mean", {0.48145466, 0.4578275, 0.40821073}},
                                                                                     {"image_std", {0.26862954, 0.26130258, 0.27577711}},
                                                                                     {"image_processor_type", "Qwen2VLImageProcessor"},
                                                                                     {"processor_class", "Qwen2_5_VLProcessor"}}
                                                                              .dump(2) +
                                                                          "\n");
  text::write_text_model(folder, c.to_json(), initialize(c, seed));
}

}  // namespace magicid::models::qwen2_5_vl
