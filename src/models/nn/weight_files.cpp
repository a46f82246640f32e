#include "models/nn/weight_files.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/errors.h"
#include "base/names.h"
#include "models/nn/scaled_weights.h"
#include "storage/atomic_file.h"

namespace magicid::models::nn {
namespace {

using base::UserError;
using nlohmann::json;
namespace fs = std::filesystem;

void add_index(WeightFiles& files, const fs::path& index) {
  json parsed;
  try {
    parsed = json::parse(storage::read_text(index));
  } catch (const json::exception& error) {
    throw UserError(index.string(), ": not JSON: ", error.what());
  }
  if (!parsed.contains("weight_map") || !parsed["weight_map"].is_object()) throw UserError(index.string(), ": has no weight_map");
  std::set<std::string> shards;
  for (const auto& [name, shard] : parsed["weight_map"].items()) {
    if (!shard.is_string()) throw UserError(index.string(), ": weight_map.", name, " is not a file name");
    // A name with a folder in it could point anywhere on the disk.
    if (fs::path(shard.get<std::string>()).has_parent_path())
      throw UserError(index.string(), ": weight_map.", name, " points outside of the folder: ", shard.get<std::string>());
    shards.insert(shard.get<std::string>());
  }
  std::vector<std::string> absent;
  for (const auto& shard : shards)
    if (!fs::exists(index.parent_path() / shard)) absent.push_back(shard);
  if (!absent.empty())
    throw UserError(index.string(), ": ", absent.size(), " of ", shards.size(), " weight files are missing: ", base::join_names(absent),
                    ". Was the download complete?");
  for (const auto& shard : shards) add_weights(files, index.parent_path() / shard);
  for (const auto& [name, shard] : parsed["weight_map"].items())
    if (!files.contains(name)) throw UserError(index.string(), ": names the tensor '", name, "', which ", shard.get<std::string>(), " does not hold");
}

}  // namespace

void add_weights(WeightFiles& files, const fs::path& path) {
  const auto file = storage::SafetensorsFile::open(path);
  if (const auto scales = scale_names(file.names()); !scales.empty())
    throw UserError(path.string(), ": its weights are stored with scales beside them (", base::join_names(scales, 3),
                    "); without them they would be wrong. `magicid import` writes a folder with the weights' values");
  for (const auto& name : file.names())
    if (!files.emplace(name, file).second) throw UserError(path.string(), ": tensor '", name, "' is also in ", files.at(name).path().string());
}

WeightFiles find_weights(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw UserError(folder.string(), ": no such folder; a folder with config.json and safetensors files was expected");
  WeightFiles files;
  for (const char* stem : {"diffusion_pytorch_model", "model"}) {
    if (fs::exists(folder / (std::string(stem) + ".safetensors.index.json"))) {
      add_index(files, folder / (std::string(stem) + ".safetensors.index.json"));
      return files;
    }
    if (fs::exists(folder / (std::string(stem) + ".safetensors"))) {
      add_weights(files, folder / (std::string(stem) + ".safetensors"));
      return files;
    }
  }
  // Variants as diffusers names them: model.fp16.safetensors, model.safetensors.index.fp16.json.
  std::vector<fs::path> indices, singles, pickles;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.starts_with("diffusion_pytorch_model.") || name.starts_with("model.");
    if (ours && name.find(".safetensors.index.") != std::string::npos && name.ends_with(".json")) indices.push_back(entry.path());
    else if (ours && name.ends_with(".safetensors") && name.find("-of-") == std::string::npos) singles.push_back(entry.path());
    else if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth")) pickles.push_back(entry.path());
  }
  if (indices.size() + singles.size() > 1)
    throw UserError(folder.string(),
                    ": holds several variants of the weights; keep one of them, named model.safetensors or diffusion_pytorch_model.safetensors");
  if (!indices.empty()) add_index(files, indices[0]);
  else if (!singles.empty()) add_weights(files, singles[0]);
  else if (!pickles.empty())
    throw UserError(folder.string(), ": holds only pickled weights (", pickles[0].filename().string(), "), which are not read in place: `magicid import ",
                    folder.string(), " OUT` writes them as a folder that is");
  else throw UserError(folder.string(), ": has no weights; model.safetensors, diffusion_pytorch_model.safetensors or their .index.json was expected");
  return files;
}

}  // namespace magicid::models::nn
