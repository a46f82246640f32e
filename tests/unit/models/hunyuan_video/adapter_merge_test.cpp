// What is done with an adapter beside sampling: merged into the weights (against diffusers' fuse_lora), measured, taken as training's beginning.
#include "models/generator/adapter_merge.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/generator/adapter_summary.h"
#include "models/generator/beginning.h"
#include "models/generator/stored_linears.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/adapter_source.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "storage/atomic_file.h"
#include "support/small_adapters.h"

namespace magicid::models::hunyuan_video {
namespace {

using generator::Adapter;
namespace fs = std::filesystem;
using base::UserError;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using tests::SmallAdapters;

class AdapterUses : public testing::Test {
 protected:
  AdapterUses() : folder_(fs::temp_directory_path() / ("magicid-adapter-uses-" + std::to_string(::getpid()))) { fs::create_directories(folder_); }
  ~AdapterUses() override { fs::remove_all(folder_); }

  // The transformer as save_pretrained writes it, in two shards.
  fs::path model(at::ScalarType dtype = at::kFloat, const std::string& without = {}) const {
    const fs::path folder = folder_ / "transformer";
    fs::create_directories(folder);
    storage::NamedTensors shards[2];
    json index{{"metadata", {{"total_size", 1}}}, {"weight_map", json::object()}};
    std::size_t count = 0;
    for (const auto& [name, tensor] : SmallAdapters::weights()) {
      if (name == without) continue;
      const std::size_t shard = count++ % 2;
      shards[shard][name] = tensor.to(dtype);
      index["weight_map"][name] = shard_name(shard);
    }
    for (std::size_t i = 0; i < 2; ++i) storage::write_safetensors(folder / shard_name(i), shards[i], {{"format", "pt"}});
    storage::write_text_atomically(folder / "diffusion_pytorch_model.safetensors.index.json", index.dump());
    storage::write_text_atomically(folder / "config.json", SmallAdapters::config().to_json().dump());
    return folder;
  }
  static std::string shard_name(std::size_t i) { return "diffusion_pytorch_model-0000" + std::to_string(i + 1) + "-of-00002.safetensors"; }

  // The golden PEFT folder's adapter.
  Adapter adapter() const {
    const json one = tests::read_json(SmallAdapters::data() / "layouts.json").at("cases").at("peft_folder");
    storage::NamedTensors tensors;
    for (const auto& entry : one.at("keys")) {
      const std::string key = entry[0];
      tensors[key] = tests::formula_tensor(key, entry[1].get<std::vector<std::int64_t>>()) * (key.find("lora_B") != std::string::npos ? 0.2 : 1.0);
    }
    storage::write_safetensors(folder_ / "adapter_model.safetensors", tensors);
    storage::write_text_atomically(folder_ / "adapter_config.json", one.at("config").get<std::string>());
    return load_adapter(SmallAdapters::config(), folder_ / "adapter_model.safetensors");
  }

  fs::path folder_;
};

TEST_F(AdapterUses, MergedWeightsAreThoseOfFuseLora) {
  const fs::path source = model(), out = folder_ / "merged";
  Adapter strong = adapter();
  strong.scale_by(0.75);
  std::size_t files = 0;
  merge_adapter(stored_linears(SmallAdapters::config(), source), strong, out, {{"magicid_merged_strength", "0.75"}}, [&](std::size_t all) {
    EXPECT_EQ(all, 2u);
    ++files;
  });
  EXPECT_EQ(files, 2u);

  const auto expected = storage::SafetensorsFile::open(SmallAdapters::data() / "layouts.safetensors");
  std::size_t compared = 0, untouched = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    const auto before = storage::SafetensorsFile::open(source / shard_name(i)), after = storage::SafetensorsFile::open(out / shard_name(i));
    EXPECT_EQ(after.names(), before.names());
    EXPECT_EQ(after.metadata().at("magicid_merged_strength"), "0.75");
    EXPECT_EQ(after.metadata().at("format"), "pt");
    for (const auto& name : before.names()) {
      const std::string golden = "merged." + name.substr(0, name.size() - std::string(".weight").size());
      if (name.ends_with(".weight") && expected.contains(golden)) {
        EXPECT_LT(tests::relative_error(after.at(name), expected.at(golden)), 1e-6) << name;
        EXPECT_GT(tests::relative_error(before.at(name), expected.at(golden)), 0.01) << name;
        ++compared;
      }
      untouched += at::equal(before.at(name), after.at(name));
    }
  }
  EXPECT_EQ(compared, 4u);
  EXPECT_EQ(untouched, SmallAdapters::weights().size() - 34) << "34 weights are adapted";
  EXPECT_EQ(storage::read_text(out / "diffusion_pytorch_model.safetensors.index.json"),
            storage::read_text(source / "diffusion_pytorch_model.safetensors.index.json"));

