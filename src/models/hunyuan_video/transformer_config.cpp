#include "models/hunyuan_video/transformer_config.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/errors.h"

namespace magicid::models::hunyuan_video {
namespace {

using base::UserError;
constexpr const char* kClass = "HunyuanVideoTransformer3DModel";

class Reader {
 public:
  Reader(const nlohmann::json& json, const std::string& origin) : json_(json), origin_(origin) {}

  void size(const char* key, std::int64_t& value, std::int64_t least = 1) const {
    if (!json_.contains(key)) return;
    const auto& entry = json_[key];
    if (!entry.is_number_integer() || entry.get<std::int64_t>() < least || entry.get<std::int64_t>() > (std::int64_t{1} << 24))
      throw UserError(origin_, ": '", key, "' is ", entry.dump(), "; expected a whole number of at least ", least);
    value = entry.get<std::int64_t>();
  }

  void positive(const char* key, double& value) const {
    if (!json_.contains(key)) return;
    const auto& entry = json_[key];
    if (!entry.is_number() || !std::isfinite(entry.get<double>()) || entry.get<double>() <= 0)
      throw UserError(origin_, ": '", key, "' is ", entry.dump(), "; expected a positive number");
    value = entry.get<double>();
  }

  void flag(const char* key, bool& value) const {
    if (!json_.contains(key)) return;
    if (!json_[key].is_boolean()) throw UserError(origin_, ": '", key, "' is ", json_[key].dump(), "; expected true or false");
    value = json_[key].get<bool>();
  }

  bool null_or_absent(const char* key) const { return !json_.contains(key) || json_[key].is_null(); }

 private:
  const nlohmann::json& json_;
  const std::string& origin_;
};

}  // namespace

TransformerConfig TransformerConfig::from_json(const nlohmann::json& json, const std::string& origin) {
  if (!json.is_object()) throw UserError(origin, ": expected a JSON object with the transformer's configuration");
  if (json.contains("_class_name") && json["_class_name"] != kClass)
    throw UserError(origin, ": '_class_name' is ", json["_class_name"].dump(), "; expected \"", kClass, "\"");
  TransformerConfig config;
  const Reader reader(json, origin);
  reader.size("in_channels", config.in_channels);
  config.out_channels = config.in_channels;
  if (!reader.null_or_absent("out_channels")) reader.size("out_channels", config.out_channels);
  reader.size("num_attention_heads", config.num_attention_heads);
  reader.size("attention_head_dim", config.attention_head_dim);
  reader.size("num_layers", config.num_layers, 0);
  reader.size("num_single_layers", config.num_single_layers, 0);
  reader.size("num_refiner_layers", config.num_refiner_layers, 0);
  reader.positive("mlp_ratio", config.mlp_ratio);
  reader.size("patch_size", config.patch_size);
  reader.size("patch_size_t", config.patch_size_t);
  reader.flag("guidance_embeds", config.guidance_embeds);
  reader.size("text_embed_dim", config.text_embed_dim);
  reader.size("pooled_projection_dim", config.pooled_projection_dim);
  reader.positive("rope_theta", config.rope_theta);

  if (json.contains("qk_norm")) {
    const auto& norm = json["qk_norm"];
    if (!norm.is_null() && norm != "rms_norm")
      throw UserError(origin, ": 'qk_norm' is ", norm.dump(), "; this program computes \"rms_norm\" or null");
    config.qk_norm = !norm.is_null();
  }
  if (!reader.null_or_absent("image_condition_type"))
    throw UserError(origin, ": 'image_condition_type' is ", json["image_condition_type"].dump(),
                    ": an image-to-video transformer; expected null, the text-to-video model");
  if (json.contains("rope_axes_dim")) {
    const auto& axes = json["rope_axes_dim"];
    bool valid = axes.is_array() && axes.size() == 3;
    for (std::size_t i = 0; valid && i < 3; ++i) {
      valid = axes[i].is_number_integer() && axes[i].get<std::int64_t>() >= 0 && axes[i].get<std::int64_t>() % 2 == 0;
      if (valid) config.rope_axes_dim[i] = axes[i].get<std::int64_t>();
    }
    if (!valid) throw UserError(origin, ": 'rope_axes_dim' is ", axes.dump(), "; expected three even numbers: frames, height, width");
  }
  const auto& axes = config.rope_axes_dim;
  if (axes[0] + axes[1] + axes[2] != config.attention_head_dim)
    throw UserError(origin, ": the sum of 'rope_axes_dim' [", axes[0], ", ", axes[1], ", ", axes[2],
                    "] must be 'attention_head_dim', which is ", config.attention_head_dim);
  if (config.mlp_width() < 1) throw UserError(origin, ": 'mlp_ratio' ", config.mlp_ratio, " leaves no hidden units at width ", config.width());
  return config;
}

TransformerConfig TransformerConfig::from_file(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw UserError(file.string(), ": cannot be read; expected the configuration of ", kClass, " as diffusers writes it");
  const nlohmann::json json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw UserError(file.string(), ": is not valid JSON");
  return from_json(json, file.string());
}

nlohmann::json TransformerConfig::to_json() const {
  nlohmann::json json = {{"_class_name", kClass},
                         {"in_channels", in_channels},
                         {"out_channels", out_channels},
                         {"num_attention_heads", num_attention_heads},
                         {"attention_head_dim", attention_head_dim},
                         {"num_layers", num_layers},
                         {"num_single_layers", num_single_layers},
                         {"num_refiner_layers", num_refiner_layers},
                         {"mlp_ratio", mlp_ratio},
                         {"patch_size", patch_size},
                         {"patch_size_t", patch_size_t},
                         {"qk_norm", nullptr},
                         {"guidance_embeds", guidance_embeds},
                         {"text_embed_dim", text_embed_dim},
                         {"pooled_projection_dim", pooled_projection_dim},
                         {"rope_theta", rope_theta},
                         {"rope_axes_dim", rope_axes_dim},
                         {"image_condition_type", nullptr}};
  if (qk_norm) json["qk_norm"] = "rms_norm";
  return json;
}

}  // namespace magicid::models::hunyuan_video
