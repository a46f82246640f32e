// Networks of fixed sizes: archives are built again around the pickles that torch.save wrote (tests/data/imports/skeletons), with weights by formula.
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imported.h"
#include "imports/arcface_onnx.h"
#include "models/nn/weight_source.h"
#include "models/vision/face_embedder.h"
#include "models/vision/raft.h"
#include "storage/torch_file.h"
#include "support/zip_writer.h"

namespace magicid::imports {
namespace {

using ::testing::HasSubstr;
using tests::import_refusal;
using tests::kImports;
using tests::parsed;
using tests::read_bytes;
using tests::TemporaryFolder;
namespace fs = std::filesystem;

// Bytes of a storage: floats between -0.05 and 0.05 that differ from storage to storage, so that a swapped tensor is seen.
std::string storage_contents(const std::string& key, std::int64_t bytes) {
  if (bytes == 8) return std::string(8, '\0');  // num_batches_tracked
  std::vector<float> values(static_cast<std::size_t>(bytes) / 4);
  std::uint32_t state = static_cast<std::uint32_t>(std::stoul(key)) * 2654435761u + 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 16777216.0f * 0.1f - 0.05f;
  }
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

fs::path inflate(const std::string& name, const TemporaryFolder& folder) {
  const auto about = parsed(kImports / "skeletons" / (name + ".json"));
  std::vector<tests::ZipEntry> entries{{name + "/data.pkl", read_bytes(kImports / "skeletons" / (name + ".pkl"))}};
  for (const auto& [key, bytes] : about["storages"].items()) entries.push_back({name + "/data/" + key, storage_contents(key, bytes.get<std::int64_t>())});
  tests::write_bytes(folder / (name + ".pth"), tests::zip_bytes(entries));
  return folder / (name + ".pth");
}

// Imports it and compares each tensor with the one in the file that the reference's own code gave its name to.
void expect_import(const std::string& name, const TemporaryFolder& folder) {
  const fs::path file = inflate(name, folder);
  import_weights(file, folder / name, {});
  const auto source = storage::TorchFile::open(file);
  const auto result = storage::SafetensorsFile::open(folder / name / "model.safetensors");
  const auto pairs = parsed(kImports / "skeletons" / (name + ".json"))["pairs"];
  EXPECT_EQ(result.names().size(), pairs.size());
  for (const auto& pair : pairs) {
    const std::string from = pair.at(0), to = pair.at(1);
    ASSERT_TRUE(result.contains(to)) << to;
    EXPECT_TRUE(at::equal(source.at(from), result.at(to))) << to;
  }
}

TEST(ImportRaft, TorchvisionsAndPrincetonsNames) {
  for (const std::string size : {"raft_large", "raft_small"}) {
    SCOPED_TRACE(size);
    const TemporaryFolder folder;
    expect_import(size + "_torchvision", folder);
    expect_import(size + "_princeton", folder);
    EXPECT_EQ(parsed(folder / (size + "_princeton") / "config.json")["architecture"], size);
    models::vision::Raft::load(folder / (size + "_princeton"), c10::kCPU);
  }
}

TEST(ImportArcface, ArcfaceTorchsAndOthersNames) {
  const std::pair<const char*, const char*> networks[] = {{"iresnet18", "iresnet18"},
                                                          {"mobilefacenet_insightface", "mobilefacenet_112x112"},
                                                          {"mobilefacenet_treb1en", "mobilefacenet_112x112"},
                                                          {"mobilefacenet_xiaoccer", "mobilefacenet_112x96"}};
  for (const auto& [name, architecture] : networks) {
    SCOPED_TRACE(name);
    const TemporaryFolder folder;
    expect_import(name, folder);
    EXPECT_EQ(parsed(folder / name / "config.json")["architecture"], architecture);
    models::vision::FaceEmbedder::load(folder / name, {});
  }
}

TEST(ImportArcface, ListsWhatIsMissing) {
  const TemporaryFolder folder;
  const auto file = storage::TorchFile::open(inflate("mobilefacenet_treb1en", folder));
  storage::NamedTensors tensors;
  for (const auto& name : file.names())
    if (name != "conv_23.conv.bn.bias" && name != "linear.weight") tensors[name] = file.at(name);
  tensors["linear.weight"] = at::zeros({512, 100});
  storage::write_safetensors(folder / "cut.safetensors", tensors);
  EXPECT_THAT(import_refusal(folder / "cut.safetensors"), ::testing::AllOf(HasSubstr("conv_23.conv.bn.bias"), HasSubstr("linear.weight: shape [512,100]")));
}

// y = scale (conv - mean) / sqrt(var + eps) + shift: what a convolution and its norm are together.
struct Folded {
  at::Tensor weight, bias;
};
Folded fold(const std::map<std::string, at::Tensor>& tensors, const std::string& conv, const std::string& norm) {
  const at::Tensor scale = tensors.at(norm + ".weight").to(at::kDouble) / (tensors.at(norm + ".running_var").to(at::kDouble) + 1e-5).sqrt();
  std::vector<std::int64_t> rows(static_cast<std::size_t>(tensors.at(conv + ".weight").dim()), 1);
  rows[0] = -1;
  return {tensors.at(conv + ".weight").to(at::kDouble) * scale.view(rows),
          tensors.at(norm + ".bias").to(at::kDouble) - tensors.at(norm + ".running_mean").to(at::kDouble) * scale};
}

std::map<std::string, at::Tensor> named(const std::string& file) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : named_face_tensors(models::nn::WeightSource::open(kImports / "faces" / file)).tensors) tensors[name] = tensor.read();
  return tensors;
}

