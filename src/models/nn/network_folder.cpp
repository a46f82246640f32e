#include "models/nn/network_folder.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "storage/atomic_file.h"

namespace magicid::models::nn {
namespace {

using nlohmann::json;
using storage::NamedTensors;

NamedTensors in_dtype(NamedTensors tensors, at::ScalarType dtype) {
  for (auto& [name, tensor] : tensors)
    if (tensor.is_floating_point()) tensor = tensor.to(dtype);
  return tensors;
}

std::vector<NamedTensors> shards_of(const NamedTensors& tensors, std::int64_t limit) {
  std::vector<NamedTensors> shards(1);
  std::int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto size = static_cast<std::int64_t>(tensor.nbytes());
    if (bytes + size > limit && !shards.back().empty()) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().emplace(name, tensor);
    bytes += size;
  }
  return shards;
}

std::string shard_name(const NetworkFile& file, std::size_t shard, std::size_t count) {
  if (count == 1) return file.stem + ".safetensors";
  char numbers[32];
  std::snprintf(numbers, sizeof numbers, "-%05zu-of-%05zu", shard + 1, count);
  return file.stem + numbers + ".safetensors";
}

}  // namespace

void write_network_folder(const std::filesystem::path& folder, const json& config, const NetworkFile& file, std::optional<std::uint64_t> seed,
                          const MakeTensors& make) {
  const auto shards = shards_of(in_dtype(make(InitialValues::shapes_alone()), file.dtype), file.shard_bytes);
  json index{{"metadata", {{"total_size", 0}}}, {"weight_map", json::object()}};
  std::int64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(file, i, shards.size());
    const NamedTensors& blank = shards[i];
    for (const auto& [tensor, shape] : blank) {
      index["weight_map"][tensor] = name;
      total += static_cast<std::int64_t>(shape.nbytes());
    }
    if (!seed) {
      storage::write_safetensors(folder / name, blank, {{"format", "pt"}});
      continue;
    }
    InitialValues values(*seed);
    values.only = [&](const std::string& tensor) { return blank.contains(tensor); };
    storage::write_safetensors(folder / name, in_dtype(make(values), file.dtype), {{"format", "pt"}});
  }
  index["metadata"]["total_size"] = total;
  if (shards.size() > 1) storage::write_text_atomically(folder / (file.stem + ".safetensors.index.json"), index.dump(2) + "\n");
  storage::write_text_atomically(folder / "config.json", config.dump(2) + "\n");
}

}  // namespace magicid::models::nn
