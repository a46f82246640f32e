// Where a key of an adapter file belongs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/hunyuan_video/transformer_layout.h"

namespace magicid::models::hunyuan_video {

enum class Factor { a, b, alpha };

struct AdapterKey {
  std::string module;  // without prefixes, in the file's own layout
  Factor factor = Factor::a;
};

// "lora_unet_" + the module with its dots as underscores.
std::string kohya_name(const std::string& module);

// The parts of a file's key, or nothing when its end names no factor; `reason` then says what it is.
std::optional<AdapterKey> parse_adapter_key(const std::string& key, std::string& reason);

// A block Linear, or one of the parts that diffusers splits it into.
struct AdapterSlot {
  std::size_t linear = 0;  // index in block_linears(config)
  int part = -1;           // -1: the whole
};

// From every name that the layouts use for the modules of `linears`, kohya's flattened ones included.
std::map<std::string, AdapterSlot> adapter_slots(const std::vector<BlockLinear>& linears);

}  // namespace magicid::models::hunyuan_video
