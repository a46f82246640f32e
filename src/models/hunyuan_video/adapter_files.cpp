#include "models/hunyuan_video/adapter_files.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include "base/errors.h"
#include "models/hunyuan_video/adapter_names.h"
#include "models/hunyuan_video/transformer_layout.h"

namespace magicid::models::hunyuan_video {
namespace {

using nlohmann::json;

const std::string diffusers_prefix = "transformer.", comfyui_prefix = "diffusion_model.";

// What diffusers' own writer puts beside the tensors: PEFT's configuration under the prefix of the component. Module names are full, because a
// short one ("proj_out") would also match modules outside the blocks.
json peft_metadata(const std::map<std::string, std::pair<std::int64_t, double>>& modules) {
  std::map<std::pair<std::int64_t, double>, int> votes;
  for (const auto& [name, size] : modules) ++votes[size];
  std::pair<std::int64_t, double> common{0, 0};
  int most = 0;
  for (const auto& [size, count] : votes)
    if (count > most) common = size, most = count;
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
  std::map<std::string, std::pair<std::int64_t, double>> parts;  // diffusers' modules: rank, alpha
  for (const auto& module : adapter.modules()) {
    const nn::LoraLayer& layer = *adapter.find(module.name);
    const at::Tensor a = layer.a.detach().cpu().to(at::kFloat), b = layer.b.detach().cpu().to(at::kFloat);
    const double alpha = module.alpha;
    if (format == AdapterFormat::kohya) {
      const std::string name = kohya_name(module.name);
      tensors[name + ".lora_down.weight"] = a;
      tensors[name + ".lora_up.weight"] = b;
      tensors[name + ".alpha"] = at::tensor(static_cast<float>(alpha));
    } else if (format == AdapterFormat::comfyui) {
      const double folded = std::sqrt(std::abs(layer.scale)), sign = layer.scale < 0 ? -1 : 1;
      tensors[comfyui_prefix + module.name + ".lora_A.weight"] = layer.scale == 1 ? a : a * folded;
      tensors[comfyui_prefix + module.name + ".lora_B.weight"] = layer.scale == 1 ? b : b * (sign * folded);
    } else {
      std::int64_t row = 0;
      for (const RowPart& part : linears.at(module.name).parts) {
        tensors[diffusers_prefix + part.name + ".lora_A.weight"] = a;
        tensors[diffusers_prefix + part.name + ".lora_B.weight"] = b.narrow(0, row, part.rows);
        parts[part.name] = {module.rank, alpha};
        row += part.rows;
      }
    }
  }
  if (format == AdapterFormat::diffusers) metadata["lora_adapter_metadata"] = peft_metadata(parts).dump();
  storage::write_safetensors(path, tensors, metadata);
}

}  // namespace magicid::models::hunyuan_video
