#include "backbone/model_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/hash.h"
#include "base/text.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/backbone.h"
#include "models/hunyuan_video/cost.h"
#include "models/hunyuan_video/published.h"
#include "models/hunyuan_video/random_pipeline.h"
#include "models/nn/network_config.h"
#include "storage/atomic_file.h"
#include "storage/safetensors.h"

namespace magicid::backbone {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// The one place that knows which backbones there are: another one adds its class and its line.
std::unique_ptr<models::generator::Backbone> open_by_class(const fs::path& index, const fs::path& folder) {
  models::nn::NetworkConfig::open(index).choice("_class_name", {models::hunyuan_video::pipeline_class});
  return models::hunyuan_video::open_backbone(folder);
}

}  // namespace

ModelFolder::ModelFolder(fs::path path, std::unique_ptr<models::generator::Backbone> backbone, diffusion::FlowMatchEulerScheduler scheduler)
    : path_(std::move(path)), backbone_(std::move(backbone)), scheduler_(std::move(scheduler)) {}

ModelFolder ModelFolder::open(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw base::UserError(folder.string(), ": no such folder; a pipeline folder in diffusers' layout was expected");
  const fs::path index = folder / "model_index.json";
  if (!fs::exists(index))
    throw base::UserError(folder.string(),
                          ": has no model_index.json; a pipeline folder as diffusers' HunyuanVideoPipeline.save_pretrained writes it was expected");
  auto backbone = open_by_class(index, folder);
  return {folder, std::move(backbone), diffusion::FlowMatchEulerScheduler::from_folder(folder / "scheduler")};
}

std::string ModelFolder::fingerprint() const {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& part : backbone_->parts())
    for (const auto& entry : fs::directory_iterator(path_ / part)) {
      if (!entry.is_regular_file()) continue;
      const std::string name = part + "/" + entry.path().filename().string();
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

std::unique_ptr<const models::generator::BackboneCost> cost_of_folder(const fs::path& folder) { return models::hunyuan_video::cost_of_folder(folder); }

std::unique_ptr<const models::generator::BackboneCost> published_cost(const std::string& name) {
  base::check_invariant(name == "hunyuanvideo", "no published sizes of ", name);
  return std::make_unique<models::hunyuan_video::HunyuanVideoCost>();
}

std::vector<models::nn::PublishedNetwork> published_networks() {
  return {models::hunyuan_video::published_transformer(), models::hunyuan_video::published_autoencoder()};
}

void write_random_pipeline(const fs::path& out, const std::string& size, std::optional<std::uint64_t> seed) {
  models::hunyuan_video::write_random_pipeline(out, size, seed);
}

models::generator::LoadedAdapter read_adapter_alone(const fs::path& path) { return models::hunyuan_video::read_adapter_file(path); }

bool has_random_weights(const fs::path& folder) {
  const fs::path about = folder / "magicid.json";
  if (!fs::exists(about)) return false;
  const json parsed = json::parse(storage::read_text(about), nullptr, /*allow_exceptions=*/false);
  const std::string weights = parsed.is_object() ? parsed.value("weights", "") : "";
  return weights == "random" || weights == "zeros";
}

}  // namespace magicid::backbone
