// A text-to-video pipeline folder as diffusers' save_pretrained writes it, opened by the class in its model_index.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/flow_match_scheduler.h"
#include "models/generator/backbone.h"
#include "models/nn/published_network.h"

namespace magicid::backbone {

class ModelFolder {
 public:
  // Reads model_index.json and the configurations, no weights. Throws UserError when a folder is missing, the pipeline is of a class that this program does not
  // know, or the networks do not fit each other.
  static ModelFolder open(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return path_; }
  const models::generator::Backbone& backbone() const { return *backbone_; }
  const diffusion::FlowMatchEulerScheduler& scheduler() const { return scheduler_; }

  // What identifies the model: all JSON and text files, names and shapes of the weights, and a sample of their bytes (all bytes of the 12.8B
  // model would take minutes to read at every start). Hexadecimal.
  std::string fingerprint() const;

 private:
  ModelFolder(std::filesystem::path path, std::unique_ptr<models::generator::Backbone> backbone, diffusion::FlowMatchEulerScheduler scheduler);

  std::filesystem::path path_;
  std::unique_ptr<models::generator::Backbone> backbone_;
  diffusion::FlowMatchEulerScheduler scheduler_;
};

// What the networks of a folder cost, where their config.json files are enough: no class, weights or other parts are looked for. Throws UserError when one is
// missing or does not fit.
std::unique_ptr<const models::generator::BackboneCost> cost_of_folder(const std::filesystem::path& folder);
// The same of published sizes by name: "hunyuanvideo".
std::unique_ptr<const models::generator::BackboneCost> published_cost(const std::string& name);

// How the networks of all backbones are published elsewhere, for `magicid import`.
std::vector<models::nn::PublishedNetwork> published_networks();

// A pipeline folder of HunyuanVideo's class with random weights, as `init-model` makes it: models/hunyuan_video/random_pipeline.h.
void write_random_pipeline(const std::filesystem::path& out, const std::string& size, std::optional<std::uint64_t> seed);

// An adapter's file without its model: of the backbone whose modules its keys name. fp32, on the CPU. Throws UserError when no backbone knows the keys.
models::generator::LoadedAdapter read_adapter_alone(const std::filesystem::path& path);

// Whether `init-model` made the pipeline folder: its pictures mean nothing, and reports say so.
bool has_random_weights(const std::filesystem::path& folder);

}  // namespace magicid::backbone
