#include "models/nn/scaled_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/names.h"
#include "storage/files.h"
#include "storage/torch_file.h"

namespace magicid::models::nn {
namespace {

using base::UserError;
namespace fs = std::filesystem;

// Half of what each type can hold: a scaled tensor's largest value is near the whole.
constexpr double kLargestPlainE4m3 = 224, kLargestPlainE5m2 = 28672;

bool is_fp8(at::ScalarType type) { return type == at::kFloat8_e4m3fn || type == at::kFloat8_e5m2; }

bool ends_with_any(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](const char* ending) { return name.ends_with(ending); });
}

// Marks, and scales of activations: they change how fast a product is computed, not what the weights are.
bool is_mark(const std::string& name) { return ends_with_any(name, {"scaled_fp8", ".scale_input", ".input_scale", ".comfy_quant"}); }
bool is_scale(const std::string& name) { return ends_with_any(name, {".scale_weight", ".weight_scale", ".weight_scale_2", ".weight_scale_inv", ".fp8_scale"}); }

// `scale` [] or [1] for the whole, or one number for each row.
SourceTensor scaled(const SourceTensor& weight, const std::vector<std::int64_t>& scale_shape, const std::function<at::Tensor()>& scale,
                    const std::string& place) {
  std::int64_t count = 1;
  for (const auto extent : scale_shape) count *= extent;
  const bool by_row = count != 1;
  if (by_row && (weight.shape.empty() || count != weight.shape[0] || scale_shape[0] != count))
    throw UserError(place, ": tensor '", weight.name, "' has ", count, " scales; one for the tensor or one for each row is read. Take the model in bf16");
  SourceTensor result = weight;
  result.dtype = at::kBFloat16;
  result.read = [weight, scale, by_row, place] {
    at::Tensor factors = scale().to(at::kFloat).flatten();
    if (!factors.isfinite().all().item<bool>()) throw UserError(place, ": a scale of tensor '", weight.name, "' is not a finite number");
    if (by_row) {
      std::vector<std::int64_t> rows(weight.shape.size(), 1);
      rows[0] = -1;
      factors = factors.view(rows);
    }
    return (weight.read().to(at::kFloat) * factors).to(at::kBFloat16);
  };
  return result;
}

void check_comfy_format(const WeightSource& source, const std::string& name, const SourceTensor& mark) {
  const at::Tensor bytes = mark.read().contiguous();
  const std::string text(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes());
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const std::string format = json.is_object() && json.contains("format") && json["format"].is_string() ? json["format"].get<std::string>() : "unreadable";
  if (format != "float8_e4m3fn" && format != "float8_e5m2")
    throw UserError(source.path.string(), ": '", name, "' says that the weights beside it are in the format '", format,
                    "'; float8_e4m3fn and float8_e5m2 with their scales are read. Take the model in bf16 or fp8");
}

// Scales that stand in the file, "X.scale_weight" or "X.weight_scale" of "X.weight".
std::size_t apply_own_scales(WeightSource& source) {
  std::vector<std::string> gone;
  std::size_t count = 0;
  for (const auto& [name, tensor] : source.tensors) {
    if (name.ends_with(".comfy_quant")) check_comfy_format(source, name, tensor);
    if (is_mark(name)) gone.push_back(name);
    if (!is_scale(name)) continue;
    const std::string weight = name.substr(0, name.rfind('.')) + ".weight";
    const auto it = source.tensors.find(weight);
    if (!name.ends_with(".scale_weight") && !name.ends_with(".weight_scale"))
      throw UserError(source.path.string(), ": tensor '", name,
                      "' is a scale of a kind that is not read (scale_weight and weight_scale are). Take the model in bf16");
    if (it == source.tensors.end()) throw UserError(source.path.string(), ": '", name, "' is a scale, and there is no '", weight, "'");
    if (is_fp8(it->second.dtype)) {
      it->second = scaled(it->second, tensor.shape, tensor.read, source.path.string());
      ++count;
    } else if (!at::isFloatingType(it->second.dtype)) {
      throw UserError(source.path.string(), ": tensor '", weight, "' is scaled and of type ", c10::toString(it->second.dtype),
                      "; fp8 with scales is read. Take the model in bf16");
    }  // A scale beside a weight that is not in 8 bits is a leftover: ComfyUI's files keep it with layers that were left as they were.
    gone.push_back(name);
  }
  for (const auto& name : gone) source.tensors.erase(name);
  return count;
}

