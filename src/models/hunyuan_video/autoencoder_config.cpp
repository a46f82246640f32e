#include "models/hunyuan_video/autoencoder_config.h"

#include <bit>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "storage/atomic_file.h"

namespace magicid::models::hunyuan_video {
namespace {

using nlohmann::json;
using Shapes = std::map<std::string, std::vector<std::int64_t>>;

constexpr const char* kClass = "AutoencoderKLHunyuanVideo";
constexpr const char* kDownBlock = "HunyuanVideoDownBlock3D";
constexpr const char* kUpBlock = "HunyuanVideoUpBlock3D";

// Reads single values of the JSON object with messages that name file and key.
class Reader {
 public:
  Reader(const json& object, const std::string& origin) : object_(object), origin_(origin) {
    if (!object.is_object()) throw base::UserError(origin, ": expected a JSON object, found ", object.type_name());
  }

  template <class... Parts>
  [[noreturn]] void fail(const char* key, const Parts&... parts) const {
    throw base::UserError(origin_, ": key '", key, "': ", parts...);
  }

  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void positive(const char* key, std::int64_t& value) const {
    const json* found = find(key);
    if (!found) return;
    value = positive_number(key, *found);
  }

  void positive_list(const char* key, std::vector<std::int64_t>& values) const {
    const json* found = find(key);
    if (!found) return;
    if (!found->is_array() || found->empty()) fail(key, "expected a list of positive whole numbers, found ", found->dump());
    values.clear();
    for (const json& item : *found) values.push_back(positive_number(key, item));
  }

  void boolean(const char* key, bool& value) const {
    const json* found = find(key);
    if (!found) return;
    if (!found->is_boolean()) fail(key, "expected true or false, found ", found->dump());
    value = found->get<bool>();
  }

  void positive_real(const char* key, double& value) const {
    const json* found = find(key);
    if (!found) return;
    if (!found->is_number() || !(found->get<double>() > 0)) fail(key, "expected a positive number, found ", found->dump());
    value = found->get<double>();
  }

  // The key's text must be one of `known`.
  void one_of(const char* key, std::initializer_list<const char*> known) const {
    const json* found = find(key);
    if (found) check_known(key, *found, known);
  }

  // A list of `count` times `block`.
  void blocks(const char* key, std::size_t count, const char* block) const {
    const json* found = find(key);
    if (!found) {
      if (count != 4) fail(key, "absent, which stands for four levels, but block_out_channels has ", count);
      return;
    }
    if (!found->is_array() || found->size() != count)
      fail(key, "expected a list of ", count, " entries, as many as block_out_channels has, found ", found->dump());
    for (const json& item : *found) check_known(key, item, {block});
  }

 private:
  std::int64_t positive_number(const char* key, const json& item) const {
    if (!item.is_number_integer() || item.get<std::int64_t>() <= 0) fail(key, "expected a positive whole number, found ", item.dump());
    return item.get<std::int64_t>();
  }

  void check_known(const char* key, const json& item, std::initializer_list<const char*> known) const {
    std::string names;
    for (const char* name : known) {
      if (item.is_string() && item.get<std::string>() == name) return;
      names += (names.empty() ? "" : " or ") + std::string(name);
    }
    fail(key, "this program knows ", names, ", found ", item.dump());
  }

