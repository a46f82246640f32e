#include "pipeline/workload.h"

#include <algorithm>
#include <filesystem>

#include "media/image.h"

namespace magicid::pipeline {
namespace {

namespace fs = std::filesystem;

// Pictures in the folder of the person, each of which becomes a still; 4 where the folder is not here. A folder without pictures is refused as in the run.
std::int64_t stills_of(const std::string& folder) { return fs::is_directory(folder) ? static_cast<std::int64_t>(media::list_images(folder).size()) : 4; }

}  // namespace

planning::Workload workload_of(const Configuration& c) {
  planning::Workload w;
  w.video = {.height = c.video.height, .width = c.video.width, .frames = c.video.frames};
  w.text_tokens = c.model.max_length;
  w.adapter = {.lora_rank = c.adapter.lora_rank, .targets = c.adapter.targets};
  w.prompts = static_cast<std::int64_t>(read_prompt_templates(c.prompts).size());
  w.stills = stills_of(c.subject.references);
  w.reconstruct_steps = c.reconstruct.training.steps;
  w.reconstruct_batch = c.reconstruct.training.global_batch;
  using Prior = planning::Workload::Prior;
  const auto& prior = c.reconstruct.prior_preservation;
  w.prior = prior.weight <= 0 ? Prior::none : prior.kind == "image" ? Prior::image : Prior::video;
  const auto& sampling = c.generate.sampling;
  w.initial_videos = w.prompts * c.generate.initial_per_prompt;
  w.tuned_videos = w.prompts * c.generate.tuned_per_prompt;
  w.sampling_steps = sampling.steps;
  w.forwards_per_step = sampling.guided() ? 2 : 1;
  w.pairs_seen = c.optimize.pairs_seen;
  w.optimize_batch = c.optimize.training.global_batch;
  w.noise_draws = c.optimize.hpo.noise_draws;
  w.identity_pairs = c.select.pairs == "dynamic" ? 0 : c.select.identity_pairs.count;
  w.dynamic_pairs = c.select.pairs == "identity" ? 0 : c.select.dynamic_pairs.count;
  w.share_dynamic = c.optimize.hpo.share_dynamic;
  w.seed = static_cast<std::uint64_t>(c.seed);
  const auto& previews = c.optimize.previews;
  w.preview_every = previews.every;
  if (previews.every > 0)
    w.preview_videos = std::min<std::int64_t>(previews.count,
                                              previews.prompts.empty() ? w.prompts : static_cast<std::int64_t>(read_prompt_templates(previews.prompts).size()));
  const std::string& held_out = c.evaluate.prompts;
  const std::int64_t evaluated = held_out.empty() ? w.prompts : static_cast<std::int64_t>(read_prompt_templates(held_out).size());
  w.evaluation_videos = evaluated * c.evaluate.videos_per_prompt * static_cast<std::int64_t>(c.evaluate.arms.size() + c.evaluate.runs.size());
  const auto& scoring = c.rewards.scoring;
  w.fps = c.video.fps;
  w.flow_rate = scoring.flow_rate;
  w.flow_updates = scoring.flow_updates;
  w.face_frames = scoring.face_frames;
  w.semantic_frames = scoring.semantic_frames;
  w.reward_batch = scoring.batch;
  return w;
}

}  // namespace magicid::pipeline
