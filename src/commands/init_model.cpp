// `magicid init-model`: a small pipeline folder with random weights, and the reward networks, for tests and first steps.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/log.h"
#include "commands/command_line.h"
#include "generation/pipeline.h"
#include "models/hunyuan_video/initialize.h"
#include "models/text/clip_text.h"
#include "models/text/initialize.h"
#include "models/text/llama.h"
#include "models/text/write_tokenizer.h"
#include "models/vision/clip_vision.h"
#include "models/vision/initial_networks.h"
#include "storage/atomic_file.h"
#include "storage/safetensors.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;
namespace hv = models::hunyuan_video;
namespace text = models::text;
using nlohmann::json;

struct Sizes {
  hv::TransformerConfig transformer;
  hv::AutoencoderConfig autoencoder;
  text::LlamaConfig llama;
  text::ClipTextConfig clip;
};

// Vocabulary sizes are filled in when the tokenisers are written.
Sizes sizes_named(const std::string& name) {
  Sizes s;
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
  } else {  // mid: about 100M parameters in the transformer, for benchmarks
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

void write_network(const fs::path& folder, const json& config, const storage::NamedTensors& tensors, const char* file) {
  storage::write_text_atomically(folder / "config.json", config.dump(2) + "\n");
  storage::write_safetensors(folder / file, tensors, {{"format", "pt"}});
}

void write_pipeline(const fs::path& out, Sizes s, std::uint64_t seed) {
  storage::write_text_atomically(out / "scheduler" / "scheduler_config.json",
                                 json{{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"num_train_timesteps", 1000}, {"shift", 7.0}}.dump(2) + "\n");
  write_network(out / "transformer", s.transformer.to_json(), hv::initialize_transformer(s.transformer, seed), "diffusion_pytorch_model.safetensors");
  write_network(out / "vae", s.autoencoder.to_json(), hv::initialize_autoencoder(s.autoencoder, seed), "diffusion_pytorch_model.safetensors");
  s.llama.vocab_size = text::write_byte_level_tokenizer(out / "tokenizer", text::common_prompt_words());
  text::write_text_model(out / "text_encoder", s.llama.to_json(), text::initialize_llama(s.llama, seed));
  s.clip.vocab_size = text::write_clip_tokenizer(out / "tokenizer_2", text::common_prompt_words());
  s.clip.eos_token_id = s.clip.vocab_size - 1;
  text::write_text_model(out / "text_encoder_2", s.clip.to_json(false), text::initialize_clip_text(s.clip, false, seed));
  storage::write_text_atomically(out / "magicid.json",
                                 json{{"weights", "random"}, {"seed", seed}, {"made_by", "magicid " + code_version() + " init-model"}}.dump(2) + "\n");
  generation::write_model_index(out);
}

void write_rewards(const fs::path& out, text::ClipTextConfig clip, std::uint64_t seed) {
  const auto write = [](const fs::path& folder, const models::vision::InitialNetwork& network) {
    write_network(folder, json::parse(network.config), network.tensors, "model.safetensors");
  };
  write(out / "arcface", models::vision::initial_face_embedder({.architecture = "mobilefacenet_112x112", .embedding_size = 64}, seed));
  write(out / "raft", models::vision::initial_raft("raft_small", seed));

  auto vision = models::vision::tiny_clip_vision();
  auto network = models::vision::initial_clip_vision(vision, seed);
  clip.vocab_size = text::write_clip_tokenizer(out / "clip", text::common_prompt_words());
  clip.eos_token_id = clip.vocab_size - 1;
  clip.projection_dim = vision.projection_dim;
  json config = json::parse(network.config);
  config["text_config"] = clip.to_json(true);
  for (const auto& [name, tensor] : text::initialize_clip_text(clip, true, seed)) network.tensors[name] = tensor;
  write_network(out / "clip", config, network.tensors, "model.safetensors");
}

int init_model(const fs::path& out, const std::string& size, std::uint64_t seed) {
  if (fs::exists(out / "model_index.json")) throw base::UserError(out.string(), ": already holds a pipeline; choose another folder or remove it first");
  const Sizes sizes = sizes_named(size);
  write_rewards(out / "rewards", sizes.clip, seed);
  write_pipeline(out, sizes, seed);
  base::log::info("wrote " + out.string() + " (" + size + ", random weights: it has the right shapes and knows nothing) and its reward networks in " +
                  (out / "rewards").string());
  return 0;
}

}  // namespace

bool has_random_weights(const std::filesystem::path& folder) {
  const fs::path about = folder / "magicid.json";
  if (!fs::exists(about)) return false;
  const json parsed = json::parse(storage::read_text(about), nullptr, /*allow_exceptions=*/false);
  return parsed.is_object() && parsed.value("weights", "") == "random";
}

void add_init_model(CLI::App& app, Work& work) {
  struct Arguments {
    std::string out, size = "tiny";
    std::int64_t seed = 0;
  };
  auto* command =
      app.add_subcommand("init-model", "Write a small pipeline folder with random weights, and reward networks below rewards/, for tests and first steps");
  auto a = std::make_shared<Arguments>();
  command->add_option("out", a->out, "folder to write")->required();
  command->add_option("--size", a->size, "tiny (0.6M parameters in the transformer), or mid (about 100M, for benchmarks)")
      ->check(CLI::IsMember({"tiny", "mid"}))
      ->capture_default_str();
  command->add_option("--seed", a->seed, "of the weights")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->callback([a, &work] { work = [a] { return init_model(a->out, a->size, static_cast<std::uint64_t>(a->seed)); }; });
}

}  // namespace magicid::commands
