#include "models/hunyuan_video/backbone.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/adapter_source.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/codec.h"
#include "models/hunyuan_video/cost.h"
#include "models/hunyuan_video/latent_shape.h"
#include "models/hunyuan_video/transformer.h"
#include "models/text/prompt_encoder.h"
#include "storage/atomic_file.h"

namespace magicid::models::hunyuan_video {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Folder, library and class, as model_index.json lists them.
constexpr const char* pipeline_parts[][3] = {{"transformer", "diffusers", "HunyuanVideoTransformer3DModel"},
                                             {"vae", "diffusers", "AutoencoderKLHunyuanVideo"},
                                             {"text_encoder", "transformers", "LlamaModel"},
                                             {"text_encoder_2", "transformers", "CLIPTextModel"},
                                             {"tokenizer", "transformers", "PreTrainedTokenizerFast"},
                                             {"tokenizer_2", "transformers", "CLIPTokenizer"},
                                             {"scheduler", "diffusers", "FlowMatchEulerDiscreteScheduler"}};

text::PromptTemplate template_of(const generator::PromptOptions& options) {
  return options.template_file.empty() ? text::PromptTemplate::hunyuan_video() : text::PromptTemplate::load(options.template_file);
}

class TextEncoders final : public generator::Prompts {
 public:
  TextEncoders(const fs::path& folder, const generator::PromptOptions& options, const nn::Placement& placement)
      : template_(template_of(options)), max_length_(options.max_length), encoder_(text::PromptEncoder::load(folder, placement)) {}

  generator::EncodedPrompt encode(const std::string& prompt) const override {
    const auto encoded = encoder_(prompt, template_, max_length_);
    return {encoded, text::over_length_warning(encoded.tokens)};
  }

 private:
  text::PromptTemplate template_;
  std::int64_t max_length_;
  text::PromptEncoder encoder_;
};

class Tokenizers final : public generator::PromptLimits {
 public:
  Tokenizers(const fs::path& folder, const generator::PromptOptions& options)
      : template_(template_of(options)), max_length_(options.max_length), tokenizer_(text::PromptTokenizer::load(folder)) {}

  std::vector<std::string> within(const std::string& beginning) const override { return tokenizer_.limits_within(beginning, template_, max_length_); }

 private:
  text::PromptTemplate template_;
  std::int64_t max_length_;
  text::PromptTokenizer tokenizer_;
};

class HunyuanVideo final : public generator::Backbone {
 public:
  explicit HunyuanVideo(fs::path folder)
      : folder_(std::move(folder)),
        transformer_(TransformerConfig::from_file(folder_ / "transformer" / "config.json")),
        autoencoder_(AutoencoderConfig::from_folder(folder_ / "vae")) {
    if (transformer_.in_channels != autoencoder_.latent_channels || transformer_.out_channels != autoencoder_.latent_channels)
      throw base::UserError(folder_.string(), ": the transformer has ", transformer_.in_channels, " input and ", transformer_.out_channels,
                            " output channels, the autoencoder ", autoencoder_.latent_channels, " latent channels; they must agree");
  }

  std::string pipeline_class() const override { return hunyuan_video::pipeline_class; }
  std::vector<std::string> parts() const override {
    std::vector<std::string> parts;
    for (const auto& part : pipeline_parts) parts.emplace_back(part[0]);
    return parts;
  }

  generator::Adaptable adaptable() const override { return hunyuan_video::adaptable(transformer_); }
  std::int64_t blocks() const override { return transformer_.num_layers + transformer_.num_single_layers; }

  std::vector<std::int64_t> latent_shape(const generator::VideoSize& size) const override {
    return hunyuan_video::latent_shape(size, transformer_, autoencoder_);
  }
  std::int64_t side_multiple() const override { return autoencoder_.spatial_compression_ratio * transformer_.patch_size; }

  std::unique_ptr<generator::Denoiser> load_denoiser(const nn::Placement& placement) const override {
    return std::make_unique<Transformer>(Transformer::load(denoiser_folder(), placement));
  }
  std::unique_ptr<generator::Codec> load_codec(const nn::Placement& placement) const override { return hunyuan_video::load_codec(codec_folder(), placement); }
  std::unique_ptr<generator::Prompts> load_prompts(const generator::PromptOptions& options, const nn::Placement& placement) const override {
    return std::make_unique<TextEncoders>(folder_, options, placement);
  }
  std::unique_ptr<generator::PromptLimits> load_prompt_limits(const generator::PromptOptions& options) const override {
    return std::make_unique<Tokenizers>(folder_, options);
  }

  std::unique_ptr<const generator::BackboneCost> cost() const override { return std::make_unique<HunyuanVideoCost>(transformer_, autoencoder_); }

  fs::path denoiser_folder() const override { return folder_ / "transformer"; }
  fs::path codec_folder() const override { return folder_ / "vae"; }

  generator::StoredLinears stored_linears() const override { return hunyuan_video::stored_linears(transformer_, denoiser_folder()); }

  std::vector<std::string> adapter_formats() const override { return {"diffusers", "kohya", "comfyui"}; }
  void save_adapter(const generator::Adapter& adapter, const std::string& format, const fs::path& path,
                    const std::map<std::string, std::string>& provenance) const override {
    hunyuan_video::save_adapter(adapter, transformer_, adapter_format_from_name(format), path, provenance);
  }
  generator::LoadedAdapter read_adapter(const fs::path& path, const nn::Placement& placement) const override {
    return read_adapter_file(transformer_, path, placement);
  }
  std::vector<fs::path> adapter_files(const fs::path& path) const override { return files_of_adapter(path); }

 private:
  fs::path folder_;
  TransformerConfig transformer_;
  AutoencoderConfig autoencoder_;
};

}  // namespace

std::unique_ptr<generator::Backbone> open_backbone(const fs::path& folder) {
  std::vector<std::string> absent;
  for (const auto& part : pipeline_parts)
    if (!fs::is_directory(folder / part[0])) absent.emplace_back(part[0]);
  if (!absent.empty()) throw base::UserError(folder.string(), ": folders are missing: ", json(absent).dump(), ". Was the download complete?");
  return std::make_unique<HunyuanVideo>(folder);
}

void write_model_index(const fs::path& folder) {
  json index = {{"_class_name", pipeline_class}, {"_diffusers_version", "0.35.0"}};
  for (const auto& [part, library, type] : pipeline_parts) index[part] = {library, type};
  storage::write_text_atomically(folder / "model_index.json", index.dump(2) + "\n");
}

}  // namespace magicid::models::hunyuan_video