  const Transformer plain = Transformer::load(source, {}), merged = Transformer::load(out, {});
  EXPECT_LT(tests::relative_error(SmallAdapters::forward(merged, nullptr), SmallAdapters::forward(plain, &strong)), 1e-5);
  EXPECT_GT(tests::relative_error(SmallAdapters::forward(merged, nullptr), SmallAdapters::forward(plain, nullptr)), 0.01);
}

TEST_F(AdapterUses, MergingKeepsTheWeightsType) {
  const fs::path source = model(at::kBFloat16), out = folder_ / "merged";
  const Adapter plain = adapter();
  merge_adapter(stored_linears(SmallAdapters::config(), source), plain, out, {});
  const std::string name = "transformer_blocks.0.attn.to_out.0.weight";
  const auto* layer = plain.find("double_blocks.0.img_attn_proj");
  bool found = false;
  for (std::size_t i = 0; i < 2; ++i) {
    const auto before = storage::SafetensorsFile::open(source / shard_name(i)), after = storage::SafetensorsFile::open(out / shard_name(i));
    for (const auto& one : after.names()) EXPECT_EQ(after.dtype(one), at::kBFloat16);
    if (!after.contains(name)) continue;
    found = true;
    EXPECT_TRUE(at::equal(after.at(name), (before.at(name).to(at::kFloat) + layer->b.mm(layer->a) * layer->scale).to(at::kBFloat16)));
  }
  EXPECT_TRUE(found);
}

TEST_F(AdapterUses, WhatCannotBeMergedIsRefusedBeforeAnythingIsWritten) {
  const fs::path out = folder_ / "merged";
  const Adapter good = adapter();
  const auto refusal = [&](const Adapter& one, const fs::path& source) {
    try {
      merge_adapter(stored_linears(SmallAdapters::config(), source), one, out, {});
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string("it was merged");
  };
  Adapter broken = good.frozen_copy({});
  broken.flat_parameters()[7].fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(refusal(broken, model()), AllOf(HasSubstr("not finite"), HasSubstr("double_blocks.0.img_attn_qkv")));
  EXPECT_THAT(refusal(good, model(at::kFloat8_e4m3fn)), AllOf(HasSubstr("Float8"), HasSubstr("expected float32")));
  EXPECT_THAT(refusal(good, model(at::kFloat, "transformer_blocks.1.attn.to_k.weight")),
              AllOf(HasSubstr("transformer_blocks.1.attn.to_k.weight"), HasSubstr("missing")));
  EXPECT_FALSE(fs::exists(out));
  fs::create_directories(out);
  storage::write_text_atomically(out / "config.json", "{}");
  EXPECT_THAT(refusal(good, model()), HasSubstr("holds something already"));
}

// A folder may hold a fused Linear as one, as Tencent's own files do.
TEST_F(AdapterUses, WeightsAreFoundWholeOrInParts) {
  const generator::Adaptable network{.size = "one", .linears = {{.name = "m", .target = "m", .in = 3, .out = 5}}, .targets = {}, .default_targets = {}};
  const at::Tensor weight = tests::formula_tensor("w", {5, 3});
  fs::create_directories(folder_ / "whole");
  fs::create_directories(folder_ / "parts");
  storage::write_safetensors(folder_ / "whole" / "model.safetensors", {{"m.weight", weight}});
  storage::write_safetensors(folder_ / "parts" / "model.safetensors", {{"p.weight", weight.narrow(0, 0, 2)}, {"q.weight", weight.narrow(0, 2, 3)}});
  for (const std::string kind : {"whole", "parts"}) {
    const auto stored = generator::StoredLinears::open(network, {{"m", {{"p", 2}, {"q", 3}}}}, folder_ / kind);
    EXPECT_EQ(stored.rows_of("m").size(), kind == "whole" ? 1u : 2u);
    EXPECT_EQ(stored.rows_of("m").back().first, kind == "whole" ? 0 : 2);
    EXPECT_NEAR(stored.norm("m"), weight.norm().item<double>(), 1e-6);
  }
}

TEST_F(AdapterUses, NormsAreThoseOfTheProducts) {
  const Adapter one = adapter();
  const auto stored = stored_linears(SmallAdapters::config(), model());
  const auto summary = summarize(one, [&](const std::string& module) { return stored.norm(module); });
  EXPECT_TRUE(summary.warnings.empty());
  EXPECT_EQ(summary.parameters, one.flat_parameters().numel());
  ASSERT_EQ(summary.modules.size(), one.modules().size());
  double square = 0, first_block = 0;
  for (const auto& m : summary.modules) {
    const auto* layer = one.find(m.module.name);
    const double expected = (layer->b.mm(layer->a) * layer->scale).norm().item<double>();
    EXPECT_NEAR(m.product, expected, 1e-5 * expected) << m.module.name;
    square += expected * expected;
    if (m.module.name.starts_with("double_blocks.0.")) first_block += expected * expected;
  }
  EXPECT_NEAR(summary.product, std::sqrt(square), 1e-5 * summary.product);
  ASSERT_EQ(summary.blocks.size(), 4u);
  EXPECT_EQ(summary.blocks[0].block, "double_blocks.0");
  EXPECT_NEAR(summary.blocks[0].product, std::sqrt(first_block), 1e-5 * summary.product);
  ASSERT_TRUE(summary.modules[0].weight.has_value());
  const auto weights = SmallAdapters::weights();
  const auto square_of = [&](const char* part) {
    return std::pow(weights.at("transformer_blocks.0.attn." + std::string(part) + ".weight").norm().item<double>(), 2);
  };
  EXPECT_EQ(summary.modules[0].module.name, "double_blocks.0.img_attn_qkv");
  EXPECT_NEAR(*summary.modules[0].weight, std::sqrt(square_of("to_q") + square_of("to_k") + square_of("to_v")), 1e-5);
}

TEST_F(AdapterUses, AnAdapterThatDoesNothingOrIsBrokenIsWarnedOf) {
  const auto network = adaptable(SmallAdapters::config());
  Adapter fresh = Adapter::create(network, {.lora_rank = 2, .alpha = 2});
  auto summary = summarize(fresh);
  ASSERT_EQ(summary.warnings.size(), 1u);
  EXPECT_THAT(summary.warnings[0], HasSubstr("does nothing"));
  EXPECT_EQ(summary.product, 0);
  at::Tensor b = fresh.find("single_blocks.1.linear2")->b;
  b.fill_(1);
  EXPECT_THAT(summarize(fresh).warnings.at(0), HasSubstr("19 of 20 modules do nothing"));
  b.fill_(std::numeric_limits<float>::infinity());
  summary = summarize(fresh);
  EXPECT_THAT(summary.warnings.at(0), AllOf(HasSubstr("not finite"), HasSubstr("single_blocks.1.linear2")));
  EXPECT_TRUE(std::isnan(summary.product));
}

TEST_F(AdapterUses, TrainingBeginsWithTheFilesValues) {
  const auto network = adaptable(SmallAdapters::config());
  const Adapter from = Adapter::create(network, {.lora_rank = 4, .alpha = 8, .seed = 1});
  for (const auto& m : from.modules()) from.find(m.name)->b.copy_(tests::formula_tensor(m.name, {m.out, m.rank}));
  Adapter same = Adapter::create(network, {.lora_rank = 4, .alpha = 8}), other = Adapter::create(network, {.lora_rank = 4, .alpha = 4});
  begin_with(same, from, "file");
  EXPECT_TRUE(at::equal(same.flat_parameters(), from.flat_parameters()));
  begin_with(other, from, "file");
  EXPECT_EQ(other.modules()[0].alpha, 4) << "the configuration's alpha stays";
  const Transformer transformer = SmallAdapters::transformer();
  EXPECT_LT(tests::relative_error(SmallAdapters::forward(transformer, &other), SmallAdapters::forward(transformer, &from)), 1e-6);
}

TEST_F(AdapterUses, WhatDiffersFromTheTrainedAdapterIsNamed) {
  const auto network = adaptable(SmallAdapters::config());
  const auto check = [&](const generator::AdapterOptions& wanted, const Adapter& from) {
    generator::check_beginning(generator::planned_modules(network, wanted), from, "lora.safetensors");
  };
  const Adapter from = Adapter::create(network, {.targets = {"linear1", "img_attn_qkv"}, .lora_rank = 4, .alpha = 4});
  EXPECT_NO_THROW(check({.targets = {"linear1", "img_attn_qkv"}, .lora_rank = 4, .alpha = 1}, from));
  EXPECT_THAT([&] { check({.targets = {"linear1", "linear2"}, .lora_rank = 2, .alpha = 1}, from); },
              ThrowsMessage<UserError>(AllOf(HasSubstr("adapter.initialize_from: lora.safetensors"), HasSubstr("does not have: single_blocks.0.linear2"),
                                             HasSubstr("beside adapter.targets: double_blocks.0.img_attn_qkv"),
                                             HasSubstr("adapter.lora_rank 2: single_blocks.0.linear1 (4)"),
                                             HasSubstr("adapter.lora_rank: 4 and adapter.targets: [img_attn_qkv, linear1] fit it"))));
  EXPECT_THAT([&] { check({.lora_rank = 3, .alpha = 1}, adapter()); }, ThrowsMessage<UserError>(HasSubstr("ranks differ by module")));
  Adapter broken = from.frozen_copy({});
  broken.flat_parameters()[0].fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT([&] { check({.targets = {"linear1", "img_attn_qkv"}, .lora_rank = 4, .alpha = 4}, broken); }, ThrowsMessage<UserError>(HasSubstr("not finite")));
}

}  // namespace
}  // namespace magicid::models::hunyuan_video