// The graph's tensors get the names of the state dict from which it was exported: equal where the export kept the norms, equal in what they compute where it
// folded them.
void expect_names(const std::string& network, const std::vector<std::pair<std::string, std::string>>& folded) {
  const auto file = storage::SafetensorsFile::open(kImports / "faces" / (network + ".safetensors"));
  std::map<std::string, at::Tensor> state;
  for (const auto& name : file.names()) state[name] = file.at(name);
  const auto kept = named(network + "_kept.onnx"), folding = named(network + "_folded.onnx");
  ASSERT_EQ(kept.size(), state.size());
  ASSERT_EQ(folding.size(), state.size());
  for (const auto& [name, tensor] : state) {
    ASSERT_TRUE(kept.contains(name)) << name;
    EXPECT_TRUE(at::equal(kept.at(name), tensor)) << name;
    ASSERT_TRUE(folding.contains(name)) << name;
  }
  for (const auto& [conv, norm] : folded) {
    const Folded a = fold(folding, conv, norm), b = fold(state, conv, norm);
    EXPECT_TRUE(at::allclose(a.weight, b.weight, 1e-5, 1e-7)) << conv;
    EXPECT_TRUE(at::allclose(a.bias, b.bias, 1e-5, 1e-6)) << norm;
  }
  for (const auto& [name, tensor] : state)
    if (name.find("prelu") != std::string::npos || name == "fc.weight") EXPECT_TRUE(at::equal(folding.at(name), tensor)) << name;
}

TEST(ImportArcface, OnnxOfAnIResNet) {
  std::vector<std::pair<std::string, std::string>> folded{{"conv1", "bn1"}};
  for (int layer = 1; layer <= 4; ++layer)
    for (int i = 0; i < 2; ++i) {
      const std::string block = base::concat("layer", layer, ".", i, ".");
      folded.insert(folded.end(), {{block + "conv1", block + "bn2"}, {block + "conv2", block + "bn3"}});
      if (i == 0) folded.emplace_back(block + "downsample.0", block + "downsample.1");
    }
  expect_names("iresnet", folded);
}

TEST(ImportArcface, OnnxOfInsightfacesMobileFaceNet) {
  expect_names("mobilefacenet", {{"layers.0.layers.0", "layers.0.layers.1"},
                                 {"layers.2.layers.1.layers.0", "layers.2.layers.1.layers.1"},
                                 {"layers.5.layers.3.layers.2.layers.0", "layers.5.layers.3.layers.2.layers.1"},
                                 {"features.layers.0.layers.0", "features.layers.0.layers.1"},
                                 {"features.layers.2", "features.layers.3"}});
}

TEST(ImportArcface, DamagedOnnxIsRefused) {
  const TemporaryFolder folder;
  const std::string bytes = read_bytes(kImports / "faces/iresnet_folded.onnx");
  for (const double part : {0.05, 0.3, 0.6, 0.95, 0.999}) {
    tests::write_bytes(folder / "cut.onnx", bytes.substr(0, static_cast<std::size_t>(static_cast<double>(bytes.size()) * part)));
    EXPECT_THAT(import_refusal(folder / "cut.onnx"), HasSubstr("cut.onnx")) << part;
  }
  // Whole, but thin: it is named and then refused by the network's own sizes.
  EXPECT_THAT(import_refusal(kImports / "faces/iresnet_folded.onnx"), HasSubstr("conv1.weight: shape [2,3,3,3], expected [64,3,3,3]"));
}

}  // namespace
}  // namespace magicid::imports
