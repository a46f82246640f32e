#include "rewards/random_networks.h"

#include <nlohmann/json.hpp>

#include "models/qwen2_5_vl/initialize.h"
#include "models/text/clip_text.h"
#include "models/text/initialize.h"
#include "models/text/write_tokenizer.h"
#include "models/vision/clip_vision.h"
#include "models/vision/initial_networks.h"
#include "storage/atomic_file.h"
#include "storage/safetensors.h"

namespace magicid::rewards {
namespace {

namespace fs = std::filesystem;
namespace text = models::text;
namespace vision = models::vision;
using nlohmann::json;

void write_network(const fs::path& folder, const json& config, const storage::NamedTensors& tensors) {
  storage::write_text_atomically(folder / "config.json", config.dump(2) + "\n");
  storage::write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
}

}  // namespace

void write_random_reward_networks(const fs::path& out, const std::string& size, std::uint64_t seed) {
  const auto write = [](const fs::path& folder, const vision::InitialNetwork& network) { write_network(folder, json::parse(network.config), network.tensors); };
  write(out / "arcface", vision::initial_face_embedder({.architecture = "mobilefacenet_112x112", .embedding_size = 64}, seed));
  write(out / "raft", vision::initial_raft("raft_small", seed));

  auto image = vision::tiny_clip_vision();
  auto network = vision::initial_clip_vision(image, seed);
  text::ClipTextConfig clip;
  clip.hidden_size = size == "tiny" ? 48 : 128;
  clip.intermediate_size = 2 * clip.hidden_size;
  clip.num_hidden_layers = 2;
  clip.num_attention_heads = 4;
  clip.vocab_size = text::write_clip_tokenizer(out / "clip", text::common_prompt_words());
  clip.eos_token_id = clip.vocab_size - 1;
  clip.projection_dim = image.projection_dim;
  json config = json::parse(network.config);
  config["text_config"] = clip.to_json(true);
  for (const auto& [name, tensor] : text::initialize_clip_text(clip, true, seed)) network.tensors[name] = tensor;
  write_network(out / "clip", config, network.tensors);
}

void write_random_vqa_network(const fs::path& out, std::uint64_t seed) { models::qwen2_5_vl::write_random_network(out / "vqa", seed); }

}  // namespace magicid::rewards
