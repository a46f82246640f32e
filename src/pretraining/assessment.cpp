#include "pretraining/assessment.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>

#include "backbone/model_folder.h"
#include "diffusion/initial_noise.h"
#include "generation/sample.h"
#include "media/alignment.h"
#include "media/image.h"
#include "pretraining/caption_accuracy.h"
#include "pretraining/captions.h"
#include "pretraining/face_crops.h"
#include "rewards/reward_networks.h"
#include "rewards/semantics.h"
#include "storage/atomic_file.h"

namespace magicid::pretraining {
namespace {

using miniature::Scene;

constexpr std::int64_t pictured = 8;

// A folder's networks are asked as a run asks them.
rewards::RewardNetworks reward_networks(const Context& context) {
  rewards::RewardOptions run;
  run.scoring.face_detector.kind = "landmarks";
  return rewards::RewardNetworks::load(run, context.model, {context.placement.device, at::kFloat}, {.face = true, .flow = false, .clip = true});
}

// People in turn, none twice before all were there.
std::vector<Scene> unseen_scenes(const Context& context, std::int64_t count) {
  std::vector<Scene> scenes;
  for (std::int64_t i = 0; i < count; ++i)
    scenes.push_back(miniature::draw_scene(context.person(miniature::Split::test, i % context.world.test_people), context.seed, 3'000'000'000 + i));
  return scenes;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// The face of the middle frame, [3,112,112] in 0..1, by the world's landmarks: what a detector misses is not this figure's business.
at::Tensor middle_face(const at::Tensor& frames, const miniature::Clip& clip) {
  const std::int64_t f = frames.size(0) / 2;
  return media::align_face(frames[f], exact_face({.image = frames[f], .landmarks = clip.landmarks[f], .box = clip.boxes[f]}));
}

}  // namespace

std::map<std::string, double> assess(const Context& context, const AssessmentOptions& options, const std::filesystem::path& samples) {
  const models::nn::Placement placement{context.placement.device, at::kFloat};
  auto rewards = reward_networks(context);
  const auto folder = backbone::ModelFolder::open(context.model);
  const auto codec = folder.backbone().load_codec(placement);
  const auto transformer = folder.backbone().load_denoiser(placement);
  const auto prompts = folder.backbone().load_prompts({.template_file = {}, .max_length = prompt_tokens}, placement);
  const auto shape = folder.backbone().latent_shape({context.world.height, context.world.width, context.world.frames});
  const auto encode = [&](const std::string& caption) { return prompts->encode(caption).condition; };
  const auto empty = encode("");
  const TextFeatures texts = [&](const std::vector<std::string>& captions) {
    std::vector<at::Tensor> rows;
    for (const auto& caption : captions) rows.push_back(rewards.text_feature(caption));
    return at::stack(rows);
  };
  const std::int64_t side = rewards::Options().semantic_grid;

  const auto scenes = unseen_scenes(context, options.clips);
  constexpr std::array<const char*, 3> kinds{"real", "reconstructed", "sampled"};
  std::array<std::vector<at::Tensor>, 3> features;
  std::array<double, 3> found{}, looked{};
  std::vector<at::Tensor> photos, faces, rows;
  for (std::size_t i = 0; i < scenes.size(); ++i) {
    const auto clip = miniature::render(scenes[i], context.clip_size(), /*with_flow=*/false);
    const at::Tensor noise = diffusion::initial_noise(context.seed, "assessment", shape, i);
    const at::Tensor latents = generation::sample_latents(*transformer, folder.scheduler(),
                                                          {.noise = noise,
                                                           .prompt = encode(miniature::caption(scenes[i])),
                                                           .negative = empty,
                                                           .options = {.steps = static_cast<int>(options.steps), .guidance = 1, .true_cfg = options.true_cfg}});
    const std::array<at::Tensor, 3> frames{clip.frames, generation::decode_frames(*codec, generation::encode_frames(*codec, clip.frames)),
                                           generation::decode_frames(*codec, latents)};
    for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
      features[kind].push_back(rewards::image_features(rewards::tile_frames(frames[kind], side).unsqueeze(0), 0, rewards.models().image)[0]);
      for (std::int64_t f = 0; f < frames[kind].size(0); f += 4) found[kind] += !rewards.detector().detect(frames[kind][f]).empty(), looked[kind] += 1;
    }
    if (static_cast<std::int64_t>(i) < std::min(context.world.test_people, options.clips)) {
      const auto other = miniature::draw_scene(scenes[i].person, context.seed, 4'000'000'000 + static_cast<std::int64_t>(i));
      photos.push_back((exact_crop(other, context.world, 0.5) + 1) / 2);
      faces.push_back(middle_face(frames[1], clip));
    }
    if (static_cast<std::int64_t>(i) < pictured)
      for (const auto& shown : frames) {
        std::vector<at::Tensor> row;
        for (std::int64_t f = 0; f < shown.size(0); f += 2) row.push_back(shown[f]);
        rows.push_back(at::cat(row, 2));
      }
  }
  media::write_png(samples, at::cat(rows, 1));

  std::map<std::string, double> figures;
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    const std::string name = kinds[kind];
    const at::Tensor pictures = at::stack(features[kind]);
    figures[name + "_action_accuracy"] = tell_apart(CaptionPart::action, scenes, pictures, texts).accuracy;
    figures[name + "_speed_accuracy"] = tell_apart(CaptionPart::speed, scenes, pictures, texts).accuracy;
    figures[name + "_background_accuracy"] = tell_apart(CaptionPart::background, scenes, pictures, texts).accuracy;
    figures[name + "_face_found"] = found[kind] / looked[kind];
  }
  const at::Tensor cosines = at::matmul(rewards::normalise_rows(rewards.models().face(at::stack(photos)).cpu()),
                                        rewards::normalise_rows(rewards.models().face(at::stack(faces)).cpu()).t());
  std::vector<double> same, different;
  for (std::int64_t i = 0; i < cosines.size(0); ++i)
    for (std::int64_t j = 0; j < cosines.size(1); ++j) (i == j ? same : different).push_back(cosines[i][j].item<double>());
  figures["reconstructed_face_same"] = mean(same);
  if (!different.empty()) {
    auto threshold = different.begin() + static_cast<std::ptrdiff_t>(different.size() / 100);
    std::nth_element(different.begin(), threshold, different.end(), std::greater<>());
    figures["reconstructed_face_different"] = mean(different);
    figures["reconstructed_face_true_accept_rate"] =
        static_cast<double>(std::count_if(same.begin(), same.end(), [&](double x) { return x > *threshold; })) / static_cast<double>(same.size());
  }
  return figures;
}

}  // namespace magicid::pretraining
