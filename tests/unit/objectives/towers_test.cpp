// The objectives of the image-text pair, the text encoder and the optical flow: losses against sums written out, gradients against finite differences, and that
// training lowers them.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "base/errors.h"
#include "models/nn/parameters.h"
#include "models/text/initialize.h"
#include "models/vision/initial_networks.h"
#include "models/vision/optical_flow.h"
#include "objectives/contrastive.h"
#include "objectives/flow_sequence.h"
#include "objectives/language_modelling.h"
#include "support/bfloat16_check.h"
#include "training/adamw.h"

namespace magicid::objectives {
namespace {

using models::nn::Parameters;
using tests::expect_bfloat16_near_float;

at::Tensor numbers(std::vector<std::int64_t> shape, double phase) {
  std::int64_t n = 1;
  for (auto s : shape) n *= s;
  return at::sin(at::arange(n, at::kDouble) * 0.7 + phase).to(at::kFloat).reshape(shape);
}

// Central difference of the loss along the gradient.
void expect_gradient(training::Objective& objective, double h, double tolerance) {
  at::Tensor values = objective.parameters(), gradient = objective.gradient();
  gradient.zero_();
  objective.accumulate(0, 0, 1);
  const at::Tensor ours = gradient.clone(), direction = ours / ours.norm();
  ASSERT_GT(ours.norm().item<double>(), 1e-3);
  const auto at_offset = [&](double t) {
    const c10::AutoGradMode no_grad(false);
    values.add_(direction, t);
    double loss = 0;
    {
      const c10::AutoGradMode grad(true);
      loss = objective.accumulate(0, 0, 1)[0];
    }
    values.add_(direction, -t);
    return loss;
  };
  const double measured = (at_offset(h) - at_offset(-h)) / (2 * h);
  EXPECT_NEAR(measured, ours.norm().item<double>(), tolerance * ours.norm().item<double>());
}

// The first and the last loss of `steps` on the same batch.
std::pair<double, double> train(training::Objective& objective, int steps, double learning_rate) {
  at::Tensor values = objective.parameters(), gradient = objective.gradient();
  training::Options options;
  options.learning_rate = learning_rate, options.weight_decay = 0;
  training::AdamW optimizer(values, options);
  double first = 0, last = 0;
  for (int step = 0; step < steps; ++step) {
    gradient.zero_();
    last = objective.accumulate(0, 0, 1)[0];
    if (step == 0) first = last;
    const c10::AutoGradMode no_grad(false);
    optimizer.update(values, gradient, learning_rate);
  }
  return {first, last};
}

models::vision::ClipVisionConfig small_vision() {
  auto c = models::vision::tiny_clip_vision();
  c.hidden_size = 16, c.intermediate_size = 32, c.layers = 1, c.heads = 2, c.image_size = 16, c.projection_dim = 8;
  return c;
}

models::text::ClipTextConfig small_text() {
  models::text::ClipTextConfig c;
  c.vocab_size = 20, c.eos_token_id = 19, c.hidden_size = 16, c.intermediate_size = 32, c.num_hidden_layers = 1, c.num_attention_heads = 2,
  c.max_position_embeddings = 8, c.projection_dim = 8;
  return c;
}

storage::NamedTensors small_clip() {
  auto tensors = models::vision::initial_clip_vision(small_vision(), 3).tensors;
  for (const auto& [name, tensor] : models::text::initialize_clip_text(small_text(), true, 3)) tensors[name] = tensor;
  return tensors;
}

ContrastiveBatch clip_batch(std::int64_t, std::int64_t, std::int64_t) {
  return {numbers({3, 3, 16, 16}, 0.3), at::tensor({1, 4, 5, 19, 19, 1, 6, 19, 19, 19, 1, 7, 8, 9, 19}, at::kLong).view({3, 5}), at::eye(3).to(at::kBool)};
}

TEST(Contrastive, LossIsTheSymmetricCrossEntropyWithSharedTargets) {
  const at::Tensor image = numbers({3, 4}, 0), text = numbers({3, 4}, 1);
  at::Tensor matches = at::eye(3).to(at::kBool);
  matches[0][2] = true;  // text 2 is true of picture 0 too
  const double scale = std::exp(1.2);
  double expected = 0;
  const auto logit = [&](int i, int j) {
    double product = 0, a = 0, b = 0;
    for (int d = 0; d < 4; ++d) {
      const double x = image[i][d].item<double>(), y = text[j][d].item<double>();
      product += x * y, a += x * x, b += y * y;
    }
    return scale * product / std::sqrt(a * b);
  };
  for (int i = 0; i < 3; ++i) {
    double row = 0, column = 0, row_matches = 0, column_matches = 0, row_sum = 0, column_sum = 0;
    for (int j = 0; j < 3; ++j) {
      row += std::exp(logit(i, j)), column += std::exp(logit(j, i));
      if (matches[i][j].item<bool>()) row_sum += logit(i, j), ++row_matches;
      if (matches[j][i].item<bool>()) column_sum += logit(j, i), ++column_matches;
    }
    expected += (std::log(row) - row_sum / row_matches + std::log(column) - column_sum / column_matches) / 6;
  }
  EXPECT_NEAR(contrastive_loss(image, text, at::scalar_tensor(1.2), matches).item<double>(), expected, 1e-5);
  // The factor is at most 100, however large its logarithm has grown.
  EXPECT_EQ(contrastive_loss(image, text, at::scalar_tensor(9.0), matches).item<double>(),
            contrastive_loss(image, text, at::scalar_tensor(7.0), matches).item<double>());
  EXPECT_THROW(contrastive_loss(image, text, at::scalar_tensor(1.2), at::zeros({3, 3}, at::kBool)), base::InvariantError);
  EXPECT_THROW(contrastive_loss(image, text.narrow(0, 0, 2), at::scalar_tensor(1.2), matches), base::InvariantError);
}

TEST(Contrastive, GradientEqualsFiniteDifferencesAndReachesBothHalves) {
  Parameters parameters(small_clip(), at::kCPU, "test");
  Contrastive objective(small_vision(), small_text(), parameters, at::kFloat, clip_batch);
  expect_gradient(objective, 1e-2, 2e-2);
  for (const char* name : {"logit_scale", "visual_projection.weight", "text_projection.weight", "vision_model.embeddings.patch_embedding.weight",
                           "text_model.embeddings.position_embedding.weight"})
    EXPECT_GT(parameters.at(name).grad().abs().max().item<double>(), 0) << name;
}

TEST(Contrastive, Bfloat16IsNearFloat) {
  Parameters parameters(small_clip(), at::kCPU, "test");
  Contrastive single(small_vision(), small_text(), parameters, at::kFloat, clip_batch),
      half(small_vision(), small_text(), parameters, at::kBFloat16, clip_batch);
  expect_bfloat16_near_float(parameters, single, half, 0.03, 0.05);
}

TEST(Contrastive, LearnsThreePairs) {
  Parameters parameters(small_clip(), at::kCPU, "test");
  Contrastive objective(small_vision(), small_text(), parameters, at::kFloat, clip_batch);
  const auto [first, last] = train(objective, 30, 3e-3);
  EXPECT_LT(last, 0.3 * first);
  const auto figures = objective.accumulate(0, 0, 1);
  EXPECT_EQ(figures[1], 1);
  EXPECT_EQ(figures[2], 1);
}

models::text::LlamaConfig small_llama() {
  models::text::LlamaConfig c;
  c.vocab_size = 24, c.hidden_size = 16, c.intermediate_size = 32, c.num_hidden_layers = 3, c.num_attention_heads = c.num_key_value_heads = 2, c.head_dim = 8;
  return c;
}

storage::NamedTensors small_language_model() {
  auto tensors = models::text::initialize_llama(small_llama(), 3);
  tensors[language_head] = numbers({24, 16}, 2) * 0.1;
  return tensors;
}

LanguageBatch language_batch(std::int64_t, std::int64_t, std::int64_t) {
  return {at::tensor({1, 2, 3, 7, 9, 4, 1, 2, 3, 8, 0, 0}, at::kLong).view({2, 6}), at::tensor({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0}, at::kLong).view({2, 6}),
          3};
}

TEST(LanguageModelling, LossCountsTheTokensFromTheFirstOnAndNoPadding) {
  const auto tensors = small_language_model();
  const auto network = models::text::LlamaEncoder::from_weights(small_llama(), models::nn::Weights::from_tensors(tensors, "test", {}), 0);
  const auto batch = language_batch(0, 0, 1);
  const at::Tensor logits = at::log_softmax(at::matmul(network.hidden_states(batch.input_ids, batch.attention_mask), tensors.at(language_head).t()), -1);
  double sum = 0, right = 0;
  const std::vector<std::array<int, 3>> predicted = {{0, 3, 7}, {0, 4, 9}, {0, 5, 4}, {1, 3, 8}};  // row, position, token
  for (const auto& [row, position, token] : predicted) {
    sum -= logits[row][position - 1][token].item<double>();
    right += logits[row][position - 1].argmax().item<std::int64_t>() == token;
  }
  const auto loss = language_loss(network, tensors.at(language_head), batch);
  EXPECT_NEAR(loss.loss.item<double>(), sum / 4, 1e-5);
  EXPECT_NEAR(loss.accuracy.item<double>(), right / 4, 1e-6);
  auto beyond = batch;
  beyond.first = 6;
  EXPECT_THROW(language_loss(network, tensors.at(language_head), beyond), base::InvariantError);
  beyond.first = 5;
  beyond.attention_mask = batch.attention_mask.clone().narrow(1, 5, 1).zero_().expand({2, 1});
  beyond.attention_mask = at::cat({batch.attention_mask.narrow(1, 0, 5), beyond.attention_mask}, 1);
  EXPECT_THROW(language_loss(network, tensors.at(language_head), beyond), base::InvariantError) << "only padding is left";
}

TEST(LanguageModelling, GradientEqualsFiniteDifferencesAndTheLossFalls) {
  Parameters parameters(small_language_model(), at::kCPU, "test");
  LanguageModelling objective(small_llama(), parameters, at::kFloat, language_batch);
  expect_gradient(objective, 1e-2, 2e-2);
  const auto [first, last] = train(objective, 30, 1e-2);
  // After "1 2 3" 7 and 8 are equally likely: what is left is a part of log 2.
  EXPECT_LT(last, 0.4 * first);
}

TEST(LanguageModelling, Bfloat16IsNearFloat) {
  Parameters parameters(small_language_model(), at::kCPU, "test");
  LanguageModelling single(small_llama(), parameters, at::kFloat, language_batch), half(small_llama(), parameters, at::kBFloat16, language_batch);
  expect_bfloat16_near_float(parameters, single, half, 0.01, 0.05);
}

TEST(FlowSequence, LossWeighsUpdatesAndMovingPixels) {
  at::Tensor truth = at::zeros({1, 2, 2, 2});
  truth[0][0][0][0] = 3;
  truth[0][1][0][0] = 4;  // one pixel of four moves, by 5
  const at::Tensor zero = at::zeros_like(truth), near = truth * 0.5;
  const FlowLoss options{.gamma = 0.5, .moving_weight = 2, .moving_from = 1};
  // |error|: 7 and 3.5 at that pixel.
  EXPECT_NEAR(flow_sequence_loss({zero, near}, truth, options).item<double>(), 0.5 * (7.0 / 4 + 2 * 7) + (3.5 / 4 + 2 * 3.5), 1e-5);
  EXPECT_EQ(flow_sequence_loss({zero}, zero, options).item<double>(), 0) << "no pixel moves";
  EXPECT_THROW(flow_sequence_loss({zero.narrow(2, 0, 1)}, truth, options), base::InvariantError);
}

FlowBatch flow_batch(std::int64_t, std::int64_t, std::int64_t) {
  // A texture that moves two pixels to the right; 48 pixels are scaled up to RAFT's 128.
  const at::Tensor y = at::arange(48, at::kFloat).view({48, 1}), x = at::arange(52, at::kFloat).view({1, 52});
  const at::Tensor wide = at::stack({at::sin(0.5 * x + 0.3 * y), at::sin(0.4 * y - 0.2 * x), at::cos(0.35 * x) * at::sin(0.3 * y)}).unsqueeze(0) * 0.8;
  at::Tensor flow = at::zeros({1, 2, 48, 48});
  flow.select(1, 0).fill_(2);
  return {wide.narrow(3, 2, 48), wide.narrow(3, 0, 48), flow};
}

TEST(FlowSequence, GradientEqualsFiniteDifferencesAndTheLossFalls) {
  Parameters parameters(models::vision::initial_raft("raft_small", 3).tensors, at::kCPU, "test");
  FlowSequence one("raft_small", parameters, flow_batch, 1, {});  // one update: what is detached between updates is no part of the gradient
  expect_gradient(one, 2e-3, 5e-2);
  FlowSequence objective("raft_small", parameters, flow_batch, 3, {});
  const auto [first, last] = train(objective, 30, 1e-3);
  EXPECT_LT(last, 0.35 * first);
  const auto figures = objective.accumulate(0, 0, 1);
  EXPECT_NEAR(figures[3], 2, 1e-5);
  EXPECT_LT(figures[1], 0.8) << "the last flow is far from the movement";
}

// What training differentiates is what the reward uses.
TEST(FlowSequence, TheLastOfAllFlowsIsTheEstimate) {
  const auto network =
      models::vision::Raft::from_weights(models::nn::Weights::from_tensors(models::vision::initial_raft("raft_small", 5).tensors, "test", {}), "raft_small");
  const auto batch = flow_batch(0, 0, 1);
  const auto flows = models::vision::estimate_flows(network, batch.first, batch.second, 3);
  ASSERT_EQ(flows.size(), 3u);
  for (int n = 1; n <= 3; ++n) {
    const at::Tensor alone = models::vision::estimate_flow(network, batch.first, batch.second, n);
    EXPECT_LT((flows[static_cast<std::size_t>(n - 1)] - alone).abs().max().item<double>(), 1e-5) << n;
  }
  EXPECT_GT((flows[2] - flows[1]).abs().max().item<double>(), 1e-4);
}

}  // namespace
}  // namespace magicid::objectives
