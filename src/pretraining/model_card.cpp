#include "pretraining/model_card.h"

#include <algorithm>
#include <cstdio>
#include <vector>

namespace magicid::pretraining {
namespace {

using nlohmann::json;

// What a number of the record says, and its unit where it has one. Rows follow each other as they stand here: a meaning may refer to the row before.
struct CardFigure {
  std::string name, meaning, unit = {};
};

struct CardNetwork {
  std::string network, folder, what;
  std::vector<CardFigure> figures;
};

const std::vector<CardNetwork>& networks() {
  static const std::vector<CardNetwork> all{
      {"autoencoder",
       "vae",
       "HunyuanVideo's causal autoencoder",
       {{"psnr", "PSNR of clips of unseen people through the autoencoder", "dB"},
        {"face_psnr", "the same inside the face's box", "dB"},
        {"seams", "error between latents' cells over error within them; 1: no seams"},
        {"latent_deviation", "standard deviation of unscaled latents"}}},
      {"transformer",
       "transformer",
       "HunyuanVideo's transformer",
       {{"flow_error", "mean squared error of the velocity, at evenly spread noise; latents have unit variance"}}},
      {"text_encoder",
       "text_encoder",
       "LLaMA",
       {{"loss", "cross entropy of a caption's next token", "nats"},
        {"accuracy", "share of next tokens that are named"},
        {"action", "share of captions whose action (of 8) a linear probe of the states' mean names"},
        {"speed", "the same for the speed (of 3)"},
        {"background", "the same for the place (of 6)"},
        {"camera", "the same for the camera's movement (of 5)"}}},
      {"clip",
       "text_encoder_2, rewards/clip",
       "CLIP",
       {{"text_retrieval", "share of clips whose own caption is the nearest of 64"},
        {"image_retrieval", "share of captions whose own clip is the nearest of 64"},
        {"own_cosine", "mean cosine of a clip and its own caption"},
        {"action_accuracy", "share of clips whose action (of 8) is the nearest"},
        {"action_margin", "mean cosine of the own action above that of the others"},
        {"speed_accuracy", "share of clips whose speed (of 3) is the nearest"},
        {"speed_margin", "mean cosine of the own speed above that of the others"},
        {"camera_accuracy", "share of clips whose camera movement (of 5) is the nearest"},
        {"camera_margin", "mean cosine of the own camera movement above that of the others"},
        {"background_accuracy", "share of clips whose place (of 6) is the nearest"},
        {"background_margin", "mean cosine of the own place above that of the others"},
        {"frame_background_accuracy", "share of single frames whose place (of 6) is the nearest"},
        {"frame_background_margin", "mean cosine of their own place above that of the others"}}},
      {"face_embedder",
       "rewards/arcface",
       "MobileFaceNet with ArcFace's loss",
       {{"same", "mean cosine of two photos of the same unseen person"},
        {"different", "mean cosine of photos of two unseen people"},
        {"threshold", "cosine that one pair of different people in a hundred passes"},
        {"true_accept_rate", "share of pairs of the same person above it"}}},
      {"landmark_detector",
       "rewards/landmarks",
       "face box and five landmarks",
       {{"found", "share of photos in which the face is found"},
        {"error", "mean distance of its landmarks from the true ones", "pixels of a side of 48"},
        {"box_overlap", "mean intersection over union of its box and the true one"},
        {"found_in_clips", "share of clips' frames in which the face is found"},
        {"error_in_clips", "mean distance of its landmarks there", "pixels of a side of 48"},
        {"found_degraded", "share of softened, noisy or compressed photos in which the face is found"},
        {"error_degraded", "mean distance of its landmarks there", "pixels of a side of 48"},
        {"false_alarms", "share of pictures without a face in which one is found"}}},
      {"optical_flow",
       "rewards/raft",
       "RAFT small",
       {{"error", "mean length of the flow's error", "pixels"},
        {"matched_error", "the same for block matching, without learning", "pixels"},
        {"zero_error", "the same for a flow of zeros: the mean length of the true flow", "pixels"},
        {"moving_error", "mean length of the error where the picture moves by 0.25 pixels or more", "pixels"},
        {"matched_moving_error", "the same for block matching", "pixels"},
        {"zero_moving_error", "the same for a flow of zeros", "pixels"},
        {"length", "mean length of the flow over that of the true one; near 0: collapsed"},
        {"dynamics_correlation", "correlation over clips of the dynamics reward with that of the true flow"},
        {"matched_dynamics_correlation", "the same for block matching"}}},
  };
  return all;
}

const std::vector<CardFigure>& together() {
  static const std::vector<CardFigure> all = [] {
    std::vector<CardFigure> figures;
    const std::vector<std::pair<std::string, std::string>> kinds{
        {"real", "rendered clips"}, {"reconstructed", "clips through the autoencoder"}, {"sampled", "clips of the transformer from the same captions"}};
    const auto add = [&](const std::string& name, const std::string& meaning) {
      for (const auto& [kind, shown] : kinds) figures.push_back({kind + "_" + name, shown + ": " + meaning});
    };
    add("action_accuracy", "share whose action (of 8) CLIP tells");
    add("speed_accuracy", "share whose speed (of 3) CLIP tells");
    add("background_accuracy", "share whose place (of 6) CLIP tells");
    add("face_found", "share of frames in which a face is found");
    figures.push_back({"reconstructed_face_same", "mean cosine of a face through the autoencoder with a photo of the same person"});
    figures.push_back({"reconstructed_face_different", "mean cosine of a face through the autoencoder with photos of other people"});
    figures.push_back({"reconstructed_face_true_accept_rate",
                       "share of faces through the autoencoder above the cosine that one pair of different people in a hundred passes"});
    return figures;
  }();
  return all;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

std::string table(const std::vector<CardFigure>& known, const json& values) {
  std::string rows = "| figure | value | unit |\n|---|---|---|\n";
  const auto row = [&](const std::string& meaning, const json& value, const std::string& unit) {
    rows += "| " + meaning + " | " + number(value.get<double>()) + " | " + unit + " |\n";
  };
  for (const auto& figure : known)
    if (values.contains(figure.name)) row(figure.meaning, values.at(figure.name), figure.unit);
  for (const auto& [name, value] : values.items())
    if (std::none_of(known.begin(), known.end(), [&n = name](const CardFigure& figure) { return figure.name == n; })) row("`" + name + "`", value, "");
  return rows;
}

// Who ran what, as far as the record says it.
std::string commands(const json& record, const std::vector<const CardNetwork*>& made) {
  std::vector<std::string> lines;
  std::string unknown;
  std::size_t without = 0;
  for (const auto* n : made) {
    const json starts = record.at(n->network).value("starts", json::array());
    bool known = !starts.empty();
    for (const auto& start : starts) {
      if (!start.contains("command")) {
        known = false;
        continue;
      }
      const int ranks = start.at("ranks").get<int>();
      const std::string line = "`" + start.at("command").get<std::string>() + "` on " + std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks");
      if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(line);
    }
    if (known) continue;
    ++without;
    unknown += (unknown.empty() ? "`" : ", `") + n->folder + "`";
  }
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "Made with " : "; ") + line;
  if (!text.empty()) text += ".";
  if (without == 0) return text;
  if (without == made.size() && lines.empty()) return "The record does not hold the commands that made them, nor on how many ranks they ran.";
  return text + (text.empty() ? "" : " ") + "Of " + unknown + " the record does not hold every command and its ranks.";
}

}  // namespace

std::string model_card(const json& record) {
  std::string card =
      "---\nlibrary_name: diffusers\npipeline_tag: text-to-video\ntags: [hunyuanvideo, synthetic, cartoon]\n---\n\n# Networks of the small world\n\n";
  card +=
      "A text-to-video pipeline of HunyuanVideo's classes, and reward networks beside it, trained on a rendered world of cartoon people (`magicid world`). "
      "There is no photo of a "
      "real person in its training data. It draws cartoon people alone, a few centimetres of screen wide; it serves to look at magicid without GPUs, and for "
      "tests and experiments.\n\n";
  std::vector<const CardNetwork*> made;
  double hours = 0;
  for (const auto& n : networks())
    if (record.contains(n.network)) {
      made.push_back(&n);
      hours += record.at(n.network).at("hours").get<double>();
    }
  if (made.empty()) return card;
  const json &first = record.at(made[0]->network), &world = first.at("world");
  card += "Clips have " + world.at("frames").dump() + " frames of " + world.at("height").dump() + "x" + world.at("width").dump() + " pixels at " +
          number(world.at("fps").get<double>()) + " frames a second. Seed " + first.at("seed").dump() + ", " + number(hours) +
          " hours of training in all; `pretraining.json` has every option. Weights are float16. The embedded guidance "
          "was not distilled: guide with `true_cfg_scale` (`generate.true_cfg`), at `guidance_scale` 1.\n\n" +
          commands(record, made) + "\n\n";
  card += "| folder | class | steps | hours |\n|---|---|---|---|\n";
  for (const auto* n : made)
    card += "| `" + n->folder + "` | " + n->what + " | " + record.at(n->network).at("steps").dump() + " | " +
            number(record.at(n->network).at("hours").get<double>()) + " |\n";
  for (const auto* n : made) {
    const json& entry = record.at(n->network);
    if (entry.contains("origin")) card += "\n`" + n->folder + "`: " + entry.at("origin").get<std::string>() + ". Its steps and hours are those since.\n";
    if (entry.contains("history")) card += "\n`" + n->folder + "`: " + entry.at("history").get<std::string>() + "\n";
  }
  card += "\n## Figures\n\nAll on people, scenes and captions that training did not see. Figures without a unit are shares, cosines or ratios.\n";
  for (const auto* n : made) card += "\n### " + n->folder + "\n\n" + table(n->figures, record.at(n->network).at("validation"));
  if (record.contains("assessment")) {
    const json& a = record.at("assessment");
    card += "\n### Together\n\n" + a.at("options").at("clips").dump() + " scenes; sampled in " + a.at("options").at("steps").dump() +
            " steps at true guidance " + number(a.at("options").at("true_cfg").get<double>()) + ".\n\n" + table(together(), a.at("validation")) +
            "\n![Rows of three: rendered, through the autoencoder, sampled from the same caption](samples.png)\n\nRows of three: rendered, through the "
            "autoencoder, sampled from the same caption.\n";
  }
  return card;
}

}  // namespace magicid::pretraining
