// `magicid sample`: one video from a prompt.

#include <c10/core/GradMode.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "base/errors.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/stop_signals.h"
#include "base/text.h"
#include "commands/command_line.h"
#include "commands/devices.h"
#include "diffusion/initial_noise.h"
#include "generation/pipeline.h"
#include "generation/sample.h"
#include "media/video.h"
#include "models/hunyuan_video/adapter_files.h"
#include "storage/safetensors.h"

namespace magicid::commands {
namespace {

struct SampleArguments {
  std::string model, prompt, negative_prompt, adapter, template_file, initial_latents, latents_out, frames_out, output;
  std::int64_t height = 720, width = 1280, frames = 61, steps = 50, fps = 24, max_length = 256, seed = 0;
  double guidance = 6.0, true_cfg = 1.0, adapter_strength = 1.0;
  std::optional<double> shift;
  DeviceChoice device;
};

at::Tensor starting_noise(const SampleArguments& a, const std::vector<std::int64_t>& shape) {
  if (a.initial_latents.empty()) return diffusion::initial_noise(static_cast<std::uint64_t>(a.seed), "sample-noise", shape);
  const at::Tensor noise = storage::SafetensorsFile::open(a.initial_latents).at("latents").to(at::kFloat).clone();
  if (noise.sizes() != c10::IntArrayRef(shape))
    throw base::UserError(a.initial_latents, ": 'latents' is ", base::concat(noise.sizes()), ", ", base::concat(c10::IntArrayRef(shape)), " is needed for ",
                          a.frames, " frames of ", a.height, " x ", a.width);
  return noise;
}

int sample(const SampleArguments& a) {
  const base::StopPoints here;
  const c10::AutoGradMode no_grad(false);
  const auto folder = generation::PipelineFolder::open(a.model);
  // All that can be wrong with the request is found before weights are loaded.
  const auto shape = generation::latent_shape({a.height, a.width, a.frames}, folder.transformer_config(), folder.autoencoder_config());
  const at::Tensor noise = starting_noise(a, shape);
  const auto scheduler = a.shift ? folder.scheduler().with_shift(*a.shift) : folder.scheduler();
  const auto prompt_template = a.template_file.empty() ? models::text::PromptTemplate::hunyuan_video() : models::text::PromptTemplate::load(a.template_file);
  if (a.true_cfg <= 1 && !a.negative_prompt.empty()) base::log::warning("--negative-prompt has no effect without --true-cfg above 1");

  const auto placement = resolve(a.device);
  generation::PromptEmbeddings prompt;
  std::optional<generation::PromptEmbeddings> negative;
  {
    // The language model leaves memory before the transformer enters it.
    const auto encoder = folder.load_prompt_encoder(placement);
    prompt = encoder(a.prompt, prompt_template, a.max_length);
    if (const auto warning = models::text::over_length_warning(prompt.tokens)) base::log::warning(*warning);
    if (a.true_cfg > 1) negative = encoder(a.negative_prompt, prompt_template, a.max_length);
  }
  at::Tensor latents;
  {
    const auto transformer = folder.load_transformer(placement);
    std::optional<models::generator::Adapter> adapter;
    if (!a.adapter.empty()) adapter = models::hunyuan_video::load_adapter(transformer.config(), a.adapter, placement);
    if (adapter && a.adapter_strength != 1.0) adapter->scale_by(a.adapter_strength);
    base::Progress progress("denoising", a.steps, true);
    latents =
        generation::sample_latents(transformer, adapter ? &*adapter : nullptr, scheduler, noise, prompt, negative,
                                   {.steps = static_cast<int>(a.steps), .guidance = a.guidance, .true_cfg = a.true_cfg}, [&](const diffusion::StepState&) {
                                     base::stop_if_asked("sample");
                                     progress.advance();
                                   });
  }
  const std::map<std::string, std::string> metadata{{"producer", "magicid " + code_version()}, {"prompt", a.prompt}};
  if (!a.latents_out.empty()) storage::write_safetensors(a.latents_out, {{"latents", latents.cpu()}}, metadata);
  const at::Tensor frames = generation::decode_frames(folder.load_autoencoder(placement), latents);
  if (!a.frames_out.empty()) storage::write_safetensors(a.frames_out, {{"frames", frames.unsqueeze(0)}}, metadata);
  media::write_mp4(a.output, frames, {.fps = static_cast<double>(a.fps)});
  base::log::info("wrote " + a.output);
  return 0;
}

}  // namespace

void add_sample(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("sample", "Make one video from a prompt, with or without an adapter");
  auto a = std::make_shared<SampleArguments>();
  command->add_option("--model", a->model, "pipeline folder as diffusers' save_pretrained writes it")->required();
  command->add_option("--prompt", a->prompt, "what the video shows")->required();
  command->add_option("--adapter", a->adapter, "LoRA file: ours, or any of diffusers' layout for this model");
  command->add_option("--adapter-strength", a->adapter_strength, "factor on the adapter")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_option("--template-file", a->template_file, "JSON {\"template\": \"...{}...\", \"crop_start\": N}; default: HunyuanVideo's own");
  command->add_option("--max-length", a->max_length, "prompt tokens kept")->check(CLI::PositiveNumber)->capture_default_str();
  command->add_option("--height", a->height, "pixels, a multiple of 16")->capture_default_str();
  command->add_option("--width", a->width, "pixels, a multiple of 16")->capture_default_str();
  command->add_option("--frames", a->frames, "4k+1 frames")->capture_default_str();
  command->add_option("--steps", a->steps, "denoising steps")->check(CLI::PositiveNumber)->capture_default_str();
  command->add_option("--guidance", a->guidance, "embedded guidance scale")->capture_default_str();
  command->add_option("--shift", a->shift, "shift of the schedule; default: the scheduler's own");
  command->add_option("--true-cfg", a->true_cfg, "true guidance away from the negative prompt; above 1 costs a second forward a step")->capture_default_str();
  command->add_option("--negative-prompt", a->negative_prompt, "what true guidance leads away from; empty: the empty text");
  auto* seed = command->add_option("--seed", a->seed, "of the initial noise")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_option("--initial-latents", a->initial_latents, "safetensors file with the tensor 'latents' [1,C,T,H,W] to start from")->excludes(seed);
  command->add_option("--latents-out", a->latents_out, "write 'latents' [1,C,T,H,W], as diffusers' output_type=\"latent\"");
  command->add_option("--frames-out", a->frames_out, "write 'frames' [1,F,3,H,W] in 0..1, as diffusers' output_type=\"pt\"");
  command->add_option("--fps", a->fps, "frames a second of the file")->check(CLI::PositiveNumber)->capture_default_str();
  command->add_option("--output", a->output, "mp4 file")->required();
  add_device_options(*command, a->device);
  command->callback([a, &work] {
    work = [a] {
      a->prompt = base::decode_written_text(a->prompt, "--prompt");
      a->negative_prompt = base::decode_written_text(a->negative_prompt, "--negative-prompt");
      return sample(*a);
    };
  });
}

}  // namespace magicid::commands
