#include "models/hunyuan_video/adapter_names.h"

#include <algorithm>
#include <utility>

namespace magicid::models::hunyuan_video {
namespace {

struct End {
  const char* text;
  Factor factor;
  bool before_peft = false;
};
// Longer ones first where one is the end of another.
constexpr End ends[] = {
    {".lora_linear_layer.down.weight", Factor::a, true},
    {".lora_linear_layer.up.weight", Factor::b, true},
    {".lora_A.weight", Factor::a},
    {".lora_B.weight", Factor::b},
    {".lora_down.weight", Factor::a},
    {".lora_up.weight", Factor::b},
    {".lora.down.weight", Factor::a, true},
    {".lora.up.weight", Factor::b, true},
    {"_lora.down.weight", Factor::a, true},
    {"_lora.up.weight", Factor::b, true},
    {".lora.alpha", Factor::alpha, true},
    {"_lora.alpha", Factor::alpha, true},
    {".alpha", Factor::alpha},
};

// Of dotted names; a file may hold several before one another.
constexpr const char* prefixes[] = {"base_model.model.", "transformer.", "diffusion_model.", "model."};
constexpr const char* flattened_prefixes[] = {"lora_unet_", "lora_transformer_", "lycoris_", "Hunyuan_video_I2V_lora_"};

// What other kinds of adapters call their tensors.
constexpr struct {
  const char* text;
  const char* reason;
} kinds[] = {{"dora_scale", "DoRA (a magnitude beside the factors) is not supported; expected plain LoRA"},
             {"lora_magnitude_vector", "DoRA (a magnitude beside the factors) is not supported; expected plain LoRA"},
             {"hada_", "LoHa is not supported; expected plain LoRA"},
             {"lokr_", "LoKr is not supported; expected plain LoRA"},
             {".oft_", "OFT is not supported; expected plain LoRA"},
             {"lora_mid", "LoRA with a middle factor (LoCon) is not supported; expected two factors"}};
constexpr struct {
  const char* end;
  const char* reason;
} whole_changes[] = {
    {".diff", "a full difference of a weight (diff) is not supported; expected two factors. Extract a LoRA from it with the tool that made it"},
    {".diff_b", "a difference of a bias (diff_b) is not supported; expected plain LoRA"},
    {".set_weight", "a whole weight (set_weight) is not supported; expected plain LoRA"},
    {".bias", "biases of an adapter are not supported"},
    {".lora_A", "not a factor's weight; expected .lora_A.weight"},
    {".lora_B", "not a factor's weight; expected .lora_B.weight"}};

// "X.lora_A.NAME.weight", as a PEFT model's own state holds the adapter NAME, is "X.lora_A.weight".
std::string without_adapter_name(const std::string& key) {
  for (const std::string factor : {".lora_A.", ".lora_B."}) {
    const auto at = key.rfind(factor);
    if (at == std::string::npos || !key.ends_with(".weight")) continue;
    const std::size_t begin = at + factor.size(), end = key.size() - std::string(".weight").size();
    if (end > begin && key.find('.', begin) == end) return key.substr(0, at) + factor + "weight";
  }
  return key;
}

// Strips what stands before a module's name. Returns the layout that the prefixes name.
KeyLayout strip(std::string& module) {
  for (const std::string prefix : flattened_prefixes)
    if (module.starts_with(prefix)) {
      module.erase(0, prefix.size());
      return KeyLayout::flattened;
    }
  bool peft = false;
  for (bool found = true; found;) {
    found = false;
    for (const std::string prefix : prefixes)
      if (module.starts_with(prefix)) {
        peft = peft || prefix == "base_model.model.";
        module.erase(0, prefix.size());
        found = true;
      }
  }
  if (module.starts_with("double_blocks.") || module.starts_with("single_blocks.")) return KeyLayout::tencent;
  return peft ? KeyLayout::peft : KeyLayout::diffusers;
}

}  // namespace

std::string layout_text(KeyLayout layout) {
  switch (layout) {
    case KeyLayout::diffusers: return "diffusers (PEFT)";
    case KeyLayout::before_peft: return "diffusers (before PEFT)";
    case KeyLayout::peft: return "PEFT";
    case KeyLayout::tencent: return "ComfyUI";
    case KeyLayout::flattened: return "kohya";
  }
  return "unknown";
}

std::string flattened_name(const std::string& module) {
  std::string flat = module;
  std::replace(flat.begin(), flat.end(), '.', '_');
  return flat;
}

std::string kohya_name(const std::string& module) { return "lora_unet_" + flattened_name(module); }

bool is_text_encoder_key(const std::string& key) {
  for (const char* prefix : {"lora_te_", "lora_te1_", "lora_te2_", "lora_te3_", "text_encoder.", "text_encoder_2.", "text_encoder_3.", "text_encoders.",
                             "cond_stage_model.", "conditioner.", "clip_l.", "llama."})
    if (key.starts_with(prefix)) return true;
  return false;
}

std::optional<AdapterKey> parse_adapter_key(const std::string& key, std::string& reason) {
  for (const auto& [text, why] : kinds)
    if (key.find(text) != std::string::npos) {
      reason = why;
      return std::nullopt;
    }
  for (const auto& [end, why] : whole_changes)
    if (key.ends_with(end)) {
      reason = why;
      return std::nullopt;
    }
  const std::string plain = without_adapter_name(key);
  for (const End& end : ends) {
    if (!plain.ends_with(end.text)) continue;
    AdapterKey parsed{plain.substr(0, plain.size() - std::string(end.text).size()), end.factor};
    parsed.layout = strip(parsed.module);
    // Before PEFT the adapted Linears were attributes of an attention processor.
    if (const auto at = parsed.module.find(".processor."); at != std::string::npos) parsed.module.erase(at, std::string(".processor").size());
    if (end.before_peft && parsed.layout != KeyLayout::flattened) parsed.layout = KeyLayout::before_peft;
    return parsed;
  }
  reason = "not a factor of a LoRA (lora_A, lora_B, lora_down, lora_up, alpha)";
  return std::nullopt;
}

std::map<std::string, AdapterSlot> adapter_slots(const std::vector<BlockLinear>& linears) {
  std::map<std::string, AdapterSlot> slots;
  const auto add = [&](const std::string& name, AdapterSlot slot) {
    slots.emplace(name, slot);
    slots.emplace(flattened_name(name), slot);
    // The output's Linear stands in a list in diffusers (to_out.0); older files name the list.
    if (name.ends_with("to_out.0")) slots.emplace(name.substr(0, name.size() - 2), slot);
  };
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const auto& parts = linears[i].parts;
    add(linears[i].name, {i, -1});
    for (std::size_t p = 0; p < parts.size(); ++p) add(parts[p].name, {i, parts.size() == 1 ? -1 : static_cast<int>(p)});
  }
  return slots;
}

}  // namespace magicid::models::hunyuan_video
