// Networks in training mode: batch norms that take the batch's statistics, and what they become when training ends.
#include "models/vision/batch_norm.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "models/vision/face_embedder.h"
#include "models/vision/initial_networks.h"
#include "smooth_images.h"
#include "support/formula_weights.h"

namespace magicid::models::vision {
namespace {

using nn::Weights;
using tests::formula_tensor;
using tests::relative_error;
using tests::smooth_images;

// Norm weights away from their initial 1 and 0, so that a part that is left out shows.
storage::NamedTensors varied(const storage::NamedTensors& initial) {
  storage::NamedTensors tensors;
  for (const auto& [name, tensor] : initial)
    tensors[name] = tensor.is_floating_point() && tensor.dim() == 1 ? tensor + 0.2 * formula_tensor(name, tensor.sizes().vec()) : tensor;
  return tensors;
}

TEST(TrainingNorm, IsBatchNormWithTheBatchsStatistics) {
  const at::Tensor x = formula_tensor("x", {5, 6, 7, 8}) * 3 + 1, weight = formula_tensor("w", {4, 6, 3, 3}), scale = formula_tensor("s", {4}) + 1,
                   shift = formula_tensor("b", {4});
  const auto weights = Weights::from_tensors({{"c.weight", weight}, {"n.weight", scale}, {"n.bias", shift}, {"n.running_mean", shift}}, "test", {});
  const auto conv = load_convolution_and_norm(weights, "c", "n", {.out = 4, .in = 6, .kernel = {3, 3}}, false, {.training = true});
  weights.finish();
  at::Tensor mean = at::zeros({4}), variance = at::ones({4});
  const at::Tensor expected = at::batch_norm(at::conv2d(x, weight), scale, shift, mean, variance, /*training=*/true, 0.1, 1e-5, false);
  EXPECT_LT(relative_error(conv(x), expected), 1e-6);
}

TEST(TrainingNorm, PreluOfTrainingIsPrelu) {
  at::Tensor x = formula_tensor("x", {2, 3, 4, 4}), slope = formula_tensor("s", {3}).abs();
  const at::Tensor expected = at::prelu(x, slope), g = formula_tensor("g", {2, 3, 4, 4});
  const auto gradients = [&](auto&& f) {
    at::Tensor a = x.clone().requires_grad_(), s = slope.clone().requires_grad_();
    const at::Tensor y = f(a, s);
    (y * g).sum().backward();
    return std::tuple(y.detach(), a.grad(), s.grad());
  };
  const auto [y, dx, ds] = gradients([](const at::Tensor& a, const at::Tensor& s) { return apply_prelu(a, s); });
  const auto [ey, edx, eds] = gradients([](const at::Tensor& a, const at::Tensor& s) { return at::prelu(a, s); });
  EXPECT_LT(relative_error(y, ey), 1e-6);
  EXPECT_LT(relative_error(dx, edx), 1e-6);
  EXPECT_LT(relative_error(ds, eds), 1e-5);
}

class TrainingMode : public ::testing::TestWithParam<FaceEmbedderConfig> {};

// On the very faces that the population statistics come from, the folded network must say what the training one said.
TEST_P(TrainingMode, FoldsToTheSameFunction) {
  const c10::AutoGradMode no_grad(false);
  auto tensors = varied(initial_face_embedder(GetParam(), 3).tensors);
  const at::Tensor faces = smooth_images("training", 4, 112, 112, 9);
  BatchStatistics statistics;
  const at::Tensor trained =
      FaceEmbedder::from_weights(Weights::from_tensors(tensors, "training", {}), GetParam(), {.training = true, .statistics = &statistics}).embed(faces);
  const at::Tensor before = FaceEmbedder::from_weights(Weights::from_tensors(tensors, "before", {}), GetParam()).embed(faces);
  const auto population = statistics.population();
  std::size_t kept = 0;
  for (auto& [name, tensor] : tensors)
    if (name.ends_with(".running_mean") || name.ends_with(".running_var")) {
      ASSERT_TRUE(population.contains(name)) << name;
      tensor = population.at(name), ++kept;
    }
  EXPECT_EQ(kept, population.size());
  const at::Tensor folded = FaceEmbedder::from_weights(Weights::from_tensors(tensors, "folded", {}), GetParam()).embed(faces);
  const double error = relative_error(folded, trained);
  std::printf("%s relative error %.2e\n", GetParam().architecture.c_str(), error);
  EXPECT_LT(error, 1e-3);
  EXPECT_GT(relative_error(before, trained), 0.1);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, TrainingMode,
    ::testing::Values(FaceEmbedderConfig{.architecture = "mobilefacenet_112x112", .embedding_size = 24, .shape = {{8, 12, 16, 20}, {1, 2, 1}}},
                      FaceEmbedderConfig{.architecture = "mobilefacenet_112x96", .embedding_size = 16},
                      FaceEmbedderConfig{.architecture = "iresnet18", .embedding_size = 16}),
    [](const auto& info) { return info.param.architecture; });

TEST(BatchStatistics, SumsOverBatches) {
  const at::Tensor x = formula_tensor("x", {9, 3, 4, 4}) * 2 + 1;
  BatchStatistics whole, parts;
  whole.add("n", x);
  parts.add("n", x.narrow(0, 0, 4));
  parts.add("n", x.narrow(0, 4, 5));
  for (const auto& [name, tensor] : whole.population()) EXPECT_LT(relative_error(parts.population().at(name), tensor), 1e-6) << name;
  EXPECT_LT(relative_error(whole.population().at("n.running_var"), x.var({0, 2, 3}, /*unbiased=*/false)), 1e-6);
}

TEST(FaceEmbedderConfig, NarrowNetworksAreDescribedByTheirFolder) {
  const FaceEmbedderConfig config{.architecture = "mobilefacenet_112x112", .embedding_size = 24, .shape = {{8, 12, 16, 20}, {1, 2, 1}}};
  const auto read = [](const std::string& text) { return FaceEmbedderConfig::from_json(nn::NetworkConfig(nlohmann::json::parse(text), "config.json")); };
  const auto back = read(config.to_json());
  EXPECT_EQ(back.shape, config.shape);
  EXPECT_EQ(back.embedding_size, 24);
  EXPECT_EQ(read(R"({"architecture": "mobilefacenet_112x112"})").shape, MobileFaceNetShape{});
  EXPECT_THROW(read(R"({"architecture": "mobilefacenet_112x112", "channels": [8, 12]})"), base::UserError);
  EXPECT_THROW(read(R"({"architecture": "mobilefacenet_112x112", "blocks": [1, 0, 1]})"), base::UserError);
  EXPECT_THROW(read(R"({"architecture": "iresnet18", "blocks": [1, 1, 1]})"), base::UserError);
}

}  // namespace
}  // namespace magicid::models::vision
