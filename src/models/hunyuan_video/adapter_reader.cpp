// Reading LoRA files; writing is in adapter_files.cpp.

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>

#include "base/errors.h"
#include "base/names.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/transformer_layout.h"

namespace magicid::models::hunyuan_video {
namespace {

using nlohmann::json;

// The two halves of one module of the file.
struct Halves {
  at::Tensor a, b;
  std::optional<double> alpha;
};

// "x.lora_A.weight" -> {"x", 'A'}; 'S' is a scale; an adapter's name may stand in the middle ("lora_A.default.weight").
std::optional<std::pair<std::string, char>> split_key(const std::string& key) {
  static const std::pair<const char*, char> endings[] = {{".lora_A.weight", 'A'},         {".lora_B.weight", 'B'},       {".lora_A.default.weight", 'A'}, {".lora_B.default.weight", 'B'},
                                                         {".lora_down.weight", 'A'},      {".lora_up.weight", 'B'},      {".lora.down.weight", 'A'},      {".lora.up.weight", 'B'},
                                                         {".alpha", 'S'}};
  for (const auto& [ending, kind] : endings)
    if (key.ends_with(ending)) return std::pair(key.substr(0, key.size() - std::string(ending).size()), kind);
  return std::nullopt;
}

std::string without_prefix(const std::string& name) {
  for (const char* prefix : {"transformer.", "diffusion_model.", "base_model.model."})
    if (name.starts_with(prefix)) return name.substr(std::string(prefix).size());
  return name;
}

// PEFT's configuration of the transformer: alpha for each of diffusers' modules.
class PeftScales {
 public:
  PeftScales(const storage::SafetensorsFile& file) {
    const auto found = file.metadata().find("lora_adapter_metadata");
    if (found == file.metadata().end()) return;
    const json parsed = json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) throw base::UserError(file.path().string(), ": its metadata entry lora_adapter_metadata is not a JSON object");
    for (const auto& [key, value] : parsed.items()) {
      const std::string name = key.starts_with("transformer.") ? key.substr(12) : key;
      if (name == "lora_alpha" && value.is_number()) alpha_ = value.get<double>();
      if (name == "alpha_pattern" && value.is_object())
        for (const auto& [module, alpha] : value.items())
          if (alpha.is_number()) pattern_[module] = alpha.get<double>();
      if (name == "use_dora" && value == true) throw base::UserError(file.path().string(), ": was trained with DoRA (use_dora), which is not supported");
      if (name == "use_rslora" && value == true) rslora_ = true;
    }
  }

  // PEFT takes a pattern for every module whose name ends with it.
  std::optional<double> alpha(const std::string& module, std::int64_t rank) const {
    std::optional<double> alpha = alpha_;
    for (const auto& [pattern, value] : pattern_)
      if (module == pattern || module.ends_with("." + pattern)) alpha = value;
    // rsLoRA divides by the root of the rank; as alpha over rank it is alpha times that root.
    if (alpha && rslora_) *alpha *= std::sqrt(static_cast<double>(rank));
    return alpha;
  }

 private:
  std::optional<double> alpha_;
  std::map<std::string, double> pattern_;
  bool rslora_ = false;
};

// Parts of one fused module, in row order; null where the file has none.
AdapterValues fuse(const BlockLinear& linear, const std::vector<const Halves*>& parts) {
  const Halves* first = nullptr;
  bool same = true;
  for (const Halves* part : parts) {
    if (!part) continue;
    if (!first) first = part;
    same = same && part->alpha == first->alpha && part->a.sizes() == first->a.sizes() && at::equal(part->a, first->a);
  }
  if (same) {
    std::vector<at::Tensor> rows;
    for (std::size_t i = 0; i < parts.size(); ++i)
      rows.push_back(parts[i] ? parts[i]->b : at::zeros({linear.parts[i].rows, first->a.size(0)}));
    return {.a = first->a, .b = at::cat(rows, 0), .alpha = *first->alpha};
  }
  std::int64_t rank = 0;
  for (const Halves* part : parts) rank += part ? part->a.size(0) : 0;
  AdapterValues fused{.b = at::zeros({linear.out, rank}), .alpha = static_cast<double>(rank)};
  std::vector<at::Tensor> a;
  std::int64_t row = 0, column = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i]) {
      const std::int64_t own = parts[i]->a.size(0);
      a.push_back(parts[i]->a);
      fused.b.narrow(0, row, linear.parts[i].rows).narrow(1, column, own).copy_(parts[i]->b * (*parts[i]->alpha / static_cast<double>(own)));
      column += own;
    }
    row += linear.parts[i].rows;
  }
  fused.a = at::cat(a, 0);
  return fused;
}

}  // namespace

