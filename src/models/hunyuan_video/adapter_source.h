// Which file a path to an adapter stands for, what says its scale, and where the weights lie that it changes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/generator/stored_linears.h"
#include "models/hunyuan_video/peft_config.h"
#include "models/hunyuan_video/transformer_config.h"
#include "storage/safetensors.h"

namespace magicid::models::hunyuan_video {

// A file stands for itself; a folder for the pytorch_lora_weights.safetensors of diffusers or the adapter_model.safetensors of PEFT in it. Throws UserError for
// a folder with neither or both.
std::filesystem::path adapter_file_of(const std::filesystem::path& path);

// From the header's `lora_adapter_metadata`; else, for a file that PEFT wrote (by its name adapter_model.safetensors or its keys' base_model.model.), from the
// adapter_config.json beside it. Where such a file has neither, `warnings` says what was taken for granted. Throws as PeftConfig::parse.
PeftConfig peft_config_of(const storage::SafetensorsFile& file, std::vector<std::string>& warnings);

// What reading the adapter under `path` reads: its file, and the adapter_config.json where that counts.
std::vector<std::filesystem::path> files_of_adapter(const std::filesystem::path& path);

// Sizes of a transformer that the adapter's tensors fit, told from their names and shapes: numbers of blocks, width and MLP. What the adapter says nothing
// about is the default. For looking at a file without its model. Throws UserError when no key names a module of a block.
TransformerConfig sizes_of_adapter(const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& shapes, const std::string& origin);

// The block Linears' weights in a transformer's folder, of diffusers' layout or Tencent's. Throws as StoredLinears::open.
generator::StoredLinears stored_linears(const TransformerConfig& config, const std::filesystem::path& folder);

}  // namespace magicid::models::hunyuan_video
