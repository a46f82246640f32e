#include "generation/pipeline.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "base/errors.h"
#include "base/hash.h"
#include "base/text.h"
#include "models/nn/network_config.h"
#include "storage/atomic_file.h"

namespace magicid::generation {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kClass = "HunyuanVideoPipeline";
// folder, library and class, as model_index.json lists them
constexpr const char* kParts[][3] = {{"transformer", "diffusers", "HunyuanVideoTransformer3DModel"},
                                     {"vae", "diffusers", "AutoencoderKLHunyuanVideo"},
                                     {"text_encoder", "transformers", "LlamaModel"},
                                     {"text_encoder_2", "transformers", "CLIPTextModel"},
                                     {"tokenizer", "transformers", "PreTrainedTokenizerFast"},
                                     {"tokenizer_2", "transformers", "CLIPTokenizer"},
                                     {"scheduler", "diffusers", "FlowMatchEulerDiscreteScheduler"}};

}  // namespace

PipelineFolder::PipelineFolder(fs::path path, models::hunyuan_video::TransformerConfig transformer, models::hunyuan_video::AutoencoderConfig autoencoder,
                               diffusion::FlowMatchEulerScheduler scheduler)
    : path_(std::move(path)), transformer_config_(transformer), autoencoder_config_(std::move(autoencoder)), scheduler_(std::move(scheduler)) {}

PipelineFolder PipelineFolder::open(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw base::UserError(folder.string(), ": no such folder; a pipeline folder in diffusers' layout was expected");
  const fs::path index_file = folder / "model_index.json";
  if (!fs::exists(index_file))
    throw base::UserError(folder.string(),
                          ": has no model_index.json; a pipeline folder as diffusers' HunyuanVideoPipeline.save_pretrained writes it was expected");
  // The place where another backbone's class would be told apart.
  models::nn::NetworkConfig::open(index_file).choice("_class_name", {kClass});
  std::vector<std::string> absent;
  for (const auto& part : kParts)
    if (!fs::is_directory(folder / part[0])) absent.push_back(part[0]);
  if (!absent.empty()) throw base::UserError(folder.string(), ": folders are missing: ", json(absent).dump(), ". Was the download complete?");
  PipelineFolder pipeline(folder, models::hunyuan_video::TransformerConfig::from_file(folder / "transformer" / "config.json"),
                          models::hunyuan_video::AutoencoderConfig::from_folder(folder / "vae"),
                          diffusion::FlowMatchEulerScheduler::from_folder(folder / "scheduler"));
  if (pipeline.transformer_config_.in_channels != pipeline.autoencoder_config_.latent_channels ||
      pipeline.transformer_config_.out_channels != pipeline.autoencoder_config_.latent_channels)
    throw base::UserError(folder.string(), ": the transformer has ", pipeline.transformer_config_.in_channels, " input and ",
                          pipeline.transformer_config_.out_channels, " output channels, the autoencoder ", pipeline.autoencoder_config_.latent_channels,
                          " latent channels; they must agree");
  return pipeline;
}

models::hunyuan_video::Transformer PipelineFolder::load_transformer(const models::nn::Placement& placement) const {
  return models::hunyuan_video::Transformer::load(path_ / "transformer", placement);
}

models::hunyuan_video::Autoencoder PipelineFolder::load_autoencoder(const models::nn::Placement& placement) const {
  return models::hunyuan_video::Autoencoder::load(path_ / "vae", placement);
}

models::text::PromptEncoder PipelineFolder::load_prompt_encoder(const models::nn::Placement& placement) const {
  return models::text::PromptEncoder::load(path_, placement);
}

std::string PipelineFolder::fingerprint() const {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& [part, library, type] : kParts)
    for (const auto& entry : fs::directory_iterator(path_ / part)) {
      if (!entry.is_regular_file()) continue;
      const std::string name = std::string(part) + "/" + entry.path().filename().string();
      if (name.ends_with(".json") || name.ends_with(".txt") || name.ends_with(".safetensors")) base::file_name(entry.path());  // refuses what JSON cannot hold
      if (name.ends_with(".json") || name.ends_with(".txt")) {
        entries.emplace_back(name, base::hash_file(entry.path()));
      } else if (name.ends_with(".safetensors")) {
        const auto file = storage::SafetensorsFile::open(entry.path());
        json shapes = json::object();
        for (const auto& tensor : file.names()) shapes[tensor] = file.shape(tensor);
        // The first bytes of a few tensors tell retrained weights of one shape apart.
        base::Hasher sample;
        const auto names = file.names();
        for (std::size_t i = 0; i < names.size(); i += std::max<std::size_t>(1, names.size() / 16)) {
          const at::Tensor tensor = file.at(names[i]);
          sample.update(std::span(static_cast<const std::byte*>(tensor.const_data_ptr()), std::min<std::size_t>(tensor.nbytes(), 4096)));
        }
        entries.emplace_back(name, base::hash_json({{"bytes", fs::file_size(entry.path())}, {"shapes", shapes}, {"sample", sample.hex()}}));
      }
    }
  std::sort(entries.begin(), entries.end());
  return base::hash_json(json(entries));
}

void write_model_index(const fs::path& folder) {
  json index = {{"_class_name", kClass}, {"_diffusers_version", "0.35.0"}};
  for (const auto& [part, library, type] : kParts) index[part] = {library, type};
  storage::write_text_atomically(folder / "model_index.json", index.dump(2) + "\n");
}

}  // namespace magicid::generation