Adapter load_adapter(const TransformerConfig& config, const std::filesystem::path& path, const nn::Placement& placement) {
  const auto file = storage::SafetensorsFile::open(path);
  const PeftScales scales(file);
  const auto linears = block_linears(config);
  // Every name that a module may have -> its fused module, and which part of it (-1: the whole).
  struct Place {
    std::size_t linear;
    int part;
    std::int64_t rows, in;
  };
  std::map<std::string, Place> places;
  std::vector<std::string> known;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const Place whole{i, -1, linears[i].out, linears[i].in};
    std::string kohya = "lora_unet_" + linears[i].name;
    for (char& c : kohya)
      if (c == '.') c = '_';
    places[linears[i].name] = places[kohya] = whole;
    for (std::size_t p = 0; p < linears[i].parts.size(); ++p) places[linears[i].parts[p].name] = {i, static_cast<int>(p), linears[i].parts[p].rows, linears[i].in};
  }
  for (const auto& [name, place] : places) known.push_back(name);

  std::map<std::string, Halves> found;
  std::vector<std::string> problems;
  for (const auto& key : file.names()) {
    const auto split = split_key(key);
    const std::string module = split ? without_prefix(split->first) : "";
    if (!split) {
      const bool dora = key.find("magnitude") != std::string::npos || key.find("dora") != std::string::npos;
      problems.push_back(key + (dora ? ": DoRA is not supported" : ": is no part of a LoRA"));
    } else if (!places.contains(module)) {
      problems.push_back(key + ": no Linear of this model's blocks" + base::did_you_mean(module, known));
    } else {
      const at::Tensor value = file.at(key).to(at::kFloat);
      Halves& halves = found[module];
      if (split->second == 'S') halves.alpha = value.item<double>();
      else (split->second == 'A' ? halves.a : halves.b) = value;
    }
  }
  for (auto& [module, halves] : found) {
    const Place& place = places.at(module);
    if (!halves.a.defined() || !halves.b.defined()) {
      problems.push_back(module + (halves.a.defined() ? ": lora_B is missing" : ": lora_A is missing"));
      continue;
    }
    if (halves.a.dim() != 2 || halves.b.dim() != 2 || halves.a.size(0) < 1 || halves.a.size(1) != place.in || halves.b.size(0) != place.rows || halves.b.size(1) != halves.a.size(0)) {
      problems.push_back(base::concat(module, ": A ", halves.a.sizes(), " and B ", halves.b.sizes(), ", expected [r, ", place.in, "] and [", place.rows, ", r]"));
      continue;
    }
    const std::int64_t rank = halves.a.size(0);
    if (!halves.alpha) halves.alpha = place.part >= 0 ? scales.alpha(module, rank) : std::nullopt;
    if (!halves.alpha) halves.alpha = static_cast<double>(rank);
  }
  if (!problems.empty()) {
    std::string text;
    for (const auto& problem : problems) text += "\n  " + problem;
    throw base::UserError(path.string(), ": ", problems.size(), " of its entries cannot be used with this model:", text, "\n  Was it trained for another model?");
  }
  if (found.empty()) throw base::UserError(path.string(), ": holds no LoRA (names that end with lora_A.weight, lora_down.weight, ...)");

  std::map<std::size_t, std::vector<const Halves*>> parts;
  std::map<std::string, AdapterValues> values;
  for (const auto& [module, halves] : found) {
    const Place& place = places.at(module);
    const BlockLinear& linear = linears[place.linear];
    if (place.part < 0) {
      values[linear.name] = {.a = halves.a, .b = halves.b, .alpha = *halves.alpha};
    } else {
      auto& list = parts[place.linear];
      list.resize(linear.parts.size(), nullptr);
      list[static_cast<std::size_t>(place.part)] = &halves;
    }
  }
  for (const auto& [index, list] : parts) {
    if (values.contains(linears[index].name)) throw base::UserError(path.string(), ": holds ", linears[index].name, " twice, as a whole and in parts");
    values[linears[index].name] = fuse(linears[index], list);
  }
  return Adapter::from_values(config, values, path.string(), placement);
}

}  // namespace magicid::models::hunyuan_video
