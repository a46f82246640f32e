#include "models/hunyuan_video/random_pipeline.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/version.h"
#include "models/hunyuan_video/backbone.h"
#include "models/hunyuan_video/initialize.h"
#include "models/nn/network_folder.h"
#include "models/text/clip_text.h"
#include "models/text/initialize.h"
#include "models/text/llama.h"
#include "models/text/write_tokenizer.h"
#include "storage/atomic_file.h"
#include "storage/safetensors.h"

namespace magicid::models::hunyuan_video {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Sizes {
  TransformerConfig transformer;
  AutoencoderConfig autoencoder;
  text::LlamaConfig llama;
  text::ClipTextConfig clip;
};

// Vocabulary sizes are filled in when the tokenisers are written.
Sizes sizes_named(const std::string& name) {
  Sizes s;
  if (name == "hunyuanvideo") {
    // The configurations' defaults are the published sizes, but for the language model's (Llama-3-8B with Tencent's vocabulary).
    s.llama.vocab_size = 128320;
    s.llama.intermediate_size = 14336;
    s.llama.num_key_value_heads = 8;
    s.llama.rms_norm_eps = 1e-5;
    s.llama.rope_theta = 500000;
    s.clip.hidden_act = text::Activation::quick_gelu;
    s.clip.hidden_size = 768;
    s.clip.intermediate_size = 3072;
    s.clip.num_hidden_layers = 12;
    s.clip.num_attention_heads = 12;
    s.clip.projection_dim = 768;
    return s;
  }
  auto& t = s.transformer;
  if (name == "tiny") {
    t.in_channels = t.out_channels = 8;
    t.num_attention_heads = 3;
    t.attention_head_dim = 32;
    t.num_layers = t.num_single_layers = 2;
    t.num_refiner_layers = 1;
    t.text_embed_dim = 64;
    t.pooled_projection_dim = 48;
    t.rope_axes_dim = {8, 12, 12};
    s.autoencoder.block_out_channels = {8, 16, 16, 16};
    s.autoencoder.layers_per_block = 1;
    s.autoencoder.norm_num_groups = 4;
  } else if (name == "mid") {
    t.in_channels = t.out_channels = 16;
    t.num_attention_heads = 8;
    t.attention_head_dim = 64;
    t.num_layers = 8;
    t.num_single_layers = 10;
    t.num_refiner_layers = 1;
    t.text_embed_dim = 256;
    t.pooled_projection_dim = 128;
    t.rope_axes_dim = {16, 24, 24};
    s.autoencoder.block_out_channels = {16, 32, 32, 32};
    s.autoencoder.layers_per_block = 1;
    s.autoencoder.norm_num_groups = 8;
  } else {
    throw base::UserError("a random pipeline of size '", name, "': tiny, mid or hunyuanvideo was expected");
  }
  s.autoencoder.latent_channels = t.in_channels;
  s.llama.hidden_size = t.text_embed_dim;
  s.llama.intermediate_size = 2 * t.text_embed_dim;
  s.llama.num_hidden_layers = 4;
  s.llama.num_attention_heads = 4;
  s.llama.num_key_value_heads = 2;
  s.llama.head_dim = t.text_embed_dim / 4;
  s.clip.hidden_size = t.pooled_projection_dim;
  s.clip.intermediate_size = 2 * t.pooled_projection_dim;
  s.clip.num_hidden_layers = 2;
  s.clip.num_attention_heads = 4;
  s.clip.projection_dim = 32;
  return s;
}

}  // namespace

void write_random_pipeline(const fs::path& out, const std::string& size, std::optional<std::uint64_t> seed) {
  Sizes s = sizes_named(size);
  // The published dtypes.
  const bool full = size == "hunyuanvideo";
  const nn::NetworkFile transformer{.stem = "diffusion_pytorch_model", .dtype = full ? at::kBFloat16 : at::kFloat};
  const nn::NetworkFile autoencoder{.stem = "diffusion_pytorch_model"}, text_file{.dtype = full ? at::kHalf : at::kFloat};
  storage::write_text_atomically(out / "scheduler" / "scheduler_config.json",
                                 json{{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"num_train_timesteps", 1000}, {"shift", 7.0}}.dump(2) + "\n");
  nn::write_network_folder(out / "transformer", s.transformer.to_json(), transformer, seed,
                           [&](const auto& values) { return initialize_transformer(s.transformer, values); });
  nn::write_network_folder(out / "vae", s.autoencoder.to_json(), autoencoder, seed,
                           [&](const auto& values) { return initialize_autoencoder(s.autoencoder, values); });
  const auto llama_words = text::write_byte_level_tokenizer(out / "tokenizer", text::common_prompt_words());
  if (!full) s.llama.vocab_size = llama_words;
  nn::write_network_folder(out / "text_encoder", s.llama.to_json(), text_file, seed,
                           [&](const auto& values) { return text::initialize_llama(s.llama, values); });
  const auto clip_words = text::write_clip_tokenizer(out / "tokenizer_2", text::common_prompt_words());
  if (!full) s.clip.vocab_size = clip_words;
  s.clip.eos_token_id = clip_words - 1;
  nn::write_network_folder(out / "text_encoder_2", s.clip.to_json(false), text_file, seed,
                           [&](const auto& values) { return text::initialize_clip_text(s.clip, false, values); });
  json about{{"weights", seed ? "random" : "zeros"}, {"made_by", "magicid " + base::code_version() + " init-model"}};
  if (seed) about["seed"] = *seed;
  storage::write_text_atomically(out / "magicid.json", about.dump(2) + "\n");
  write_model_index(out);
}

}  // namespace magicid::models::hunyuan_video
