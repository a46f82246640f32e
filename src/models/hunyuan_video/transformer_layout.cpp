#include "models/hunyuan_video/transformer_layout.h"

#include "base/errors.h"

namespace magicid::models::hunyuan_video {
namespace {

BlockLinear whole(const std::string& native, const std::string& target, const std::string& diffusers, std::int64_t out, std::int64_t in,
                  bool modulation = false) {
  return {native + target, target, in, out, modulation, {{diffusers, out}}};
}

}  // namespace

std::vector<BlockLinear> double_block_linears(const TransformerConfig& config, std::int64_t index) {
  const std::int64_t width = config.width(), mlp = config.mlp_width();
  const std::string native = "double_blocks." + std::to_string(index) + ".", other = "transformer_blocks." + std::to_string(index) + ".";
  std::vector<BlockLinear> linears;
  const auto stream = [&](const std::string& s, const std::string& norm, const std::vector<std::string>& qkv, const std::string& proj, const std::string& ff) {
    linears.push_back(whole(native, s + "_mod.linear", other + norm + ".linear", 6 * width, width, true));
    BlockLinear fused{native + s + "_attn_qkv", s + "_attn_qkv", width, 3 * width, false, {}};
    for (const auto& name : qkv) fused.parts.push_back({other + "attn." + name, width});
    linears.push_back(fused);
    linears.push_back(whole(native, s + "_attn_proj", other + "attn." + proj, width, width));
    linears.push_back(whole(native, s + "_mlp.fc1", other + ff + ".net.0.proj", mlp, width));
    linears.push_back(whole(native, s + "_mlp.fc2", other + ff + ".net.2", width, mlp));
  };
  stream("img", "norm1", {"to_q", "to_k", "to_v"}, "to_out.0", "ff");
  stream("txt", "norm1_context", {"add_q_proj", "add_k_proj", "add_v_proj"}, "to_add_out", "ff_context");
  return linears;
}

std::vector<BlockLinear> single_block_linears(const TransformerConfig& config, std::int64_t index) {
  const std::int64_t width = config.width(), mlp = config.mlp_width();
  const std::string native = "single_blocks." + std::to_string(index) + ".", other = "single_transformer_blocks." + std::to_string(index) + ".";
  BlockLinear fused{native + "linear1", "linear1", width, 3 * width + mlp, false, {}};
  for (const char* name : {"attn.to_q", "attn.to_k", "attn.to_v"}) fused.parts.push_back({other + name, width});
  fused.parts.push_back({other + "proj_mlp", mlp});
  return {whole(native, "modulation.linear", other + "norm.linear", 3 * width, width, true), fused,
          whole(native, "linear2", other + "proj_out", width, width + mlp)};
}

std::vector<BlockLinear> block_linears(const TransformerConfig& config) {
  std::vector<BlockLinear> all;
  for (std::int64_t i = 0; i < config.num_layers; ++i)
    for (auto& linear : double_block_linears(config, i)) all.push_back(std::move(linear));
  for (std::int64_t i = 0; i < config.num_single_layers; ++i)
    for (auto& linear : single_block_linears(config, i)) all.push_back(std::move(linear));
  return all;
}

generator::Adaptable adaptable(const TransformerConfig& config) {
  generator::Adaptable network{.size = base::concat(config.num_layers, " double and ", config.num_single_layers, " single blocks")};
  for (const auto& linear : block_linears(config)) network.linears.push_back({linear.name, linear.target, linear.in, linear.out});
  // One block of each kind is enough to know the targets.
  TransformerConfig one_of_each = config;
  one_of_each.num_layers = one_of_each.num_single_layers = 1;
  for (const auto& linear : block_linears(one_of_each)) {
    network.targets.push_back(linear.target);
    if (!linear.modulation) network.default_targets.push_back(linear.target);
  }
  return network;
}

}  // namespace magicid::models::hunyuan_video