// Tencent's: the scales of the blocks' Linears stand in a file beside it, {"double_blocks.0.img_attn_qkv": tensor}.
std::size_t apply_map(WeightSource& source, const fs::path& map_path) {
  const auto map = storage::TorchFile::open(map_path);
  std::map<std::string, std::pair<std::vector<std::int64_t>, std::function<at::Tensor()>>> scales;
  for (const auto& name : map.names()) scales[name] = {map.shape(name), [map, name] { return map.at(name); }};
  for (const auto& [name, number] : map.numbers()) scales[name] = {std::vector<std::int64_t>{}, [number = number] { return at::tensor(number); }};
  std::set<std::string> used;
  for (auto& [name, tensor] : source.tensors) {
    if (!is_fp8(tensor.dtype) || !name.ends_with(".weight")) continue;
    const std::string module = name.substr(0, name.size() - std::string_view(".weight").size());
    for (const auto& candidate : {module, module.starts_with("module.") ? module.substr(7) : module}) {
      const auto it = scales.find(candidate);
      if (it == scales.end() || used.contains(candidate)) continue;
      tensor = scaled(tensor, it->second.first, it->second.second, map_path.string());
      used.insert(candidate);
    }
  }
  std::vector<std::string> left;
  for (const auto& [name, scale] : scales)
    if (!used.contains(name)) left.push_back(name);
  if (!left.empty())
    throw UserError(map_path.string(), ": holds ", left.size(), " scales of layers that are not fp8 weights of ", source.path.filename().string(), ": ",
                    base::join_names(left, 5), ". Do the two files belong together?");
  return used.size();
}

}  // namespace

void apply_scales(WeightSource& source) {
  const std::size_t own = apply_own_scales(source);
  if (own > 0) source.notes.push_back(base::concat(own, " fp8 tensors were multiplied by their scales and are written in bf16"));
  const fs::path map = source.path.parent_path() / (source.path.stem().string() + "_map.pt");
  const bool has_fp8 = std::any_of(source.tensors.begin(), source.tensors.end(), [](const auto& item) { return is_fp8(item.second.dtype); });
  if (!has_fp8) return;
  if (storage::exists(map)) {
    source.notes.push_back(
        base::concat(apply_map(source, map), " fp8 tensors were multiplied by their scales in ", map.filename().string(), " and are written in bf16"));
  } else if (source.path.stem().string().starts_with("mp_rank_") && source.path.stem().string().ends_with("_fp8")) {
    throw UserError(source.path.string(), ": Tencent's fp8 weights are only right times the scales in ", map.filename().string(),
                    ", which was expected beside it. Download it too");
  }
  for (auto& [name, tensor] : source.tensors)
    if (is_fp8(tensor.dtype))
      tensor.read = [read = tensor.read, place = source.path.string() + ": tensor '" + tensor.name + "'"] {
        at::Tensor values = read();
        check_plain_cast(values, place);
        return values;
      };
}

std::vector<std::string> scale_names(const std::vector<std::string>& names) {
  std::vector<std::string> found;
  for (const auto& name : names)
    if (is_mark(name) || is_scale(name)) found.push_back(name);
  return found;
}

void check_plain_cast(const at::Tensor& values, const std::string& place) {
  if (!is_fp8(values.scalar_type()) || values.numel() == 0) return;
  const double largest = values.to(at::kFloat).abs().max().item<double>();
  const double limit = values.scalar_type() == at::kFloat8_e4m3fn ? kLargestPlainE4m3 : kLargestPlainE5m2;
  if (!(largest < limit))
    throw UserError(place, ": its fp8 values reach ", largest,
                    ", as scaled weights do and weights themselves do not, and there is no scale beside it: read as they are they would be wrong. Take the "
                    "file that has its "
                    "scales (ComfyUI's fp8_scaled, Tencent's with its _map.pt), or the model in bf16");
}

}  // namespace magicid::models::nn
