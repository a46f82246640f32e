#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "models/hunyuan_video/autoencoder_config.h"
#include "models/hunyuan_video/published.h"
#include "models/nn/network_config.h"

namespace magicid::models::hunyuan_video {
namespace {

using base::UserError;
using nn::ImportPlan;
using nn::PlanBuilder;
using nn::WeightSource;

constexpr const char* kDiffusersSignature = "encoder.down_blocks.0.resnets.0.conv1.conv.weight";
constexpr const char* kOriginalSignature = "encoder.down.0.block.0.conv1.conv.weight";

// latent-diffusion's names: `level`s of the decoder count from the finest on, diffusers' from the coarsest.
std::string diffusers_autoencoder_name(std::string name, std::int64_t levels) {
  const auto replace = [&](const std::string& from, const std::string& to) {
    if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
  };
  for (std::int64_t level = 0; level < levels; ++level) {
    const std::string down = base::concat("encoder.down.", level, "."), up = base::concat("decoder.up.", level, ".");
    if (name.starts_with(down)) name = base::concat("encoder.down_blocks.", level, ".") + name.substr(down.size());
    if (name.starts_with(up)) name = base::concat("decoder.up_blocks.", levels - 1 - level, ".") + name.substr(up.size());
  }
  replace(".block.", ".resnets.");
  replace(".downsample.", ".downsamplers.0.");
  replace(".upsample.", ".upsamplers.0.");
  replace(".mid.block_1.", ".mid_block.resnets.0.");
  replace(".mid.block_2.", ".mid_block.resnets.1.");
  if (name.find(".mid.attn_1.") != std::string::npos) {
    replace(".mid.attn_1.", ".mid_block.attentions.0.");
    replace(".norm.", ".group_norm.");
    replace(".q.", ".to_q.");
    replace(".k.", ".to_k.");
    replace(".v.", ".to_v.");
    replace(".proj_out.", ".to_out.0.");
    // Its projections are convolutions of one point, which a network of three dimensions may wrap once more.
    replace(".conv.weight", ".weight");
    replace(".conv.bias", ".bias");
  }
  replace(".nin_shortcut.", ".conv_shortcut.");
  replace("coder.norm_out.", "coder.conv_norm_out.");
  return name;
}

AutoencoderConfig autoencoder_sizes(const WeightSource& source, ImportPlan& plan) {
  AutoencoderConfig config;
  config.block_out_channels.clear();
  const std::int64_t levels = source.count("encoder.down_blocks.", ".");
  for (std::int64_t level = 0; level < levels; ++level)
    config.block_out_channels.push_back(source.size(base::concat("encoder.down_blocks.", level, ".resnets.0.conv1.conv.weight"), 0));
  config.layers_per_block = source.count("encoder.down_blocks.0.resnets.", ".");
  config.in_channels = source.size("encoder.conv_in.conv.weight", 1);
  config.out_channels = source.size("decoder.conv_out.conv.weight", 0);
  config.latent_channels = source.size("decoder.conv_in.conv.weight", 1);
  config.mid_block_add_attention = source.contains("encoder.mid_block.attentions.0.to_q.weight");
  plan.assumed = {"norm_num_groups 32", "spatial_compression_ratio 8", "temporal_compression_ratio 4", "scaling_factor 0.476986"};
  return config;
}

ImportPlan plan_autoencoder(const WeightSource& given, const std::optional<nlohmann::json>& json) {
  const bool original = given.contains(kOriginalSignature);
  const std::int64_t levels = given.count("encoder.down.", ".");
  const WeightSource source = original ? given.renamed([&](const std::string& name) { return diffusers_autoencoder_name(name, levels); }) : given;
  ImportPlan plan;
  plan.layout = original ? "latent-diffusion's names" : "Tencent's and diffusers' names";
  plan.weights = "diffusion_pytorch_model";
  const nlohmann::json derived = json ? *json : autoencoder_sizes(source, plan).to_json();
  const auto config =
      AutoencoderConfig::from_json({derived, json ? "the given config.json" : source.path.string() + ": the configuration read from its shapes"});
  plan.config = config.to_json();

  PlanBuilder builder(source, plan);
  for (const auto& [name, shape] : config.parameter_shapes()) {
    const auto it = source.tensors.find(name);
    // A Linear of the attention that is kept as a convolution of one point: the same numbers in another shape.
    const bool point = it != source.tensors.end() && shape.size() == 2 && it->second.shape.size() > 2 &&
                       std::equal(shape.begin(), shape.end(), it->second.shape.begin()) &&
                       std::all_of(it->second.shape.begin() + 2, it->second.shape.end(), [](std::int64_t extent) { return extent == 1; });
    if (point) builder.make(name, name, it->second.shape, shape, [shape = shape](const at::Tensor& x) { return x.reshape(shape); });
    else builder.copy(name, name, shape);
  }
  builder.ignore("loss.");  // of the training
  builder.finish();
  return plan;
}

}  // namespace

nn::PublishedNetwork published_autoencoder() {
  return {"hunyuanvideo-vae", "HunyuanVideo's causal autoencoder",
          [](const WeightSource& source) {
            const auto prefix = source.prefix_of(kDiffusersSignature);
            return prefix ? prefix : source.prefix_of(kOriginalSignature);
          },
          plan_autoencoder};
}

}  // namespace magicid::models::hunyuan_video
