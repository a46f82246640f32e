#include <algorithm>
#include <sstream>

#include "base/errors.h"
#include "base/names.h"
#include "imports/import.h"
#include "imports/kinds.h"
#include "models/nn/network_config.h"
#include "models/nn/scaled_weights.h"
#include "storage/files.h"

namespace magicid::imports {
namespace {

using base::UserError;
using models::nn::WeightSource;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kNamesShown = 20;

void measure(const WeightSource& source, Inspection& result) {
  for (const auto& [name, tensor] : source.tensors) {
    std::int64_t count = 1;
    for (const auto extent : tensor.shape) count *= extent;
    result.parameters += count;
    result.bytes += static_cast<std::uint64_t>(count) * c10::elementSize(tensor.dtype);
    ++result.dtypes[c10::toString(tensor.dtype)];
    result.names.push_back(tensor.name);
  }
}

// Whether every tensor is already under the name, and of the shape, in which a folder of ours holds it.
bool is_our_layout(const Inspection& result, const WeightSource& source) {
  return result.complete() && result.notes.empty() && std::all_of(result.plan.tensors.begin(), result.plan.tensors.end(), [&](const auto& tensor) {
           const auto it = source.tensors.find(tensor.name);
           return it != source.tensors.end() && it->second.shape == tensor.shape;
         });
}

// Folders whose networks this program reads in these names, too, without an import.
bool is_read_as_it_is(const Inspection& result, const WeightSource& source, bool folder) {
  if (!folder || !storage::exists(result.path / "config.json") || source.format != "safetensors" || !result.complete() || !result.notes.empty()) return false;
  const bool either_name = result.kind == "llama" || result.kind == "clip-text" || result.kind == "clip-image" || result.kind == "raft" ||
                           (result.kind == "hunyuanvideo-transformer" && result.plan.layout == "Tencent's names" && result.prefix.empty());
  return (either_name && result.plan.layout != "openai's names") || is_our_layout(result, source);
}

Inspection inspect_one(const fs::path& path) {
  Inspection result;
  result.path = path;
  WeightSource source = WeightSource::open(path);
  result.format = source.format;
  measure(source, result);
  try {
    models::nn::apply_scales(source);
    result.notes = source.notes;
    const auto known = recognise(source, "auto");
    if (!known) {
      if (source.prefix_of("visual.patch_embed.proj.weight") && source.prefix_of("layers.0.self_attn.q_proj.bias"))
        result.problem = "Qwen2.5-VL: a folder as transformers writes it (config.json, tokenizer, model*.safetensors) stays as it is";
      return result;
    }
    result.kind = known->network->kind;
    result.what = known->network->what;
    result.prefix = known->prefix;
    for (const auto& [name, tensor] : source.tensors)
      if (!name.starts_with(known->prefix)) result.elsewhere.push_back(name);
    std::optional<json> config;
    const bool folder = fs::is_directory(path);
    if (folder && storage::exists(path / "config.json")) config = models::nn::NetworkConfig::open(path / "config.json").value();
    result.plan = known->network->plan(source.below(known->prefix), config);
    result.ready = is_read_as_it_is(result, source, folder);
  } catch (const UserError& error) {
    result.problem = error.what();
  }
  return result;
}

std::string size_text(std::uint64_t bytes) {
  std::ostringstream text;
  text.precision(3);
  if (bytes >= 1'000'000'000) text << static_cast<double>(bytes) / 1e9 << " GB";
  else if (bytes >= 1'000'000) text << static_cast<double>(bytes) / 1e6 << " MB";
  else text << bytes << " bytes";
  return text.str();
}

}  // namespace

std::string Inspection::command() const {
  if (ready || kind.empty() || !problem.empty() || !plan.missing.empty() || !plan.wrong.empty()) return {};
  return "magicid import " + path.string() + " --as " + kind + (plan.surplus.empty() ? "" : " --drop-surplus") + " OUT";
}

std::vector<Inspection> inspect(const fs::path& path) {
  if (!storage::exists(path)) throw UserError(path.string(), ": no such file or folder; weights were expected");
  if (!fs::is_directory(path) || !storage::exists(path / "model_index.json")) return {inspect_one(path)};
  std::vector<Inspection> parts;
  for (const auto& below : storage::list_folder(path)) {
    if (!fs::is_directory(below)) continue;
    const auto files = storage::list_folder(below);
    const bool weights = std::any_of(files.begin(), files.end(), [](const fs::path& file) {
      const std::string extension = file.extension().string();
      return extension == ".safetensors" || extension == ".bin" || extension == ".pt" || extension == ".pth";
    });
    if (weights) parts.push_back(inspect_one(below));
  }
  if (parts.empty()) throw UserError(path.string(), ": a pipeline folder none of whose folders holds weights. Was the download complete?");
  return parts;
}

std::string as_text(const Inspection& result) {
  std::ostringstream text;
  text << result.path.string() << ": " << (result.kind.empty() ? "no network that this program knows" : result.what + " (" + result.kind + ")");
  if (!result.plan.layout.empty()) text << ", " << result.plan.layout;
  if (!result.prefix.empty()) text << " below '" << result.prefix << "'";
  text << "\n  " << result.format << ", " << result.names.size() << " tensors, " << result.parameters << " numbers, " << size_text(result.bytes) << ", ";
  bool first = true;
  for (const auto& [dtype, count] : result.dtypes) text << (first ? "" : ", ") << dtype << " (" << count << ")", first = false;
  const auto list = [&](const char* title, const std::vector<std::string>& lines) {
    if (!lines.empty()) text << "\n  " << lines.size() << ' ' << title << ": " << base::join_names(lines, kNamesShown);
  };
  for (const auto& note : result.notes) text << "\n  " << note;
  list("missing", result.plan.missing);
  list("of another shape", result.plan.wrong);
  list("surplus", result.plan.surplus);
  list("beside the network", result.elsewhere);
  if (!result.plan.config.is_null() && !result.ready) {
    text << "\n  config.json: " << result.plan.config.dump();
    if (!result.plan.assumed.empty()) text << "\n  no shape tells, and the published model has: " << base::join_names(result.plan.assumed);
  }
  if (result.kind.empty() && result.problem.empty())
    text << "\n  names: " << base::join_names(result.names, kNamesShown) << "\n  kinds: " << base::join_names(kinds());
  if (!result.problem.empty()) text << "\n  " << result.problem;
  if (result.ready) text << "\n  it is used as it is";
  if (const std::string command = result.command(); !command.empty()) text << "\n  make it usable: " << command;
  return text.str();
}

json as_json(const Inspection& result) {
  json object = {{"path", result.path.string()},
                 {"format", result.format},
                 {"kind", nullptr},
                 {"layout", result.plan.layout},
                 {"prefix", result.prefix},
                 {"tensors", result.names.size()},
                 {"parameters", result.parameters},
                 {"bytes", result.bytes},
                 {"dtypes", result.dtypes},
                 {"config", result.plan.config},
                 {"assumed", result.plan.assumed},
                 {"missing", result.plan.missing},
                 {"wrong", result.plan.wrong},
                 {"surplus", result.plan.surplus},
                 {"elsewhere", result.elsewhere},
                 {"notes", result.notes},
                 {"problem", nullptr},
                 {"complete", result.complete()},
                 {"ready", result.ready},
                 {"command", nullptr}};
  if (!result.kind.empty()) object["kind"] = result.kind;
  if (!result.problem.empty()) object["problem"] = result.problem;
  if (const std::string command = result.command(); !command.empty()) object["command"] = command;
  return object;
}

}  // namespace magicid::imports
