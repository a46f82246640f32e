#include "models/nn/network_folder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "models/nn/weights.h"
#include "storage/atomic_file.h"
#include "support/temporary_folder.h"

namespace magicid::models::nn {
namespace {

using nlohmann::json;
using storage::NamedTensors;

// Five matrices of 400 bytes in fp32 and a counter; a tensor's values hang on the seed and its own name.
NamedTensors make(const InitialValues& values) {
  NamedTensors tensors;
  for (const std::string name : {"a", "b", "c", "d", "e"}) {
    if (!values.wants(name)) continue;
    at::Tensor t = at::empty({10, 10}, at::TensorOptions(at::kFloat).device(values.seed ? c10::kCPU : c10::kMeta));
    if (values.seed) t.fill_(static_cast<double>(*values.seed) + name[0]);
    tensors[name] = t;
  }
  if (values.wants("steps")) tensors["steps"] = at::zeros({}, at::TensorOptions(at::kLong).device(values.seed ? c10::kCPU : c10::kMeta));
  return tensors;
}

std::int64_t disk_use(const std::filesystem::path& file) {
  struct stat status{};
  ::stat(file.c_str(), &status);
  return status.st_blocks * 512;
}

TEST(NetworkFolder, ShardsHoldWhatOneFileWould) {
  tests::TemporaryFolder folder;
  write_network_folder(folder / "one", {{"x", 1}}, {.stem = "weights"}, 7, make);
  write_network_folder(folder / "many", {{"x", 1}}, {.stem = "diffusion_pytorch_model", .shard_bytes = 900}, 7, make);
  EXPECT_TRUE(std::filesystem::exists(folder / "one/weights.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(folder / "one/weights.safetensors.index.json")) << "one file needs no index";
  const auto one = storage::SafetensorsFile::open(folder / "one/weights.safetensors");
  const auto many = Weights::open_folder(folder / "many", {});
  EXPECT_EQ(many.names(), one.names());
  for (const auto& name : {"a", "b", "c", "d", "e"}) EXPECT_TRUE(at::equal(many.take(name, {10, 10}), one.at(name))) << name;
  const json index = json::parse(storage::read_text(folder / "many/diffusion_pytorch_model.safetensors.index.json"));
  EXPECT_EQ(index["weight_map"]["a"], "diffusion_pytorch_model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["steps"], "diffusion_pytorch_model-00003-of-00003.safetensors");
  EXPECT_EQ(index["metadata"]["total_size"], 5 * 400 + 8);
  EXPECT_EQ(json::parse(storage::read_text(folder / "many/config.json")), (json{{"x", 1}}));
}

TEST(NetworkFolder, OfShapesAloneItReadsAsZerosAndTakesNoDisk) {
  tests::TemporaryFolder folder;
  const auto large = [](const InitialValues& values) {
    EXPECT_FALSE(values.seed.has_value());
    return NamedTensors{{"w", at::empty({1 << 14, 1 << 13}, at::TensorOptions(at::kFloat).device(c10::kMeta))}, {"z", at::empty({3}, at::device(c10::kMeta))}};
  };
  write_network_folder(folder.path(), json::object(), {.dtype = at::kBFloat16}, std::nullopt, large);
  const auto file = storage::SafetensorsFile::open(folder / "model.safetensors");
  EXPECT_EQ(file.dtype("w"), at::kBFloat16);
  EXPECT_EQ(std::filesystem::file_size(folder / "model.safetensors") / (1 << 20), 256u);
  EXPECT_LT(disk_use(folder / "model.safetensors"), 1 << 17);
  EXPECT_EQ(file.at("w")[77].abs().sum().item<double>(), 0);
  EXPECT_EQ(file.at("z").to(at::kFloat).abs().sum().item<double>(), 0);
}

}  // namespace
}  // namespace magicid::models::nn
