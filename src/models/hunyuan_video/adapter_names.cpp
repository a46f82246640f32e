#include "models/hunyuan_video/adapter_names.h"

#include <algorithm>
#include <utility>

namespace magicid::models::hunyuan_video {

std::string kohya_name(const std::string& module) {
  std::string flat = "lora_unet_" + module;
  std::replace(flat.begin(), flat.end(), '.', '_');
  return flat;
}

std::optional<AdapterKey> parse_adapter_key(const std::string& key, std::string& reason) {
  static const std::pair<const char*, Factor> ends[] = {
      {".lora_A.weight", Factor::a},  {".lora_B.weight", Factor::b},         {".lora_down.weight", Factor::a},
      {".lora_up.weight", Factor::b}, {".lora.down.weight", Factor::a},      {".lora.up.weight", Factor::b},
      {".alpha", Factor::alpha},      {".lora_A.default.weight", Factor::a}, {".lora_B.default.weight", Factor::b},
  };
  static const char* const prefixes[] = {"base_model.model.", "transformer.", "diffusion_model.", "model.diffusion_model."};
  const auto has = [&](const char* text) { return key.find(text) != std::string::npos; };
  if (has("dora_scale") || has("lora_magnitude_vector")) {
    reason = "DoRA (a magnitude beside the factors) is not supported; expected plain LoRA";
    return std::nullopt;
  }
  if (has("hada_") || has("lokr_")) {
    reason = "LoHa and LoKr are not supported; expected plain LoRA";
    return std::nullopt;
  }
  if (key.ends_with(".bias")) {
    reason = "biases of an adapter are not supported";
    return std::nullopt;
  }
  for (const auto& [end, factor] : ends) {
    if (!key.ends_with(end)) continue;
    std::string module = key.substr(0, key.size() - std::string(end).size());
    for (const char* prefix : prefixes)
      if (module.starts_with(prefix)) module.erase(0, std::string(prefix).size());
    return AdapterKey{std::move(module), factor};
  }
  reason = "not a factor of a LoRA (lora_A, lora_B, lora_down, lora_up, alpha)";
  return std::nullopt;
}

std::map<std::string, AdapterSlot> adapter_slots(const std::vector<BlockLinear>& linears) {
  std::map<std::string, AdapterSlot> slots;
  const auto add = [&](const std::string& name, AdapterSlot slot) {
    slots.emplace(name, slot);
    slots.emplace(kohya_name(name), slot);
  };
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const auto& parts = linears[i].parts;
    add(linears[i].name, {i, -1});
    for (std::size_t p = 0; p < parts.size(); ++p) add(parts[p].name, {i, parts.size() == 1 ? -1 : static_cast<int>(p)});
  }
  return slots;
}

}  // namespace magicid::models::hunyuan_video
