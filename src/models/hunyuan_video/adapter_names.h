// Where a key of an adapter file belongs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/hunyuan_video/transformer_layout.h"

namespace magicid::models::hunyuan_video {

enum class Factor { a, b, alpha };

// What kind of program writes such a key.
enum class KeyLayout { diffusers, before_peft, peft, tencent, flattened };
// In words: "diffusers (PEFT)", "kohya", ...
std::string layout_text(KeyLayout layout);

struct AdapterKey {
  std::string module;  // without prefixes, in the file's own layout
  Factor factor = Factor::a;
  KeyLayout layout = KeyLayout::diffusers;
};

// The module with its dots as underscores, and "lora_unet_" before it.
std::string flattened_name(const std::string& module);
std::string kohya_name(const std::string& module);

// Whether the key belongs to a text encoder's part of the file.
bool is_text_encoder_key(const std::string& key);

// The parts of a file's key, or nothing when its end names no factor; `reason` then says what it is. Sources: PEFT's utils/save_and_load.py, diffusers'
// utils/state_dict_utils.py (UNET_TO_DIFFUSERS), kohya-ss/musubi-tuner networks/lora.py, comfyanonymous/ComfyUI comfy/lora.py, and for the prefix of
// image-to-video adapters Tencent-Hunyuan/HunyuanVideo-I2V ("Hunyuan_video_I2V_lora").
std::optional<AdapterKey> parse_adapter_key(const std::string& key, std::string& reason);

// A block Linear, or one of the parts that diffusers splits it into.
struct AdapterSlot {
  std::size_t linear = 0;  // index in block_linears(config)
  int part = -1;           // -1: the whole
};

// From every name that the layouts use for the modules of `linears`, flattened ones included.
std::map<std::string, AdapterSlot> adapter_slots(const std::vector<BlockLinear>& linears);

}  // namespace magicid::models::hunyuan_video
