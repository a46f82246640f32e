#include "commands/pretrain/model_card.h"

#include <array>
#include <cstdio>
#include <map>

namespace magicid::commands::pretrain {
namespace {

using nlohmann::json;

struct Known {
  const char *network, *folder, *what;
};
constexpr std::array<Known, 7> networks{{
    {"autoencoder", "vae", "HunyuanVideo's causal autoencoder"},
    {"transformer", "transformer", "HunyuanVideo's transformer"},
    {"text_encoder", "text_encoder", "LLaMA"},
    {"clip", "text_encoder_2, rewards/clip", "CLIP"},
    {"face_embedder", "rewards/arcface", "MobileFaceNet with ArcFace's loss"},
    {"landmark_detector", "rewards/landmarks", "face box and five landmarks"},
    {"optical_flow", "rewards/raft", "RAFT small"},
}};

const std::map<std::string, std::string>& meanings() {
  static const std::map<std::string, std::string> all{
      {"psnr", "PSNR of clips of unseen people through the autoencoder, dB"},
      {"face_psnr", "the same inside the face's box, dB"},
      {"seams", "error between latents' cells over error within them; 1: no seams"},
      {"latent_deviation", "standard deviation of unscaled latents"},
      {"flow_error", "mean squared error of the velocity, at evenly spread noise"},
      {"same", "cosine of two photos of the same unseen person"},
      {"different", "cosine of photos of two unseen people"},
      {"threshold", "cosine that one pair of different people in a hundred passes"},
      {"true_accept_rate", "share of pairs of the same person above it"},
      {"found", "share of faces found"},
      {"end_point_error", "mean length of the flow's error, pixels"},
      {"text_retrieval", "share of clips whose own caption is the nearest of 64"},
      {"image_retrieval", "share of captions whose own clip is the nearest of 64"},
      {"real_action_accuracy", "rendered clips: CLIP tells the action out of 8"},
      {"real_speed_accuracy", "rendered clips: CLIP tells the speed out of 3"},
      {"real_background_accuracy", "rendered clips: CLIP tells the place out of 6"},
      {"real_face_found", "rendered clips: frames in which a face is found"},
      {"reconstructed_action_accuracy", "clips through the autoencoder: the same for actions"},
      {"reconstructed_speed_accuracy", "clips through the autoencoder: the same for speeds"},
      {"reconstructed_background_accuracy", "clips through the autoencoder: the same for places"},
      {"reconstructed_face_found", "clips through the autoencoder: frames in which a face is found"},
      {"sampled_action_accuracy", "clips of the transformer from the same captions: the same for actions"},
      {"sampled_speed_accuracy", "clips of the transformer from the same captions: the same for speeds"},
      {"sampled_background_accuracy", "clips of the transformer from the same captions: the same for places"},
      {"sampled_face_found", "clips of the transformer: frames in which a face is found"},
      {"reconstructed_face_same", "cosine of a face through the autoencoder with a photo of the same person"},
      {"reconstructed_face_different", "with photos of other people"},
      {"reconstructed_face_true_accept_rate", "share of the same person above the threshold that 1% of other people pass"},
  };
  return all;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

std::string figures(const json& values) {
  std::string rows;
  for (const auto& [name, value] : values.items()) {
    const auto known = meanings().find(name);
    rows += "| " + (known == meanings().end() ? "`" + name + "`" : known->second) + " | " + number(value.get<double>()) + " |\n";
  }
  return rows;
}

}  // namespace

std::string model_card(const json& record) {
  std::string card = "---\nlibrary_name: diffusers\npipeline_tag: text-to-video\ntags: [hunyuanvideo, synthetic, cartoon]\n---\n\n# Networks of the small world\n\n";
  card += "A text-to-video pipeline of HunyuanVideo's classes, and reward networks beside it, trained on a rendered world of cartoon people (`magicid world`). There is no photo of a "
          "real person in its training data. It draws cartoon people alone, a few centimetres of screen wide; it serves to look at magicid without GPUs, and for tests and experiments.\n\n";
  const json* first = nullptr;
  double hours = 0;
  for (const auto& n : networks)
    if (record.contains(n.network)) {
      if (!first) first = &record.at(n.network);
      hours += record.at(n.network).at("hours").get<double>();
    }
  if (!first) return card;
  const json& world = first->at("world");
  card += "Clips have " + world.at("frames").dump() + " frames of " + world.at("height").dump() + "x" + world.at("width").dump() + " pixels at " + number(world.at("fps").get<double>()) +
          " frames a second. Made with `launch/mpirun -n 2 magicid pretrain configs/miniature.yaml`, seed " + first->at("seed").dump() + ", " + number(hours) +
          " hours of training in all; `pretraining.json` has every option. Weights are float16. The embedded guidance "
          "was not distilled: guide with `true_cfg_scale` (`generate.true_cfg`), at `guidance_scale` 1.\n\n";
  card += "| folder | class | steps | hours |\n|---|---|---|---|\n";
  for (const auto& n : networks)
    if (record.contains(n.network))
      card += std::string("| `") + n.folder + "` | " + n.what + " | " + record.at(n.network).at("steps").dump() + " | " + number(record.at(n.network).at("hours").get<double>()) + " |\n";
  for (const auto& n : networks)
    if (record.contains(n.network) && record.at(n.network).contains("origin")) card += std::string("\n`") + n.folder + "`: " + record.at(n.network).at("origin").get<std::string>() + ". Its steps and hours are those since.\n";
  card += "\n## Figures\n\nAll on people, scenes and captions that training did not see.\n";
  for (const auto& n : networks)
    if (record.contains(n.network)) card += std::string("\n### ") + n.folder + "\n\n| figure | value |\n|---|---|\n" + figures(record.at(n.network).at("validation"));
  if (record.contains("assessment")) {
    const json& a = record.at("assessment");
    card += "\n### Together\n\n" + a.at("options").at("clips").dump() + " scenes; sampled in " + a.at("options").at("steps").dump() + " steps at true guidance " + number(a.at("options").at("true_cfg").get<double>()) +
            ".\n\n| figure | value |\n|---|---|\n" + figures(a.at("validation")) + "\n![Rows of three: rendered, through the autoencoder, sampled from the same caption](samples.png)\n\nRows of three: rendered, through the "
            "autoencoder, sampled from the same caption.\n";
  }
  return card;
}

}  // namespace magicid::commands::pretrain
