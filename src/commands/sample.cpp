// `magicid sample`: one video from a prompt.

#include <c10/core/GradMode.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "backbone/model_folder.h"
#include "base/errors.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/stop_signals.h"
#include "base/text.h"
#include "base/version.h"
#include "commands/command_line.h"
#include "commands/device_options.h"
#include "diffusion/initial_noise.h"
#include "generation/sample.h"
#include "media/video.h"
#include "storage/safetensors.h"

namespace magicid::commands {
namespace {

struct SampleArguments {
  std::string model, prompt, negative_prompt, template_file, initial_latents, latents_out, frames_out, output;
  std::int64_t height = 720, width = 1280, frames = 61, steps = 50, fps = 24, max_length = 256, seed = 0;
  double guidance = 6.0, true_cfg = 1.0;
  std::vector<std::string> adapters;
  std::vector<double> adapter_strengths, adapter_sigmas;
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

std::vector<std::int64_t> shape_of(const SampleArguments& a, const models::generator::Backbone& backbone) {
  try {
    return backbone.latent_shape({.height = a.height, .width = a.width, .frames = a.frames});
  } catch (const base::UserError& error) {
    throw base::UserError("a video of ", a.frames, " frames of ", a.height, " x ", a.width, " (height x width): ", error.what());
  }
}

// Of each --adapter, with its strength and its range of sigma. `loaded` must outlive the result.
std::vector<generation::AppliedAdapter> applied(const SampleArguments& a, const std::vector<models::generator::Adapter>& loaded) {
  std::vector<generation::AppliedAdapter> adapters;
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    generation::AppliedAdapter one{&loaded[i], {}};
    if (!a.adapter_sigmas.empty()) one.sigmas = {a.adapter_sigmas[2 * i], a.adapter_sigmas[2 * i + 1]};
    adapters.push_back(one);
  }
  return adapters;
}

void check_adapters(const SampleArguments& a) {
  const std::size_t count = a.adapters.size();
  if (!a.adapter_strengths.empty() && a.adapter_strengths.size() != count)
    throw base::UserError("--adapter-strength is given ", a.adapter_strengths.size(), " times and --adapter ", count,
                          " times; one for each, in the same order, or none");
  if (!a.adapter_sigmas.empty() && a.adapter_sigmas.size() != 2 * count)
    throw base::UserError("--adapter-sigmas is given ", a.adapter_sigmas.size() / 2, " times and --adapter ", count,
                          " times; one for each, in the same order, or none");
}

int sample(const SampleArguments& a) {
  const base::StopPoints here;
  check_adapters(a);
  const c10::AutoGradMode no_grad(false);
  const auto folder = backbone::ModelFolder::open(a.model);
  // All that can be wrong with the request is found before weights are loaded.
  const auto shape = shape_of(a, folder.backbone());
  const at::Tensor noise = starting_noise(a, shape);
  const auto scheduler = a.shift ? folder.scheduler().with_shift(*a.shift) : folder.scheduler();
  if (a.true_cfg <= 1 && !a.negative_prompt.empty()) base::log::warning("--negative-prompt has no effect without --true-cfg above 1");

  const auto placement = resolve(a.device);
  generation::SampleRequest request{.noise = noise, .prompt = {}};
  request.options = {.steps = static_cast<int>(a.steps), .guidance = a.guidance, .true_cfg = a.true_cfg};
  {
    // The language model leaves memory before the transformer enters it.
    const auto prompts = folder.backbone().load_prompts({.template_file = a.template_file, .max_length = a.max_length}, placement);
    const auto prompt = prompts->encode(a.prompt);
    if (prompt.warning) base::log::warning(*prompt.warning);
    request.prompt = prompt.condition;
    if (a.true_cfg > 1) request.negative = prompts->encode(a.negative_prompt).condition;
  }
  at::Tensor latents;
  {
    const auto transformer = folder.backbone().load_denoiser(placement);
    std::vector<models::generator::Adapter> adapters;
    for (std::size_t i = 0; i < a.adapters.size(); ++i) {
      adapters.push_back(folder.backbone().load_adapter(a.adapters[i], placement));
      if (!a.adapter_strengths.empty() && a.adapter_strengths[i] != 1.0) adapters.back().scale_by(a.adapter_strengths[i]);
    }
    request.adapters = applied(a, adapters);
    base::Progress progress("denoising", a.steps, true);
    latents = generation::sample_latents(*transformer, scheduler, request, [&](const diffusion::StepState&) {
      base::stop_if_asked("sample");
      progress.advance();
    });
  }
  const std::map<std::string, std::string> metadata{{"producer", "magicid " + base::code_version()}, {"prompt", a.prompt}};
  if (!a.latents_out.empty()) storage::write_safetensors(a.latents_out, {{"latents", latents.cpu()}}, metadata);
  const at::Tensor frames = generation::decode_frames(*folder.backbone().load_codec(placement), latents);
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
  command->add_option("--adapter", a->adapters, "LoRA file: ours, or any of diffusers' layout for this model; may be repeated")->allow_extra_args(false);
  command->add_option("--adapter-strength", a->adapter_strengths, "factor on the adapter; with several, one for each, in their order. Default: 1")
      ->check(CLI::NonNegativeNumber)
      ->allow_extra_args(false);
  command
      ->add_option(
          "--adapter-sigmas", a->adapter_sigmas,
          "ABOVE UP_TO: noise levels in which the adapter acts, 1 is pure noise and 0 the video; with several, two for each, in their order. Default: 0 1")
      ->type_size(2)
      ->allow_extra_args(false)
      ->check(CLI::Range(0.0, 1.0));
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
