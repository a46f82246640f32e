// RAFT against torchvision (tests/reference/make_raft.py), and flow between frames of any size.
#include "models/vision/raft.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/errors.h"
#include "models/vision/optical_flow.h"
#include "models/vision/raft_keys.h"
#include "smooth_images.h"
#include "support/formula_weights.h"

namespace magicid {
namespace {

using models::nn::Weights;
using models::vision::estimate_flow;
using models::vision::Raft;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using tests::formula_tensors;
using tests::read_json;
using tests::relative_error;
using tests::smooth_images;

const std::filesystem::path data = std::filesystem::path(MAGICID_TEST_DATA) / "raft";

storage::NamedTensors tensors_of(const std::string& architecture) {
  auto tensors = formula_tensors(read_json(data / (architecture + ".shapes.json")));
  tensors["update_block.flow_head.conv2.weight"] *= read_json(data / "cases.json")["flow_head_gain"].get<double>();
  return tensors;
}

Raft network_of(const std::string& architecture) { return Raft::from_weights(Weights::from_tensors(tensors_of(architecture), "golden", {}), architecture); }

std::pair<at::Tensor, at::Tensor> pictures(const std::string& name, std::int64_t batch, std::int64_t height, std::int64_t width) {
  const at::Tensor first = smooth_images("raft." + name + ".first", batch, height, width, 24);
  const at::Tensor noise = smooth_images("raft." + name + ".noise", batch, height, width, 24);
  return {first, first.roll({3, -5}, {2, 3}) * 0.9 + noise * 0.1};
}

class RaftParity : public ::testing::TestWithParam<std::string> {};

TEST_P(RaftParity, AgreesWithTorchvision) {
  const std::string name = GetParam();
  const auto spec = read_json(data / "cases.json")["cases"][name];
  const auto [first, second] = pictures(name, spec["batch"], spec["height"], spec["width"]);
  const at::Tensor flow = network_of(spec["architecture"]).flow(first, second, spec["updates"]);
  const at::Tensor reference = storage::SafetensorsFile::open(data / "flows.safetensors").at(name);
  const at::Tensor kept = flow.slice(2, 0, {}, 5).slice(3, 0, {}, 5);
  const double error = relative_error(kept, reference);
  // Random weights move all positions much alike: what differs between positions is compared on its own.
  const auto centred = [](const at::Tensor& x) { return x - x.mean({2, 3}, /*keepdim=*/true); };
  const double error_of_shape = relative_error(centred(kept), centred(reference));
  std::printf("%s relative error %.2e, without the mean %.2e\n", name.c_str(), error, error_of_shape);
  EXPECT_LT(error, 1e-4);
  EXPECT_LT(error_of_shape, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Networks, RaftParity, ::testing::Values("small_1", "small_12", "small_20", "small_20_wide", "large_1", "large_12", "large_20"),
                         [](const auto& info) { return info.param; });

TEST(Raft, HasThePublishedNumberOfParameters) {
  for (const auto& [architecture, count] : {std::pair{"raft_large", 5257536}, std::pair{"raft_small", 990162}}) {
    std::int64_t numbers = 0;
    const auto shapes = read_json(data / (std::string(architecture) + ".shapes.json"));
    for (const auto& [name, shape] : shapes.items()) {
      if (name.find("running_") != std::string::npos || name.ends_with("num_batches_tracked")) continue;
      std::int64_t size = 1;
      for (const auto& extent : shape) size *= extent.get<std::int64_t>();
      numbers += size;
    }
    EXPECT_EQ(numbers, count) << architecture;
  }
}

TEST(Raft, TakesPrincetonKeys) {
  for (const std::string architecture : {"raft_small", "raft_large"}) {
    SCOPED_TRACE(architecture);
    storage::NamedTensors renamed;
    for (const auto& [name, tensor] : tensors_of(architecture)) {
      const std::string theirs = "module." + models::vision::princeton_raft_name(name, architecture == "raft_large");
      ASSERT_TRUE(renamed.emplace(theirs, tensor).second) << theirs;
      // Their files hold the projection's norm twice.
      if (const auto at = theirs.find("downsample.1."); at != std::string::npos) renamed[theirs.substr(0, at) + "norm3." + theirs.substr(at + 13)] = tensor;
    }
    const auto network = Raft::from_weights(Weights::from_tensors(renamed, "princeton", {}), architecture);
    const auto [first, second] = pictures("keys", 1, 128, 128);
    EXPECT_TRUE(at::equal(network.flow(first, second, 2), network_of(architecture).flow(first, second, 2)));
  }
}

TEST(Raft, NamesPrincetonTensorsAsTheirFilesDo) {
  using models::vision::princeton_raft_name;
  EXPECT_EQ(princeton_raft_name("feature_encoder.convnormrelu.0.weight", true), "fnet.conv1.weight");
  EXPECT_EQ(princeton_raft_name("context_encoder.convnormrelu.1.running_mean", true), "cnet.norm1.running_mean");
  EXPECT_EQ(princeton_raft_name("context_encoder.layer2.0.convnormrelu2.1.bias", true), "cnet.layer2.0.norm2.bias");
  EXPECT_EQ(princeton_raft_name("context_encoder.layer3.0.downsample.0.weight", true), "cnet.layer3.0.downsample.0.weight");
  EXPECT_EQ(princeton_raft_name("feature_encoder.conv.bias", false), "fnet.conv2.bias");
  EXPECT_EQ(princeton_raft_name("update_block.motion_encoder.convcorr2.0.weight", true), "update_block.encoder.convc2.weight");
  EXPECT_EQ(princeton_raft_name("update_block.motion_encoder.convflow1.0.bias", false), "update_block.encoder.convf1.bias");
  EXPECT_EQ(princeton_raft_name("update_block.motion_encoder.conv.0.bias", false), "update_block.encoder.conv.bias");
  EXPECT_EQ(princeton_raft_name("update_block.recurrent_block.convgru2.convr.weight", true), "update_block.gru.convr2.weight");
  EXPECT_EQ(princeton_raft_name("update_block.recurrent_block.convgru1.convq.weight", false), "update_block.gru.convq.weight");
  EXPECT_EQ(princeton_raft_name("update_block.flow_head.conv1.weight", true), "update_block.flow_head.conv1.weight");
  EXPECT_EQ(princeton_raft_name("mask_predictor.convrelu.0.weight", true), "update_block.mask.0.weight");
  EXPECT_EQ(princeton_raft_name("mask_predictor.conv.bias", true), "update_block.mask.2.bias");
}

TEST(Raft, BatchAndSinglePairsAgree) {
  const auto network = network_of("raft_small");
  const auto [first, second] = pictures("batch", 2, 128, 136);
  const at::Tensor together = network.flow(first, second, 3);
  for (std::int64_t i = 0; i < 2; ++i)
    EXPECT_LT(relative_error(together.slice(0, i, i + 1), network.flow(first.slice(0, i, i + 1), second.slice(0, i, i + 1), 3)), 1e-5);
}

TEST(OpticalFlow, LeavesFittingSizesAlone) {
  const auto network = network_of("raft_small");
  const auto [first, second] = pictures("fitting", 1, 128, 144);
  EXPECT_TRUE(at::equal(estimate_flow(network, first, second, 2), network.flow(first, second, 2)));
}

TEST(OpticalFlow, PadsEvenlyAndCrops) {
  const auto network = network_of("raft_small");
  const auto [first, second] = pictures("padded", 1, 133, 141);
  // 133 + 3 = 136: one row above, two below; 141 + 3 = 144: one column left, two right.
  const auto padded = [](const at::Tensor& x) { return at::replication_pad2d(x, {1, 2, 1, 2}); };
  const at::Tensor whole = network.flow(padded(first), padded(second), 2);
  EXPECT_TRUE(at::equal(estimate_flow(network, first, second, 2), whole.slice(2, 1, 134).slice(3, 1, 142)));
}

TEST(OpticalFlow, ScalesSmallFramesAndTheirFlowBack) {
  const auto network = network_of("raft_small");
  const auto [first, second] = pictures("scaled", 1, 64, 80);
  const auto enlarged = [](const at::Tensor& x) { return at::upsample_bilinear2d(x, {128, 160}, false); };
  const at::Tensor large = network.flow(enlarged(first), enlarged(second), 2);
  const at::Tensor flow = estimate_flow(network, first, second, 2);
  ASSERT_EQ(flow.sizes(), (std::vector<std::int64_t>{1, 2, 64, 80}));
  EXPECT_LT(relative_error(flow, at::avg_pool2d(large, 2) / 2), 1e-5);
  // Odd sides: 50 x 61 becomes 128 x 156, and each channel goes back by its own side's factor.
  const auto [odd_first, odd_second] = pictures("odd", 1, 50, 61);
  const auto odd_enlarged = [](const at::Tensor& x) { return at::replication_pad2d(at::upsample_bilinear2d(x, {128, 156}, false), {2, 2, 0, 0}); };
  at::Tensor odd_flow = at::upsample_bilinear2d(network.flow(odd_enlarged(odd_first), odd_enlarged(odd_second), 1).slice(3, 2, 158), {50, 61}, false);
  odd_flow = odd_flow * at::tensor({61.0 / 156, 50.0 / 128}, at::kFloat).view({1, 2, 1, 1});
  EXPECT_LT(relative_error(estimate_flow(network, odd_first, odd_second, 1), odd_flow), 1e-5);
}

TEST(OpticalFlow, TakesNoPairsAndRefusesWrongShapes) {
  const auto network = network_of("raft_small");
  EXPECT_EQ(estimate_flow(network, at::zeros({0, 3, 40, 40}), at::zeros({0, 3, 40, 40}), 1).sizes(), (std::vector<std::int64_t>{0, 2, 40, 40}));
  const at::Tensor image = at::zeros({1, 3, 128, 128});
  EXPECT_THROW(network.flow(image, at::zeros({1, 3, 128, 136}), 1), base::InvariantError);
  EXPECT_THROW(network.flow(at::zeros({1, 3, 120, 128}), at::zeros({1, 3, 120, 128}), 1), base::InvariantError);
  EXPECT_THROW(network.flow(image, image, 0), base::InvariantError);
}

TEST(Raft, LoadsAFolderAndReportsWhatIsWrong) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "magicid_raft";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto write_config = [&](const std::string& text) { std::ofstream(folder / "config.json") << text; };
  storage::write_safetensors(folder / "model.safetensors", tensors_of("raft_small"));
  write_config(R"({"architecture": "raft_small"})");
  const auto [first, second] = pictures("folder", 1, 128, 128);
  EXPECT_TRUE(at::equal(Raft::load(folder, c10::kCPU).flow(first, second, 1), network_of("raft_small").flow(first, second, 1)));
  write_config(R"({"architecture": "raft_large"})");
  EXPECT_THAT([&] { Raft::load(folder, c10::kCPU); }, ThrowsMessage<base::UserError>(HasSubstr("mask_predictor")));
  write_config(R"({"architecture": "raft"})");
  EXPECT_THAT([&] { Raft::load(folder, c10::kCPU); }, ThrowsMessage<base::UserError>(HasSubstr("raft_large or raft_small")));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace magicid
