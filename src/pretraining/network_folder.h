// The folder of a finished network, as the real classes read it.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

namespace magicid::pretraining {

// config.json and model.safetensors (or another file name), floating tensors in fp16, written atomically. Throws SystemError.
void write_half(const std::filesystem::path& folder, const std::string& config, const std::map<std::string, at::Tensor>& tensors,
                const std::string& file = "model.safetensors");

}  // namespace magicid::pretraining
