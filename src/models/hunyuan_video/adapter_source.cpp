#include "models/hunyuan_video/adapter_source.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>

#include "base/errors.h"
#include "models/hunyuan_video/adapter_names.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "storage/atomic_file.h"
#include "storage/files.h"

namespace magicid::models::hunyuan_video {
namespace {

namespace fs = std::filesystem;
using base::UserError;

constexpr const char* header_entry = "lora_adapter_metadata";
constexpr const char* diffusers_name = "pytorch_lora_weights.safetensors";
constexpr const char* peft_name = "adapter_model.safetensors";

// "single_blocks.12.linear1", "transformer_blocks_3_attn_to_q": the block's kind and number.
struct BlockOf {
  bool single = false;
  std::int64_t index = 0;
};
std::optional<BlockOf> block_of(const std::string& module) {
  for (const std::string kind : {"single_transformer_blocks", "transformer_blocks", "double_blocks", "single_blocks"}) {
    if (!module.starts_with(kind) || module.size() <= kind.size() + 1) continue;
    const std::string digits = module.substr(kind.size() + 1, module.find_first_of("._", kind.size() + 1) - kind.size() - 1);
    if (digits.empty() || digits.size() > 4 || !std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c); })) return std::nullopt;
    return BlockOf{kind.starts_with("single"), std::stoll(digits)};
  }
  return std::nullopt;
}

bool written_by_peft(const storage::SafetensorsFile& file) {
  const auto names = file.names();
  return file.path().filename() == peft_name ||
         std::any_of(names.begin(), names.end(), [](const std::string& key) { return key.starts_with("base_model.model."); });
}

fs::path config_beside(const storage::SafetensorsFile& file) { return file.path().parent_path() / "adapter_config.json"; }

}  // namespace

fs::path adapter_file_of(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  const bool diffusers = storage::exists(path / diffusers_name), peft = storage::exists(path / peft_name);
  if (diffusers && peft) throw UserError(path.string(), ": holds both ", diffusers_name, " and ", peft_name, "; name the one that is meant");
  if (diffusers) return path / diffusers_name;
  if (peft) return path / peft_name;
  if (storage::exists(path / "adapter_model.bin"))
    throw UserError(path.string(), ": holds adapter_model.bin, a pickle, which this program does not read; save the adapter with safe_serialization=True");
  throw UserError(path.string(), ": a folder without ", diffusers_name, " or ", peft_name, "; name the adapter's file itself");
}

PeftConfig peft_config_of(const storage::SafetensorsFile& file, std::vector<std::string>& warnings) {
  const auto entry = file.metadata().find(header_entry);
  if (entry != file.metadata().end()) return PeftConfig::parse(entry->second, base::concat(file.path().string(), ": the header's '", header_entry, "'"));
  if (!written_by_peft(file)) return {};
  const fs::path beside = config_beside(file);
  if (storage::exists(beside)) return PeftConfig::parse(storage::read_text(beside), beside.string());
  const auto names = file.names();
  if (std::none_of(names.begin(), names.end(), [](const std::string& key) { return key.ends_with(".alpha"); }))
    warnings.push_back(
        file.path().string() +
        ": written by PEFT, whose adapter_config.json with the adapter's alpha is not beside it; alpha = rank is taken. Put the file back where it "
        "was if the adapter had another");
  return {};
}

std::vector<fs::path> files_of_adapter(const fs::path& path) {
  std::vector<fs::path> files{adapter_file_of(path)};
  if (files[0].extension() == ".h5") return files;
  const auto file = storage::SafetensorsFile::open(files[0]);
  if (!file.metadata().contains(header_entry) && written_by_peft(file) && storage::exists(config_beside(file))) files.push_back(config_beside(file));
  return files;
}

TransformerConfig sizes_of_adapter(const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& shapes, const std::string& origin) {
  TransformerConfig config;
  config.num_layers = config.num_single_layers = 0;
  // Columns of A and rows of B, by module.
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> sizes;
  for (const auto& [key, shape] : shapes) {
    std::string reason;
    const auto parsed = parse_adapter_key(key, reason);
    if (!parsed || is_text_encoder_key(key)) continue;
    const auto block = block_of(parsed->module);
    if (!block) continue;
    auto& blocks = block->single ? config.num_single_layers : config.num_layers;
    blocks = std::max(blocks, block->index + 1);
    if (shape.size() != 2) continue;
    auto& [in, out] = sizes[flattened_name(parsed->module)];
    if (parsed->factor == Factor::a) in = shape[1];
    else out = shape[0];
  }
  if (sizes.empty())
    throw UserError(origin,
                    ": no key names a module of HunyuanVideo's double or single blocks as LoRA; expected keys of diffusers', kohya's or ComfyUI's layout");
  // Each module has the width on one side.
  std::int64_t width = 0, mlp = 0;
  const auto ends = [](const std::string& name, std::initializer_list<const char*> texts) {
    return std::any_of(texts.begin(), texts.end(), [&](const char* text) { return name.ends_with(text); });
  };
  for (const auto& [name, size] : sizes) width = std::max(width, ends(name, {"fc2", "net_2", "linear2", "proj_out"}) ? size.second : size.first);
  for (const auto& [name, size] : sizes) {
    if (ends(name, {"fc1", "net_0_proj", "proj_mlp"})) mlp = std::max(mlp, size.second);
    else if (ends(name, {"fc2", "net_2"})) mlp = std::max(mlp, size.first);
    else if (ends(name, {"linear2", "proj_out"})) mlp = std::max(mlp, size.first - width);
    else if (ends(name, {"linear1"})) mlp = std::max(mlp, size.second - 3 * width);
  }
  if (width < 1) throw UserError(origin, ": the factors have no shapes of a LoRA; expected A [rank, in] and B [out, rank]");
  config.num_attention_heads = 1;
  config.attention_head_dim = width;
  // Half a unit more, since the product with the width is cut to an integer.
  config.mlp_ratio = mlp < 1 ? 4.0 : (static_cast<double>(mlp) + 0.5) / static_cast<double>(width);
  return config;
}

generator::StoredLinears stored_linears(const TransformerConfig& config, const fs::path& folder) {
  generator::StoredParts parts;
  for (const auto& linear : block_linears(config))
    for (const auto& part : linear.parts) parts[linear.name].push_back({part.name, part.rows});
  return generator::StoredLinears::open(adaptable(config), parts, folder);
}

}  // namespace magicid::models::hunyuan_video
