#include "rewards/random_networks.h"

#include <nlohmann/json.hpp>

#include "models/nn/network_folder.h"
#include "models/qwen2_5_vl/initialize.h"
#include "models/text/clip_text.h"
#include "models/text/initialize.h"
#include "models/text/write_tokenizer.h"
#include "models/vision/clip_vision.h"
#include "models/vision/initial_networks.h"

namespace magicid::rewards {
namespace {

namespace fs = std::filesystem;
namespace nn = models::nn;
namespace text = models::text;
namespace vision = models::vision;
using nlohmann::json;

struct Sizes {
  vision::FaceEmbedderConfig face;
  std::string flow;
  vision::ClipVisionConfig image;
  text::ClipTextConfig text;
};

Sizes sizes_named(const std::string& name) {
  Sizes s{.face = {.architecture = "mobilefacenet_112x112", .embedding_size = 64}, .flow = "raft_small", .image = vision::tiny_clip_vision(), .text = {}};
  if (name == "hunyuanvideo") {
    // insightface's glintr100, torchvision's raft_large, openai/clip-vit-large-patch14.
    s.face = {.architecture = "iresnet100", .embedding_size = 512};
    s.flow = "raft_large";
    s.image = {.hidden_size = 1024, .intermediate_size = 4096, .layers = 24, .heads = 16, .image_size = 224, .patch_size = 14, .projection_dim = 768};
    s.text.hidden_size = 768;
    s.text.intermediate_size = 3072;
    s.text.num_hidden_layers = 12;
    s.text.num_attention_heads = 12;
  } else {
    s.text.hidden_size = name == "tiny" ? 48 : 128;
    s.text.intermediate_size = 2 * s.text.hidden_size;
    s.text.num_hidden_layers = 2;
    s.text.num_attention_heads = 4;
  }
  s.text.projection_dim = s.image.projection_dim;
  return s;
}

}  // namespace

void write_random_reward_networks(const fs::path& out, const std::string& size, std::optional<std::uint64_t> seed) {
  Sizes s = sizes_named(size);
  const auto write = [&](const fs::path& folder, const auto& initial) {
    const json config = json::parse(initial(nn::InitialValues::shapes_alone()).config);
    nn::write_network_folder(folder, config, {}, seed, [&](const nn::InitialValues& values) { return initial(values).tensors; });
  };
  write(out / "arcface", [&](const nn::InitialValues& values) { return vision::initial_face_embedder(s.face, values); });
  write(out / "raft", [&](const nn::InitialValues& values) { return vision::initial_raft(s.flow, values); });

  const auto words = text::write_clip_tokenizer(out / "clip", text::common_prompt_words());
  if (size != "hunyuanvideo") s.text.vocab_size = words;
  s.text.eos_token_id = words - 1;
  json config = json::parse(vision::initial_clip_vision(s.image, nn::InitialValues::shapes_alone()).config);
  config["text_config"] = s.text.to_json(true);
  nn::write_network_folder(out / "clip", config, {}, seed, [&](const nn::InitialValues& values) {
    auto tensors = vision::initial_clip_vision(s.image, values).tensors;
    tensors.merge(text::initialize_clip_text(s.text, true, values));
    return tensors;
  });
}

void write_random_vqa_network(const fs::path& out, std::uint64_t seed) { models::qwen2_5_vl::write_random_network(out / "vqa", seed); }

}  // namespace magicid::rewards
