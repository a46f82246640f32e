#include "commands/video_scorer.h"

#include "generation/sample.h"
#include "media/video.h"

namespace magicid::commands {

VideoScorer::VideoScorer(RunContext& context)
    : configuration_(context.config()),
      networks_(rewards::RewardNetworks::load(context.config().rewards, context.config().model.folder, context.placement(), {})),
      autoencoder_(context.pipeline().load_autoencoder(context.placement())) {}

VideoScorer::Scored VideoScorer::operator()(const at::Tensor& latents, const std::string& prompt, const at::Tensor& references,
                                            const std::filesystem::path& file) {
  const auto fps = static_cast<double>(configuration_.video.fps);
  const auto& options = configuration_.rewards.scoring;
  const at::Tensor frames = generation::decode_frames(autoencoder_, latents);
  media::write_mp4(file, frames, {.fps = fps});
  Scored scored;
  scored.features = rewards::measure_video(frames, fps, networks_.models(), networks_.frame_detector(), options);
  scored.raw = rewards::raw_rewards(scored.features, references, networks_.text_feature(prompt), options);
  return scored;
}

}  // namespace magicid::commands
