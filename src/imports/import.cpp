#include "imports/import.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "base/errors.h"
#include "base/names.h"
#include "base/progress.h"
#include "imports/kinds.h"
#include "models/nn/network_config.h"
#include "models/nn/scaled_weights.h"
#include "storage/atomic_file.h"
#include "storage/files.h"
#include "storage/safetensors.h"

namespace magicid::imports {
namespace {

using base::UserError;
using models::nn::ImportPlan;
using models::nn::WeightSource;
using nlohmann::json;
namespace fs = std::filesystem;

void check_empty(const fs::path& out) {
  for (const auto& path : storage::list_folder(out)) {
    const std::string name = path.filename().string();
    if (name == "config.json" || name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json"))
      throw UserError(out.string(), ": holds ", name, " already; name a folder that is not there, or remove it first");
  }
}

void check_plan(const ImportPlan& plan, const fs::path& source, const std::string& kind, bool drop_surplus) {
  if (plan.missing.empty() && plan.wrong.empty() && (plan.surplus.empty() || drop_surplus)) return;
  std::ostringstream text;
  text << source.string() << ": is no whole " << kind << " (" << plan.layout << ").";
  const auto list = [&](const char* title, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    text << "\n  " << lines.size() << ' ' << title << ':';
    for (const auto& line : lines) text << "\n    " << line;
  };
  list("missing", plan.missing);
  list("of another shape", plan.wrong);
  list(drop_surplus ? "surplus, left out" : "surplus (--drop-surplus leaves them out)", plan.surplus);
  text << "\n  Was the download complete? Sizes were read from the shapes; --config FILE takes them from a config.json.";
  throw UserError(text.str());
}

// Tensors by file, in the order of their names.
std::vector<std::vector<storage::LazyTensor>> into_shards(std::vector<storage::LazyTensor> tensors, std::uint64_t limit) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::vector<std::vector<storage::LazyTensor>> shards(1);
  std::uint64_t size = 0;
  for (auto& tensor : tensors) {
    if (size > 0 && size + tensor.bytes() > limit) {
      shards.emplace_back();
      size = 0;
    }
    size += tensor.bytes();
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

std::string shard_name(const std::string& stem, std::size_t index, std::size_t count) {
  if (count == 1) return stem + ".safetensors";
  char number[32];
  std::snprintf(number, sizeof number, "-%05zu-of-%05zu", index + 1, count);
  return stem + number + ".safetensors";
}

std::uint64_t total_bytes(const ImportPlan& plan) {
  std::uint64_t total = 0;
  for (const auto& tensor : plan.tensors) total += tensor.bytes();
  return total;
}

void write_folder(const ImportPlan& plan, const fs::path& out, std::uint64_t shard) {
  std::error_code failure;
  fs::create_directories(out, failure);
  if (failure) throw base::SystemError(out.string(), ": cannot be made: ", failure.message());
  const std::uint64_t total = total_bytes(plan);
  const auto shards = into_shards(plan.tensors, shard);
  json index = {{"metadata", {{"total_size", total}}}, {"weight_map", json::object()}};
  base::Progress progress("import", static_cast<std::int64_t>(plan.tensors.size()), true);
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(plan.weights, i, shards.size());
    for (const auto& tensor : shards[i]) index["weight_map"][tensor.name] = name;
    storage::write_safetensors(out / name, shards[i], {{"format", "pt"}}, [&](std::uint64_t) { progress.advance(); });
  }
  if (shards.size() > 1) storage::write_text_atomically(out / (plan.weights + ".safetensors.index.json"), index.dump(2) + "\n");
  for (const auto& [name, value] : plan.other_files) storage::write_text_atomically(out / name, value.dump(2) + "\n");
  storage::write_text_atomically(out / "config.json", plan.config.dump(2) + "\n");
}

}  // namespace

std::string import_weights(const fs::path& path, const fs::path& out, const ImportOptions& options) {
  if (!storage::exists(path)) throw UserError(path.string(), ": no such file or folder; weights to import were expected");
  check_empty(out);
  WeightSource source = WeightSource::open(path);
  models::nn::apply_scales(source);
  const auto known = recognise(source, options.kind);
  if (!known)
    throw UserError(path.string(), ": is no ", options.kind == "auto" ? "network that this program knows" : options.kind, " by the names of its ",
                    source.tensors.size(), " tensors. `magicid inspect ", path.string(), "` shows what it holds; kinds are ", base::join_names(kinds()));
  // A network's folder brings its own.
  fs::path config_file = options.config;
  if (config_file.empty() && fs::is_directory(path) && storage::exists(path / "config.json")) config_file = path / "config.json";
  std::optional<json> config;
  if (!config_file.empty()) config = models::nn::NetworkConfig::open(config_file).value();
  ImportPlan plan = known->network->plan(source.below(known->prefix), config);
  check_plan(plan, path, known->network->kind, options.drop_surplus);
  write_folder(plan, out, options.shard);

  std::ostringstream text;
  text << out.string() << ": " << known->network->what << " (" << known->network->kind << ") from " << plan.layout << ", " << plan.tensors.size()
       << " tensors, " << total_bytes(plan) << " bytes";
  text << "\n  config.json: " << (config ? "from " + config_file.string() : "sizes read from the tensors' shapes");
  if (!config && !plan.assumed.empty()) text << "; of the published model, since no shape tells them: " << base::join_names(plan.assumed);
  for (const auto& note : source.notes) text << "\n  " << note;
  if (!plan.surplus.empty()) text << "\n  left out, as the network has none of that name: " << base::join_names(plan.surplus, 5);
  return text.str();
}

}  // namespace magicid::imports
