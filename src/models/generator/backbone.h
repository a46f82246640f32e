// A text-to-video model as a folder holds it: its configurations, read without weights, and its networks, loaded when asked for.
//
// What HunyuanVideo, and every backbone after it, implements. docs/architecture.md, "What another backbone brings", holds it against two others.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/generator/adapter_file.h"
#include "models/generator/codec.h"
#include "models/generator/cost.h"
#include "models/generator/denoiser.h"
#include "models/generator/prompts.h"
#include "models/generator/stored_linears.h"
#include "models/generator/video_size.h"
#include "models/nn/weights.h"

namespace magicid::models::generator {

class Backbone {
 public:
  virtual ~Backbone() = default;

  // The class in model_index.json ("HunyuanVideoPipeline") and the folders that it is made of, the scheduler's included.
  virtual std::string pipeline_class() const = 0;
  virtual std::vector<std::string> parts() const = 0;

  // Of the denoiser, without its weights.
  virtual Adaptable adaptable() const = 0;
  virtual std::int64_t blocks() const = 0;

  // [1,C,T,h,w] of the latents of such a video. Throws UserError saying which number is wrong, the rule and the nearest good value ("frames is 12, 4k+1 is
  // needed, e.g. 9").
  virtual std::vector<std::int64_t> latent_shape(const VideoSize& size) const = 0;
  // Pixels that the sides of a picture or video must be multiples of.
  virtual std::int64_t side_multiple() const = 0;

  // Each throws UserError for weights that do not fit the configuration. Not collective.
  virtual std::unique_ptr<Denoiser> load_denoiser(const nn::Placement& placement) const = 0;
  virtual std::unique_ptr<Codec> load_codec(const nn::Placement& placement) const = 0;
  virtual std::unique_ptr<Prompts> load_prompts(const PromptOptions& options, const nn::Placement& placement) const = 0;
  virtual std::unique_ptr<PromptLimits> load_prompt_limits(const PromptOptions& options) const = 0;

  // What its networks cost, without their weights.
  virtual std::unique_ptr<const BackboneCost> cost() const = 0;

  // Folders whose weights load_denoiser() and load_codec() read, for whoever reckons with memory before loading.
  virtual std::filesystem::path denoiser_folder() const = 0;
  virtual std::filesystem::path codec_folder() const = 0;

  // Where the denoiser's folder holds the weights of its adaptable Linears. Headers are read. Throws UserError as StoredLinears::open.
  virtual StoredLinears stored_linears() const = 0;

  // Adapter files of other programs by their names ("diffusers", "kohya", "comfyui"). save: Throws UserError for a format that the backbone has not; fp32,
  // `provenance` goes into the file's header. read: any of the layouts, told apart by their keys; throws UserError that lists every key that cannot be used.
  virtual std::vector<std::string> adapter_formats() const = 0;
  virtual void save_adapter(const Adapter& adapter, const std::string& format, const std::filesystem::path& path,
                            const std::map<std::string, std::string>& provenance) const = 0;
  virtual LoadedAdapter read_adapter(const std::filesystem::path& path, const nn::Placement& placement) const = 0;
  // The files that read_adapter() reads for a path, the adapter's own first. Throws UserError as it does for a path that stands for none.
  virtual std::vector<std::filesystem::path> adapter_files(const std::filesystem::path& path) const = 0;
  // The adapter alone; what the file warns of goes to the log.
  Adapter load_adapter(const std::filesystem::path& path, const nn::Placement& placement) const;
};

}  // namespace magicid::models::generator
