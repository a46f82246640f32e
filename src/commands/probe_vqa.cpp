// `magicid probe vqa`: a video and a text through Qwen2.5-VL and its processor, to the first token of the answer.

#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/errors.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "commands/command_line.h"
#include "commands/device_options.h"
#include "models/qwen2_5_vl/chat_prompt.h"
#include "models/qwen2_5_vl/network.h"
#include "models/qwen2_5_vl/video_processor.h"
#include "rewards/vqa.h"
#include "storage/safetensors.h"

namespace magicid::commands {
namespace {

namespace qwen = models::qwen2_5_vl;

struct VqaArguments {
  std::string model, inputs, outputs, text, question;
  double fps = 0;
  DeviceChoice device;
};

at::Tensor read_frames(const std::string& file) {
  const auto in = storage::SafetensorsFile::open(file);
  const at::Tensor frames = in.at("frames");
  if (frames.dim() != 4 || frames.size(1) != 3 || frames.numel() == 0)
    throw base::UserError(file, ": frames has the shape ", frames.sizes(), "; [F,3,H,W] was expected, colours from 0 to 1 (or 8-bit levels)");
  return frames.scalar_type() == at::kByte ? frames.to(at::kFloat).div(255) : frames.to(at::kFloat);
}

storage::NamedTensors probe_vqa(const VqaArguments& a) {
  const c10::AutoGradMode no_grad(false);
  const at::Tensor frames = read_frames(a.inputs);
  const std::string written = base::decode_text(a.text, "--text");
  const std::string text = a.question.empty() ? written : rewards::ask({.question = base::decode_text(a.question, "--question")}, written);
  if (const auto warning = qwen::check_chat_template(a.model)) base::log::warning(*warning);
  const auto network = qwen::QwenVl::load(a.model, resolve(a.device));
  const auto& vision = network.config().vision;
  const auto tokenizer = models::text::Tokenizer::load(a.model);
  const auto video = qwen::VideoProcessor::load(a.model, vision)(frames);
  const auto ids = qwen::chat_ids(tokenizer, network.config(), text, video.grid.patches() / (vision.spatial_merge_size * vision.spatial_merge_size));
  const double second_per_grid = static_cast<double>(vision.temporal_patch_size) / a.fps;
  const at::Tensor logits =
      network.logits({.input_ids = ids, .pixel_values_videos = video.pixel_values_videos, .grid = video.grid, .second_per_grid = second_per_grid})[0];
  return {{"input_ids", at::tensor(ids, at::kLong).unsqueeze(0)},
          {"pixel_values_videos", video.pixel_values_videos},
          {"video_grid_thw", at::tensor({video.grid.t, video.grid.h, video.grid.w}, at::kLong).unsqueeze(0)},
          {"second_per_grid_ts", at::tensor({second_per_grid}, at::kFloat)},
          {"logits", logits.contiguous()},
          {"yes", at::tensor({rewards::token_probability(logits, rewards::yes_token(tokenizer))}, at::kFloat)}};
}

}  // namespace

void add_probe_vqa(CLI::App& probe, Work& work) {
  auto* command =
      probe.add_subcommand("vqa",
                           "frames [F,3,H,W] in 0..1 and a text -> input_ids, pixel_values_videos, video_grid_thw, second_per_grid_ts, logits of the "
                           "answer's first token, yes (its probability of Yes)");
  auto a = std::make_shared<VqaArguments>();
  command->add_option("--model", a->model, "folder of Qwen2.5-VL")->required();
  command->add_option("--inputs", a->inputs, "safetensors file with frames, all of which are shown")->required();
  command->add_option("--fps", a->fps, "frames a second")->required()->check(CLI::PositiveNumber);
  command->add_option("--text", a->text, "what the user says behind the video, as it is")->required();
  command->add_option("--question", a->question, "a question with {}, into which --text goes as the prompt, as rewards.vqa_question has it; default: none");
  command->add_option("--outputs", a->outputs, "safetensors file to write")->required();
  add_device_options(*command, a->device);
  command->callback([a, &work] {
    work = [a] {
      storage::write_safetensors(a->outputs, probe_vqa(*a), {{"producer", "magicid " + base::code_version()}});
      base::log::info("wrote " + a->outputs);
      return 0;
    };
  });
}

}  // namespace magicid::commands
