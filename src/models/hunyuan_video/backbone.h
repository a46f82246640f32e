// HunyuanVideo as a backbone: a folder as diffusers' HunyuanVideoPipeline.save_pretrained writes it.
#pragma once

#include <filesystem>
#include <memory>

#include "models/generator/backbone.h"

namespace magicid::models::hunyuan_video {

inline constexpr const char* pipeline_class = "HunyuanVideoPipeline";

// Reads the config.json files of transformer and vae. Throws UserError when a folder is missing or the networks do not fit each other.
std::unique_ptr<generator::Backbone> open_backbone(const std::filesystem::path& folder);

// A codec of an autoencoder's folder alone, for who has no whole pipeline folder yet.
std::unique_ptr<generator::Codec> load_codec(const std::filesystem::path& folder, const nn::Placement& placement);

// Writes model_index.json of a folder with the seven parts. It comes last: a folder with an index is a whole one.
void write_model_index(const std::filesystem::path& folder);

}  // namespace magicid::models::hunyuan_video
