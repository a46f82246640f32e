#include "models/hunyuan_video/adapter_files.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include "base/errors.h"
#include "models/hunyuan_video/adapter_names.h"
#include "models/hunyuan_video/transformer_layout.h"

namespace magicid::models::hunyuan_video {
namespace {

using nlohmann::json;

const std::string diffusers_prefix = "transformer.", comfyui_prefix = "diffusion_model.";

using RankAndAlpha = std::pair<std::int64_t, double>;

// What most of the modules have.
RankAndAlpha most_frequent(const std::map<std::string, RankAndAlpha>& modules) {
  std::map<RankAndAlpha, int> votes;
  for (const auto& [name, size] : modules) ++votes[size];
  RankAndAlpha common{0, 0};
  int most = 0;
  for (const auto& [size, count] : votes)
    if (count > most) common = size, most = count;
  return common;
}

// What diffusers' own writer puts beside the tensors: PEFT's configuration under the prefix of the component. Module names are full, because a
// short one ("proj_out") would also match modules outside the blocks.
json peft_metadata(const std::map<std::string, RankAndAlpha>& modules) {
  const RankAndAlpha common = most_frequent(modules);
  json metadata{{"transformer.peft_type", "LORA"}, {"transformer.r", common.first},   {"transformer.lora_alpha", common.second},
                {"transformer.bias", "none"},      {"transformer.lora_dropout", 0.0}, {"transformer.init_lora_weights", true}};
  json ranks = json::object(), alphas = json::object(), targets = json::array();
  for (const auto& [name, size] : modules) {
    targets.push_back(name);
    if (size.first != common.first) ranks[name] = size.first;
    if (size.second != common.second) alphas[name] = size.second;
  }
  metadata["transformer.target_modules"] = targets;
  metadata["transformer.rank_pattern"] = ranks;
  metadata["transformer.alpha_pattern"] = alphas;
  return metadata;
}

// The entries of the header that kohya's tools and ComfyUI's loaders show: kohya's ss_* and Stability's modelspec.* (kohya-ss/musubi-tuner,
// utils/sai_model_spec.py).
std::map<std::string, std::string> trainer_metadata(const generator::Adapter& adapter, const std::map<std::string, std::string>& provenance) {
  std::map<std::string, RankAndAlpha> modules;
  for (const auto& m : adapter.modules()) modules[m.name] = {m.rank, m.alpha};
  const RankAndAlpha common = most_frequent(modules);
  std::map<std::string, std::string> metadata{{"ss_network_module", "networks.lora"},
                                              {"ss_network_dim", std::to_string(common.first)},
                                              {"ss_network_alpha", base::concat(common.second)},
                                              {"ss_base_model_version", "hunyuan_video"},
                                              {"modelspec.sai_model_spec", "1.0.0"},
                                              {"modelspec.architecture", "hunyuan-video/lora"},
                                              {"modelspec.implementation", "https://github.com/Tencent/HunyuanVideo"}};
  const auto copy = [&](const char* from, std::initializer_list<const char*> to) {
    const auto found = provenance.find(from);
    if (found == provenance.end() || found->second.empty()) return;
    for (const char* name : to) metadata[name] = found->second;
  };
  copy("magicid_trigger", {"modelspec.trigger_phrase", "modelspec.title", "ss_output_name"});
  copy("magicid_licence", {"modelspec.license"});
  copy("magicid_optimize_steps", {"ss_steps"});
  return metadata;
}

// Factors for A and B whose product is `scale`: powers of two where the scale is one, which change no digit; else its root, which rounds.
std::pair<double, double> folded(double scale) {
  int exponent = 0;
  if (std::abs(std::frexp(scale, &exponent)) == 0.5) {
    const int half = (exponent - 1) / 2;
    const double a = std::ldexp(1.0, half);
    return {a, scale / a};
  }
  const double root = std::sqrt(std::abs(scale));
  return {root, scale < 0 ? -root : root};
}

}  // namespace

AdapterFormat adapter_format_from_name(const std::string& name) {
  if (name == "diffusers") return AdapterFormat::diffusers;
  if (name == "kohya") return AdapterFormat::kohya;
  if (name == "comfyui") return AdapterFormat::comfyui;
  throw base::UserError("adapter format '", name, "': diffusers, kohya or comfyui was expected");
}

void save_adapter(const generator::Adapter& adapter, const TransformerConfig& config, AdapterFormat format, const std::filesystem::path& path,
                  const std::map<std::string, std::string>& provenance) {
  std::map<std::string, BlockLinear> linears;
  for (auto& linear : block_linears(config)) linears.emplace(linear.name, linear);
  storage::NamedTensors tensors;
  std::map<std::string, std::string> metadata = provenance;
  metadata["format"] = "pt";
  std::map<std::string, RankAndAlpha> parts;  // diffusers' modules
  for (const auto& module : adapter.modules()) {
    const nn::LoraLayer& layer = *adapter.find(module.name);
    const at::Tensor a = layer.a.detach().cpu().to(at::kFloat), b = layer.b.detach().cpu().to(at::kFloat);
    if (format == AdapterFormat::kohya) {
      const std::string name = kohya_name(module.name);
      tensors[name + ".lora_down.weight"] = a;
      tensors[name + ".lora_up.weight"] = b;
      tensors[name + ".alpha"] = at::tensor(static_cast<float>(module.alpha));
    } else if (format == AdapterFormat::comfyui) {
      const auto [of_a, of_b] = folded(layer.scale);
      tensors[comfyui_prefix + module.name + ".lora_A.weight"] = of_a == 1 ? a : a * of_a;
      tensors[comfyui_prefix + module.name + ".lora_B.weight"] = of_b == 1 ? b : b * of_b;
    } else {
      std::int64_t row = 0;
      for (const RowPart& part : linears.at(module.name).parts) {
        tensors[diffusers_prefix + part.name + ".lora_A.weight"] = a;
        tensors[diffusers_prefix + part.name + ".lora_B.weight"] = b.narrow(0, row, part.rows);
        parts[part.name] = {module.rank, module.alpha};
        row += part.rows;
      }
    }
  }
  if (format == AdapterFormat::diffusers) metadata["lora_adapter_metadata"] = peft_metadata(parts).dump();
  else metadata.merge(trainer_metadata(adapter, provenance));
  storage::write_safetensors(path, tensors, metadata);
}

}  // namespace magicid::models::hunyuan_video