  const json& object_;
  const std::string& origin_;
};

void check_sizes(const AutoencoderConfig& config, const Reader& reader) {
  for (const std::int64_t channels : config.block_out_channels)
    if (channels % config.norm_num_groups != 0)
      reader.fail("norm_num_groups", config.norm_num_groups, " does not divide the ", channels, " channels of a level (block_out_channels)");
  if (config.temporal_compression_ratio != 4)
    reader.fail("temporal_compression_ratio", "the decoder of this architecture exists for 4 only, found ", config.temporal_compression_ratio);
  if (config.levels() < 3)
    reader.fail("block_out_channels", "a temporal compression of 4 needs at least 3 levels, found ", config.levels());
  const auto spatial = static_cast<std::uint64_t>(config.spatial_compression_ratio);
  if (!std::has_single_bit(spatial) || static_cast<std::int64_t>(std::bit_width(spatial)) - 1 > config.levels())
    reader.fail("spatial_compression_ratio", "expected a power of two up to 2^", config.levels(), " (one halving for each level), found ", spatial);
}

void add_norm(Shapes& shapes, const std::string& name, std::int64_t channels) {
  shapes[name + ".weight"] = {channels};
  shapes[name + ".bias"] = {channels};
}

void add_conv(Shapes& shapes, const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel) {
  shapes[name + ".weight"] = {out, in, kernel, kernel, kernel};
  shapes[name + ".bias"] = {out};
}

void add_linear(Shapes& shapes, const std::string& name, std::int64_t width) {
  shapes[name + ".weight"] = {width, width};
  shapes[name + ".bias"] = {width};
}

void add_resnet(Shapes& shapes, const std::string& name, std::int64_t out, std::int64_t in) {
  add_norm(shapes, name + ".norm1", in);
  add_conv(shapes, name + ".conv1.conv", out, in, 3);
  add_norm(shapes, name + ".norm2", out);
  add_conv(shapes, name + ".conv2.conv", out, out, 3);
  if (in != out) add_conv(shapes, name + ".conv_shortcut.conv", out, in, 1);
}

void add_mid_block(Shapes& shapes, const std::string& name, std::int64_t channels, bool attention) {
  add_resnet(shapes, name + ".resnets.0", channels, channels);
  add_resnet(shapes, name + ".resnets.1", channels, channels);
  if (!attention) return;
  add_norm(shapes, name + ".attentions.0.group_norm", channels);
  for (const char* part : {"to_q", "to_k", "to_v", "to_out.0"}) add_linear(shapes, name + ".attentions.0." + part, channels);
}

}  // namespace

AutoencoderConfig AutoencoderConfig::from_json(const json& object, const std::string& origin) {
  const Reader reader(object, origin);
  AutoencoderConfig config;
  reader.one_of("_class_name", {kClass});
  reader.one_of("act_fn", {"silu", "swish"});
  reader.positive("in_channels", config.in_channels);
  reader.positive("out_channels", config.out_channels);
  reader.positive("latent_channels", config.latent_channels);
  reader.positive_list("block_out_channels", config.block_out_channels);
  reader.positive("layers_per_block", config.layers_per_block);
  reader.positive("norm_num_groups", config.norm_num_groups);
  reader.positive("spatial_compression_ratio", config.spatial_compression_ratio);
  reader.positive("temporal_compression_ratio", config.temporal_compression_ratio);
  reader.boolean("mid_block_add_attention", config.mid_block_add_attention);
  reader.positive_real("scaling_factor", config.scaling_factor);
  reader.blocks("down_block_types", config.block_out_channels.size(), kDownBlock);
  reader.blocks("up_block_types", config.block_out_channels.size(), kUpBlock);
  check_sizes(config, reader);
  return config;
}

AutoencoderConfig AutoencoderConfig::from_folder(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "config.json";
  json object;
  try {
    object = json::parse(storage::read_text(file));
  } catch (const json::exception& error) {
    throw base::UserError(file.string(), ": not valid JSON: ", error.what());
  }
  return from_json(object, file.string());
}

json AutoencoderConfig::to_json() const {
  return {{"_class_name", kClass},
          {"act_fn", "silu"},
          {"in_channels", in_channels},
          {"out_channels", out_channels},
          {"latent_channels", latent_channels},
          {"block_out_channels", block_out_channels},
          {"down_block_types", std::vector<std::string>(block_out_channels.size(), kDownBlock)},
          {"up_block_types", std::vector<std::string>(block_out_channels.size(), kUpBlock)},
          {"layers_per_block", layers_per_block},
          {"norm_num_groups", norm_num_groups},
          {"spatial_compression_ratio", spatial_compression_ratio},
          {"temporal_compression_ratio", temporal_compression_ratio},
          {"mid_block_add_attention", mid_block_add_attention},
          {"scaling_factor", scaling_factor}};
}

std::array<std::int64_t, 3> AutoencoderConfig::stride(std::int64_t level) const {
  const std::int64_t spatial_levels = std::bit_width(static_cast<std::uint64_t>(spatial_compression_ratio)) - 1;
  const std::int64_t temporal_levels = std::bit_width(static_cast<std::uint64_t>(temporal_compression_ratio)) - 1;
  // Space is halved on the first levels, time on the last ones before the final level.
  const std::int64_t space = level < spatial_levels ? 2 : 1;
  const std::int64_t time = level >= levels() - 1 - temporal_levels && level != levels() - 1 ? 2 : 1;
  return {time, space, space};
}

Shapes AutoencoderConfig::parameter_shapes() const {
  Shapes shapes;
  const auto sampled = [&](std::int64_t level) { return stride(level) != std::array<std::int64_t, 3>{1, 1, 1}; };
  const std::int64_t last = block_out_channels.back();

  add_conv(shapes, "encoder.conv_in.conv", block_out_channels[0], in_channels, 3);
  std::int64_t channels = block_out_channels[0];
  for (std::int64_t level = 0; level < levels(); ++level) {
    const std::string name = "encoder.down_blocks." + std::to_string(level);
    for (std::int64_t layer = 0; layer < layers_per_block; ++layer) {
      add_resnet(shapes, name + ".resnets." + std::to_string(layer), block_out_channels[level], channels);
      channels = block_out_channels[level];
    }
    if (sampled(level)) add_conv(shapes, name + ".downsamplers.0.conv.conv", channels, channels, 3);
  }
  add_mid_block(shapes, "encoder.mid_block", last, mid_block_add_attention);
  add_norm(shapes, "encoder.conv_norm_out", last);
  add_conv(shapes, "encoder.conv_out.conv", 2 * latent_channels, last, 3);
  add_conv(shapes, "quant_conv", 2 * latent_channels, 2 * latent_channels, 1);

  add_conv(shapes, "post_quant_conv", latent_channels, latent_channels, 1);
  add_conv(shapes, "decoder.conv_in.conv", last, latent_channels, 3);
  add_mid_block(shapes, "decoder.mid_block", last, mid_block_add_attention);
  channels = last;
  for (std::int64_t level = 0; level < levels(); ++level) {
    const std::string name = "decoder.up_blocks." + std::to_string(level);
    const std::int64_t out = block_out_channels[levels() - 1 - level];
    for (std::int64_t layer = 0; layer < layers_per_block + 1; ++layer) {
      add_resnet(shapes, name + ".resnets." + std::to_string(layer), out, channels);
      channels = out;
    }
    if (sampled(level)) add_conv(shapes, name + ".upsamplers.0.conv.conv", channels, channels, 3);
  }
  add_norm(shapes, "decoder.conv_norm_out", channels);
  add_conv(shapes, "decoder.conv_out.conv", out_channels, channels, 3);
  return shapes;
}

}  // namespace magicid::models::hunyuan_video
