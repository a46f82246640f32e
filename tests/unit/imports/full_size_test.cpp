// Names and shapes of the published networks (tests/data/imports/full_size.json, from the references' classes on the meta device): nothing is missing or
// surplus, and config.json comes out as it was published.
#include <gtest/gtest.h>

#include "imported.h"
#include "imports/kinds.h"
#include "models/nn/weight_source.h"

namespace magicid::imports {
namespace {

using models::nn::ImportPlan;
using models::nn::WeightSource;
using nlohmann::json;
using tests::kImports;

const json& full_size() {
  static const json value = tests::parsed(kImports / "full_size.json");
  return value;
}

ImportPlan plan_of(const std::string& list, const std::string& prefix, const std::string& kind) {
  WeightSource source;
  source.path = list;
  for (const auto& [name, shape] : full_size()[list].items())
    source.tensors[prefix + name] = {at::kBFloat16, shape.get<std::vector<std::int64_t>>(), [] { return at::Tensor(); }, prefix + name};
  const auto known = recognise(source, "auto");
  EXPECT_TRUE(known.has_value());
  EXPECT_EQ(known->network->kind, kind);
  EXPECT_EQ(known->prefix, prefix);
  ImportPlan plan = known->network->plan(source.below(known->prefix), std::nullopt);
  EXPECT_TRUE(plan.missing.empty() && plan.wrong.empty() && plan.surplus.empty()) << json({plan.missing, plan.wrong, plan.surplus}).dump();
  return plan;
}

std::int64_t numbers(const ImportPlan& plan) {
  std::int64_t total = 0;
  for (const auto& tensor : plan.tensors) total += static_cast<std::int64_t>(tensor.bytes() / c10::elementSize(tensor.dtype));
  return total;
}

TEST(PublishedSizes, Transformer) {
  for (const std::string prefix : {"module.", "model.diffusion_model.", ""}) {
    const ImportPlan plan = plan_of("transformer_tencent", prefix, "hunyuanvideo-transformer");
    EXPECT_EQ(plan.tensors.size(), full_size()["transformer_diffusers_names"].get<std::size_t>());
    EXPECT_EQ(numbers(plan), full_size()["transformer_numbers"].get<std::int64_t>());
    for (const auto& [key, value] : full_size()["transformer_config"].items()) EXPECT_EQ(plan.config.value(key, json()), value) << key;
  }
}

TEST(PublishedSizes, Autoencoder) {
  const ImportPlan plan = plan_of("vae", "", "hunyuanvideo-vae");
  EXPECT_EQ(numbers(plan), 246'478'803);
  EXPECT_EQ(plan.config["block_out_channels"], json({128, 256, 512, 512}));
  plan_of("vae", "vae.", "hunyuanvideo-vae");
}

TEST(PublishedSizes, TextAndImageEncoders) {
  const ImportPlan llama = plan_of("llama", "", "llama");
  EXPECT_EQ(llama.config["num_key_value_heads"], 8);
  EXPECT_EQ(llama.config["intermediate_size"], 14336);
  for (const std::string list : {"clip_openai", "clip_transformers"}) {
    const ImportPlan clip = plan_of(list, "", "clip");
    EXPECT_EQ(clip.config["text_config"]["num_attention_heads"], 12);
    EXPECT_EQ(clip.config["vision_config"]["num_attention_heads"], 16);
    EXPECT_EQ(clip.config["vision_config"]["image_size"], 224);
    EXPECT_EQ(clip.config["projection_dim"], 768);
  }
}

}  // namespace
}  // namespace magicid::imports
