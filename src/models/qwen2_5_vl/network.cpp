#include "models/qwen2_5_vl/network.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "models/qwen2_5_vl/rope_positions.h"
#include "models/text/input_ids.h"

namespace magicid::models::qwen2_5_vl {

QwenVl QwenVl::load(const std::filesystem::path& folder, const nn::Placement& placement) {
  return from_weights(QwenVlConfig::from_json(nn::NetworkConfig::open(folder / "config.json")), nn::Weights::open_folder(folder, placement));
}

QwenVl QwenVl::from_weights(const QwenVlConfig& config, const nn::Weights& weights) {
  const bool published = weights.contains("model.embed_tokens.weight") || weights.contains("visual.patch_embed.proj.weight");
  QwenVl network;
  network.config_ = config;
  network.placement_ = weights.placement();
  network.vision_ = VisionTower::load(config.vision, weights.sub(published ? "visual." : "model.visual."));
  network.language_ = LanguageModel::load(config, weights.sub(published ? "model." : "model.language_model."), weights);
  weights.finish();
  return network;
}

at::Tensor QwenVl::video_features(const at::Tensor& pixel_values_videos, const VideoGrid& grid) const { return vision_(pixel_values_videos, grid); }

at::Tensor QwenVl::logits(const VideoQuestion& question, std::int64_t last) const {
  const auto& ids = question.input_ids;
  const at::Tensor positions = rope_positions(ids, config_, question.grid, question.second_per_grid);
  const at::Tensor input_ids = at::tensor(ids, at::kLong);
  text::check_input_ids(input_ids.unsqueeze(0), config_.language.vocab_size, "Qwen2.5-VL");
  const at::Tensor embedded = language_.embed(input_ids), video = vision_(question.pixel_values_videos, question.grid);
  const std::int64_t before = std::find(ids.begin(), ids.end(), config_.video_token_id) - ids.begin();
  const at::Tensor joined = at::cat({embedded.slice(0, 0, before), video, embedded.slice(0, before + video.size(0))});
  const at::Tensor states = language_.states(joined, positions);
  return language_.logits(states.slice(0, states.size(0) - last)).cpu();
}

}  // namespace magicid::models::qwen2_5_vl
