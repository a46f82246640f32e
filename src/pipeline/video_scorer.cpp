#include "pipeline/video_scorer.h"

#include "generation/sample.h"
#include "media/video.h"
#include "models/text/subject.h"
#include "pipeline/networks.h"

namespace magicid::pipeline {

VideoScorer::VideoScorer(session::Session& session, const Run& run)
    : configuration_(run.config()),
      networks_(borrow_reward_networks(session, run)),
      vqa_(borrow_vqa(session, run)),
      codec_(session::borrow_codec(session, run.backbone())) {}

VideoScorer::Scored VideoScorer::operator()(const at::Tensor& latents, const std::string& prompt, const at::Tensor& references,
                                            const std::filesystem::path& file) {
  const auto fps = static_cast<double>(configuration_.video.fps);
  const auto& options = configuration_.rewards.scoring;
  const at::Tensor frames = generation::decode_frames(*codec_, latents);
  media::write_mp4(file, frames, {.fps = fps});
  Scored scored;
  scored.features = rewards::measure_video(frames, fps, networks_->models(), networks_->frame_detector(), options);
  scored.raw = rewards::raw_rewards(scored.features, references, networks_->text_feature(prompt), options);
  if (vqa_) scored.raw.semantics = (*vqa_)(frames, fps, models::text::without_trigger(prompt, configuration_.subject));
  return scored;
}

}  // namespace magicid::pipeline
