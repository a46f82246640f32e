// The TorchScript video network against PyTorch (tests/reference/make_i3d.py).
#include "models/vision/i3d.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/errors.h"
#include "smooth_images.h"
#include "storage/safetensors.h"
#include "support/formula_weights.h"
#include "support/temporary_folder.h"

namespace magicid {
namespace {

using models::vision::I3d;
using ::testing::HasSubstr;
using tests::relative_error;

const std::filesystem::path data = std::filesystem::path(MAGICID_TEST_DATA) / "i3d";

at::Tensor video(const std::string& name, const nlohmann::json& shape) {
  return tests::smooth_images("i3d." + name, shape[0], shape[1], shape[2], 5) * 0.5 + 0.5;
}

std::string refusal(const std::filesystem::path& file) {
  try {
    I3d::load(file, at::kCPU);
  } catch (const base::UserError& error) {
    return error.what();
  }
  ADD_FAILURE() << "was loaded";
  return {};
}

TEST(I3d, AgreesWithPyTorch) {
  const auto cases = tests::read_json(data / "cases.json").at("cases");
  ASSERT_GE(cases.size(), 4u);
  const I3d network = I3d::load(data / "small.pt", at::kCPU);
  const auto features = storage::SafetensorsFile::open(data / "features.safetensors");
  for (const auto& [name, shape] : cases.items()) {
    SCOPED_TRACE(name);
    EXPECT_LT(relative_error(network(video(name, shape)), features.at(name)), 1e-5);
  }
}

TEST(I3d, EveryCallGivesTheSameBits) {
  const I3d network = I3d::load(data / "small.pt", at::kCPU);
  const at::Tensor frames = video("square", {10, 64, 64});
  const at::Tensor first = network(frames);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(at::equal(network(frames), first)) << "call " << i + 2;
}

TEST(I3d, CropsTheMiddle) {
  at::Tensor frames = at::zeros({10, 3, 56, 112});
  frames.narrow(3, 28, 56).fill_(1);  // the middle square
  const at::Tensor input = I3d::preprocess(frames);
  EXPECT_EQ(input.sizes(), at::IntArrayRef({1, 3, 10, 224, 224}));
  EXPECT_EQ(input.narrow(4, 4, 216).min().item<float>(), 1);
  EXPECT_EQ(I3d::preprocess(at::zeros({10, 3, 100, 7})).min().item<float>(), -1);
}

TEST(I3d, WhatIsNoProgramIsRefused) {
  const tests::TemporaryFolder folder;
  EXPECT_THAT(refusal(folder / "absent.pt"), HasSubstr("absent.pt: no such file"));
  std::ofstream(folder / "text.pt") << "not a network";
  EXPECT_THAT(refusal(folder / "text.pt"), HasSubstr("is no TorchScript program"));
  EXPECT_THROW(I3d::load(data / "small.pt", at::kCPU)(at::zeros({9, 3, 64, 64})), base::InvariantError);
}

}  // namespace
}  // namespace magicid
