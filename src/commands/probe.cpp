// `magicid probe`: one network on tensors of a file. The tool with which converted weights are checked against diffusers, transformers and
// torchvision; tensor names are those of the references' forward arguments and outputs.

#include <ATen/ops/full.h>
#include <c10/core/GradMode.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "base/errors.h"
#include "base/log.h"
#include "base/version.h"
#include "commands/command_line.h"
#include "commands/device_options.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/transformer.h"
#include "models/text/clip_text.h"
#include "models/vision/clip_vision.h"
#include "models/vision/face_embedder.h"
#include "models/vision/raft.h"
#include "storage/safetensors.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;
namespace hv = models::hunyuan_video;
using storage::NamedTensors;

struct ProbeArguments {
  std::string model, inputs, outputs;
  DeviceChoice device;
  hv::AutoencoderOptions autoencoder;
  bool no_framewise = false;
  int updates = 12;
};

// `--model` is a pipeline folder or the network's own.
fs::path network_folder(const std::string& model, const char* part) {
  const fs::path folder = model;
  return fs::exists(folder / "model_index.json") ? folder / part : folder;
}

NamedTensors probe_transformer(const ProbeArguments& a, const storage::SafetensorsFile& in, const models::nn::Placement& placement) {
  const auto transformer = hv::Transformer::load(network_folder(a.model, "transformer"), placement);
  const auto input = [&](const char* name) { return in.at(name).to(placement.device); };
  hv::TransformerInputs x;
  x.hidden_states = input("hidden_states");
  x.timestep = input("timestep");
  x.encoder_hidden_states = input("encoder_hidden_states");
  if (in.contains("encoder_attention_mask")) x.encoder_attention_mask = input("encoder_attention_mask");
  x.pooled_projections = input("pooled_projections");
  if (transformer.config().guidance_embeds) x.guidance = input("guidance");
  return {{"sample", transformer.forward(x)}};
}

NamedTensors probe_vae_encode(const ProbeArguments& a, const storage::SafetensorsFile& in, const models::nn::Placement& placement) {
  const auto latents = hv::Autoencoder::load(network_folder(a.model, "vae"), placement).encode(in.at("sample"), a.autoencoder);
  return {{"mean", latents.mean}, {"logvar", latents.logvar}};
}

NamedTensors probe_vae_decode(const ProbeArguments& a, const storage::SafetensorsFile& in, const models::nn::Placement& placement) {
  return {{"sample", hv::Autoencoder::load(network_folder(a.model, "vae"), placement).decode(in.at("latents"), a.autoencoder)}};
}

NamedTensors probe_clip_text(const ProbeArguments& a, const storage::SafetensorsFile& in, const models::nn::Placement& placement) {
  const auto out = models::text::ClipTextEncoder::load(network_folder(a.model, "text_encoder_2"), placement)(in.at("input_ids"));
  NamedTensors tensors{{"pooler_output", out.pooler_output}, {"last_hidden_state", out.last_hidden_state}};
  if (out.text_embeds.defined()) tensors["text_embeds"] = out.text_embeds;
  return tensors;
}

NamedTensors probe_clip_image(const ProbeArguments& a, const storage::SafetensorsFile& in, const models::nn::Placement& placement) {
  return {{"image_embeds", models::vision::ClipVision::load(a.model, placement)(in.at("pixel_values"))}};
}

NamedTensors probe_arcface(const ProbeArguments& a, const storage::SafetensorsFile& in, const models::nn::Placement& placement) {
  return {{"embedding", models::vision::FaceEmbedder::load(a.model, placement)(in.at("input"))}};
}

NamedTensors probe_raft(const ProbeArguments& a, const storage::SafetensorsFile& in, const models::nn::Placement& placement) {
  return {{"flow", models::vision::Raft::load(a.model, placement.device).flow(in.at("image1"), in.at("image2"), a.updates)}};
}

using Probe = NamedTensors (*)(const ProbeArguments&, const storage::SafetensorsFile&, const models::nn::Placement&);

void add_network(CLI::App& probe, Work& work, const char* name, const char* help, Probe run) {
  auto* command = probe.add_subcommand(name, help);
  auto a = std::make_shared<ProbeArguments>();
  command->add_option("--model", a->model, "folder of the network, or of a pipeline that holds it")->required();
  command->add_option("--inputs", a->inputs, "safetensors file with the inputs")->required();
  command->add_option("--outputs", a->outputs, "safetensors file to write")->required();
  add_device_options(*command, a->device);
  if (std::string(name).starts_with("vae")) {
    auto& o = a->autoencoder;
    command->add_flag("--no-framewise", a->no_framewise, "no temporal tiles (diffusers: use_framewise_encoding/decoding = False)");
    command->add_flag("--tiling", o.use_tiling, "spatial tiles (diffusers: enable_tiling)");
    command->add_option("--tile-height", o.tile_sample_min_height, "pixels")->capture_default_str();
    command->add_option("--tile-width", o.tile_sample_min_width, "pixels")->capture_default_str();
    command->add_option("--tile-frames", o.tile_sample_min_num_frames, "frames")->capture_default_str();
    command->add_option("--tile-stride-height", o.tile_sample_stride_height, "pixels")->capture_default_str();
    command->add_option("--tile-stride-width", o.tile_sample_stride_width, "pixels")->capture_default_str();
    command->add_option("--tile-stride-frames", o.tile_sample_stride_num_frames, "frames")->capture_default_str();
  }
  if (std::string(name) == "raft")
    command->add_option("--updates", a->updates, "iterations of the recurrent unit")->check(CLI::PositiveNumber)->capture_default_str();
  command->callback([a, run, &work] {
    work = [a, run] {
      const c10::AutoGradMode no_grad(false);
      a->autoencoder.use_framewise_encoding = a->autoencoder.use_framewise_decoding = !a->no_framewise;
      const auto placement = resolve(a->device);
      storage::write_safetensors(a->outputs, run(*a, storage::SafetensorsFile::open(a->inputs), placement), {{"producer", "magicid " + base::code_version()}});
      base::log::info("wrote " + a->outputs);
      return 0;
    };
  });
}

}  // namespace

void add_probe(CLI::App& app, Work& work) {
  auto* probe = app.add_subcommand("probe", "Run one network on tensors of a safetensors file, to compare with diffusers, transformers or torchvision");
  probe->require_subcommand(1);
  add_network(*probe, work, "transformer",
              "hidden_states, timestep, encoder_hidden_states, encoder_attention_mask, pooled_projections, guidance (times 1000) -> sample", probe_transformer);
  add_network(*probe, work, "vae-encode", "sample -> mean, logvar (clamped)", probe_vae_encode);
  add_network(*probe, work, "vae-decode", "latents -> sample", probe_vae_decode);
  add_network(*probe, work, "clip-text", "input_ids -> pooler_output, last_hidden_state, text_embeds where there is a projection", probe_clip_text);
  add_network(*probe, work, "clip-image", "pixel_values -> image_embeds, not normalised", probe_clip_image);
  add_network(*probe, work, "arcface", "input [N,3,112,112] -> embedding, not normalised", probe_arcface);
  add_network(*probe, work, "raft", "image1, image2 in [-1,1] -> flow of the last update", probe_raft);
  add_probe_prompt(*probe, work);
  add_probe_hpo(*probe, work);
  add_probe_vqa(*probe, work);
}

}  // namespace magicid::commands
