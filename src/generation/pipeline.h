// A text-to-video pipeline folder as diffusers' save_pretrained writes it, and which of its networks are in memory.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "diffusion/flow_match_scheduler.h"
#include "generation/sample.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/transformer.h"
#include "models/nn/weights.h"
#include "models/text/prompt_encoder.h"

namespace magicid::generation {

// Configurations of a pipeline's networks, read without their weights.
class PipelineFolder {
 public:
  // Reads model_index.json and the config.json files. Throws UserError when a folder is missing, the pipeline is of a class that this program
  // does not know, or the networks do not fit each other.
  static PipelineFolder open(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return path_; }
  const models::hunyuan_video::TransformerConfig& transformer_config() const { return transformer_config_; }
  const models::hunyuan_video::AutoencoderConfig& autoencoder_config() const { return autoencoder_config_; }
  const diffusion::FlowMatchEulerScheduler& scheduler() const { return scheduler_; }

  models::hunyuan_video::Transformer load_transformer(const models::nn::Placement& placement) const;
  models::hunyuan_video::Autoencoder load_autoencoder(const models::nn::Placement& placement) const;
  models::text::PromptEncoder load_prompt_encoder(const models::nn::Placement& placement) const;

  // What identifies the model: all JSON and text files, names and shapes of the weights, and a sample of their bytes (all bytes of the 12.8B
  // model would take minutes to read at every start). Hexadecimal.
  std::string fingerprint() const;

 private:
  PipelineFolder(std::filesystem::path path, models::hunyuan_video::TransformerConfig transformer, models::hunyuan_video::AutoencoderConfig autoencoder,
                 diffusion::FlowMatchEulerScheduler scheduler);

  std::filesystem::path path_;
  models::hunyuan_video::TransformerConfig transformer_config_;
  models::hunyuan_video::AutoencoderConfig autoencoder_config_;
  diffusion::FlowMatchEulerScheduler scheduler_;
};

// Writes model_index.json of a folder with the seven parts. It comes last: a folder with an index is a whole one.
void write_model_index(const std::filesystem::path& folder);

}  // namespace magicid::generation
