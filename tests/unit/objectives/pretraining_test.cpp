// The objectives that train whole networks: gradients against finite differences, losses against their parts computed apart.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "base/errors.h"
#include "diffusion/flow_matching.h"
#include "diffusion/initial_noise.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "models/nn/parameters.h"
#include "models/text/prompt_encoder.h"
#include "objectives/autoencoder_reconstruction.h"
#include "objectives/text_to_video.h"
#include "objectives/velocity_error.h"
#include "support/bfloat16_check.h"
#include "support/small_transformer.h"
#include "training/adamw.h"

namespace magicid::objectives {
namespace {

namespace hv = models::hunyuan_video;
using models::nn::Parameters;
using tests::expect_bfloat16_near_float;

at::Tensor numbers(std::vector<std::int64_t> shape, double phase) {
  std::int64_t n = 1;
  for (auto s : shape) n *= s;
  return at::sin(at::arange(n, at::kDouble) * 0.7 + phase).to(at::kFloat).reshape(shape);
}

hv::TransformerConfig small_transformer() {
  auto c = tests::small_transformer_config();
  c.num_attention_heads = 2;
  return c;
}

hv::AutoencoderConfig small_autoencoder() {
  hv::AutoencoderConfig c;
  c.latent_channels = 3;
  c.block_out_channels = {8, 8, 8};
  c.layers_per_block = 1;
  c.norm_num_groups = 4;
  c.spatial_compression_ratio = 4;
  return c;
}

TextToVideoBatch batch_of(double phase, std::int64_t items) {
  at::Tensor mask = at::ones({items, 6}, at::kLong);
  for (std::int64_t i = 0; i < items; ++i) mask[i].narrow(0, 6 - i % 3, i % 3).zero_();
  return {numbers({items, 4, 2, 4, 6}, phase), numbers({items, 6, 24}, phase), mask, numbers({items, 12}, phase)};
}

TokenErrors token_errors() {
  return [](const models::nn::Weights& weights, const TextToVideoBatch& batch, const at::Tensor& noisy, const at::Tensor& timestep, const at::Tensor& target) {
    const auto network = hv::Transformer::load(small_transformer(), weights);
    const hv::TransformerInputs inputs{.hidden_states = noisy,
                                       .timestep = timestep,
                                       .encoder_hidden_states = batch.prompt_embeds,
                                       .encoder_attention_mask = batch.prompt_mask,
                                       .pooled_projections = batch.pooled,
                                       .guidance = at::full_like(timestep, 1000)};
    return (network.forward_tokens(inputs).to(at::kFloat) - network.patchify(target)).square().mean(2);
  };
}

AutoencoderOfWeights autoencoder() {
  return [](const models::nn::Weights& weights) {
    const auto network = hv::Autoencoder::from_weights(small_autoencoder(), weights);
    return AutoencoderCalls{.encode =
                                [network](const at::Tensor& sample) {
                                  const auto latents = network.encode(sample);
                                  return std::pair(latents.mean, latents.logvar);
                                },
                            .decode = [network](const at::Tensor& latents) { return network.decode(latents); }};
  };
}

TextToVideo text_to_video(Parameters& parameters, const TextToVideoOptions& options, std::int64_t items = 3) {
  return TextToVideo(
      token_errors(), parameters, at::kFloat,
      [=](std::int64_t step, std::int64_t slot, std::int64_t) { return batch_of(static_cast<double>(step + slot), items); }, options, 5);
}

// Central difference of the loss along the gradient.
void expect_gradient(training::Objective& objective, std::int64_t step, std::int64_t slot, double h, double tolerance) {
  at::Tensor values = objective.parameters(), gradient = objective.gradient();
  gradient.zero_();
  objective.accumulate(step, slot, 2);
  const at::Tensor ours = gradient.clone(), direction = ours / ours.norm();
  ASSERT_GT(ours.norm().item<double>(), 1e-3);
  const auto at_offset = [&](double t) {
    const auto move = [&](double distance) {
      const c10::AutoGradMode no_grad(false);
      values.add_(direction, distance);
    };
    move(t);
    const double loss = objective.accumulate(step, slot, 2)[0];
    move(-t);
    return loss;
  };
  const double measured = (at_offset(h) - at_offset(-h)) / (2 * h);
  EXPECT_NEAR(measured, ours.norm().item<double>(), tolerance * ours.norm().item<double>());
}

TEST(Parameters, GradientsReachTheFlatBufferUnderTheFilesNames) {
  const auto initial = hv::initialize_transformer(small_transformer(), 3);
  Parameters parameters(initial, at::kCPU, "test");
  auto objective = text_to_video(parameters, {});
  objective.accumulate(0, 0, 2);
  for (const auto& [name, tensor] : parameters.named_tensors()) {
    const at::Tensor gradient = parameters.at(name).grad();
    ASSERT_TRUE(gradient.defined()) << name;
    EXPECT_TRUE(gradient.is_alias_of(parameters.gradient())) << name;
    EXPECT_TRUE(tensor.is_alias_of(parameters.values())) << name;
    // Every weight takes part, in both streams; a missing gradient is not zero. (Text tokens of the last block do not reach the output.)
    EXPECT_GT(gradient.abs().max().item<float>(), 0) << name;
  }
  EXPECT_THROW(parameters.assign({{"nothing.weight", at::zeros({1})}}), base::UserError);
  EXPECT_THROW(parameters.assign({{"proj_out.bias", at::zeros({1})}}), base::UserError);
  const at::Tensor bias = at::full_like(initial.at("proj_out.bias"), 0.5);
  parameters.assign({{"proj_out.bias", bias}});
  EXPECT_TRUE(at::equal(parameters.named_tensors().at("proj_out.bias"), bias));
}

TEST(TextToVideo, GradientEqualsFiniteDifferences) {
  Parameters parameters(hv::initialize_transformer(small_transformer(), 3), at::kCPU, "test");
  auto objective = text_to_video(parameters, {});
  expect_gradient(objective, 1, 1, 1e-2, 2e-2);
}

TEST(TextToVideo, Bfloat16IsNearFloat) {
  Parameters parameters(hv::initialize_transformer(small_transformer(), 3), at::kCPU, "test");
  const auto batches = [](std::int64_t step, std::int64_t slot, std::int64_t) { return batch_of(static_cast<double>(step + slot), 3); };
  TextToVideo single(token_errors(), parameters, at::kFloat, batches, {}, 5), half(token_errors(), parameters, at::kBFloat16, batches, {}, 5);
  expect_bfloat16_near_float(parameters, single, half, 0.01, 0.05);
}

// One by one for the weights whose gradient is written by hand.
TEST(TextToVideo, GradientsOfTheQueryAndKeyNormsEqualFiniteDifferences) {
  Parameters parameters(hv::initialize_transformer(small_transformer(), 3), at::kCPU, "test");
  auto objective = text_to_video(parameters, {});
  for (const char* name :
       {"transformer_blocks.0.attn.norm_q.weight", "transformer_blocks.0.attn.norm_added_k.weight", "single_transformer_blocks.0.attn.norm_k.weight"}) {
    at::Tensor weight = parameters.named_tensors().at(name), all = objective.gradient();
    all.zero_();
    objective.accumulate(1, 0, 2);
    const at::Tensor gradient = parameters.at(name).grad().clone();
    const auto loss_at = [&](double t) {
      weight.add_(gradient / gradient.norm(), t);
      const double loss = objective.accumulate(1, 0, 2)[0];
      weight.add_(gradient / gradient.norm(), -t);
      return loss;
    };
    const double measured = (loss_at(3e-2) - loss_at(-3e-2)) / 6e-2, expected = gradient.norm().item<double>();
    EXPECT_NEAR(measured, expected, 3e-2 * expected) << name;
  }
}

TEST(TextToVideo, WeightsOfTokens) {
  Parameters parameters(initialize_at_zero(hv::initialize_transformer(small_transformer(), 3)), at::kCPU, "test");
  const at::Tensor weights = numbers({2, 12}, 0.3).abs() + 0.1;
  TextToVideo objective(
      token_errors(), parameters, at::kFloat,
      [&](std::int64_t, std::int64_t, std::int64_t) {
        auto batch = batch_of(7, 2);
        batch.weights = weights;
        return batch;
      },
      {}, 5);
  // The network predicts zero: the error of a token is the mean square of its target.
  const auto batch = batch_of(7, 2);
  const auto transformer = hv::Transformer::load(small_transformer(), parameters.weights(at::kFloat));
  const at::Tensor noise = diffusion::initial_noise(5, "text-to-video-noise", batch.latents.sizes(), 0);
  const at::Tensor errors = transformer.patchify(noise - batch.latents).square().mean(2);
  EXPECT_NEAR(objective.accumulate(0, 0, 1)[0], ((errors * weights).sum() / weights.sum()).item<double>(), 1e-6);
  EXPECT_GT(std::abs((errors * weights).sum().item<double>() / weights.sum().item<double>() - errors.mean().item<double>()), 1e-3);
}

// At the start the loss is what predicting zero gives; then every weight comes to learn, also those behind gates that are zero at first.
TEST(TextToVideo, StartsAtZeroAndLearns) {
  Parameters parameters(initialize_at_zero(hv::initialize_transformer(small_transformer(), 3)), at::kCPU, "test");
  auto objective = text_to_video(parameters, {.shift = 1}, 2);
  const auto batch = batch_of(7, 2);
  const at::Tensor noise = diffusion::initial_noise(5, "text-to-video-noise", batch.latents.sizes(), 7 * 2);
  EXPECT_NEAR(objective.accumulate(7, 0, 2)[0], (noise - batch.latents).square().mean().item<double>(), 1e-6);
  at::Tensor values = objective.parameters(), gradient = objective.gradient();
  training::Options options;
  options.learning_rate = 3e-3, options.weight_decay = 0;
  training::AdamW optimizer(values, options);
  double first = 0, last = 0;
  for (int step = 0; step < 40; ++step) {
    gradient.zero_();
    const double loss = objective.accumulate(step % 2, 0, 1)[0];
    if (step < 2) first += loss / 2;
    if (step >= 38) last += loss / 2;
    const c10::AutoGradMode no_grad(false);
    optimizer.update(values, gradient, options.learning_rate);
  }
  EXPECT_LT(last, 0.8 * first);
  const Parameters untouched(initialize_at_zero(hv::initialize_transformer(small_transformer(), 3)), at::kCPU, "test");
  for (const auto& [name, tensor] : parameters.named_tensors()) EXPECT_FALSE(at::equal(tensor, untouched.named_tensors().at(name))) << name;
}

// A batch of one is the error that fine-tuning minimises too.
TEST(TextToVideo, LossOfOneSampleIsTheVelocityError) {
  const auto initial = hv::initialize_transformer(small_transformer(), 3);
  Parameters parameters(initial, at::kCPU, "test");
  auto objective = text_to_video(parameters, {.shift = 2}, 1);
  const auto figures = objective.accumulate(4, 1, 2);
  const auto transformer = hv::Transformer::load(small_transformer(), models::nn::Weights::from_tensors(initial, "test", {}));
  const auto batch = batch_of(5, 1);
  const NoisySample noisy{batch.latents, diffusion::initial_noise(5, "text-to-video-noise", batch.latents.sizes(), 9), diffusion::sample_sigma(5, 4, 1, 2, 2)};
  const models::text::PromptEmbeddings condition{
      .prompt_embeds = batch.prompt_embeds, .pooled_prompt_embeds = batch.pooled, .prompt_attention_mask = batch.prompt_mask};
  EXPECT_NEAR(figures[0], velocity_error(transformer, nullptr, noisy, condition, 1.0).item<double>(), 1e-5 * figures[0]);
}

TEST(AutoencoderReconstruction, GradientEqualsFiniteDifferencesForFramesAndClips) {
  for (const std::int64_t frames : {1, 5}) {
    Parameters parameters(hv::initialize_autoencoder(small_autoencoder(), 3), at::kCPU, "test");
    AutoencoderReconstruction objective(
        autoencoder(), parameters, at::kFloat,
        [&](std::int64_t step, std::int64_t slot, std::int64_t) {
          return AutoencoderBatch{numbers({2, 3, frames, 8, 12}, static_cast<double>(step + slot)), numbers({2, 1, frames, 8, 12}, 1).abs() + 0.5};
        },
        {.gradient_weight = 0.5, .kl_weight = 0.1, .latent_noise = frames == 1 ? 0.0 : 0.3}, 5);
    expect_gradient(objective, 0, 1, 2e-4, 5e-2);
  }
}

TEST(AutoencoderReconstruction, Bfloat16IsNearFloat) {
  Parameters parameters(hv::initialize_autoencoder(small_autoencoder(), 3), at::kCPU, "test");
  const auto batches = [](std::int64_t step, std::int64_t slot, std::int64_t) {
    return AutoencoderBatch{numbers({2, 3, 5, 8, 12}, static_cast<double>(step + slot)), numbers({2, 1, 5, 8, 12}, 1).abs() + 0.5};
  };
  const AutoencoderLoss loss{.gradient_weight = 0.5, .kl_weight = 0.1, .latent_noise = 0.3};
  AutoencoderReconstruction single(autoencoder(), parameters, at::kFloat, batches, loss, 5), half(autoencoder(), parameters, at::kBFloat16, batches, loss, 5);
  expect_bfloat16_near_float(parameters, single, half, 0.01, 0.15);
}

TEST(AutoencoderReconstruction, NoiseOnLatentsIsTheSamplesOwnAndCostsTheDecoderAlone) {
  Parameters parameters(hv::initialize_autoencoder(small_autoencoder(), 3), at::kCPU, "test");
  const auto figures = [&](double noise, std::int64_t slot) {
    AutoencoderReconstruction objective(
        autoencoder(), parameters, at::kFloat,
        [](std::int64_t, std::int64_t, std::int64_t) { return AutoencoderBatch{numbers({2, 3, 1, 8, 8}, 0), at::ones({1, 1, 1, 1, 1})}; },
        {.gradient_weight = 1, .kl_weight = 1, .latent_noise = noise}, 5);
    return objective.accumulate(3, slot, 2);
  };
  const auto none = figures(0, 0), some = figures(0.5, 0), more = figures(50, 0);
  EXPECT_EQ(some, figures(0.5, 0));
  EXPECT_NE(some[1], figures(0.5, 1)[1]);
  EXPECT_NE(none[1], some[1]);
  EXPECT_NE(some[1], more[1]);
  EXPECT_EQ(none[3], more[3]) << "the divergence is of the latents without the noise";
}

// What clips and single frames teach apart: a still clip decodes to its single frame, and frames leave the earlier taps alone.
TEST(AutoencoderReconstruction, SingleFramesTrainTheLastTemporalTap) {
  Parameters parameters(initialize_framewise(hv::initialize_autoencoder(small_autoencoder(), 3)), at::kCPU, "test");
  for (const std::int64_t frames : {1, 5}) {
    AutoencoderReconstruction objective(
        autoencoder(), parameters, at::kFloat,
        [&](std::int64_t, std::int64_t, std::int64_t) { return AutoencoderBatch{numbers({2, 3, frames, 8, 8}, 0), at::ones({1, 1, 1, 1, 1})}; }, {}, 5);
    objective.gradient().zero_();
    objective.accumulate(0, 0, 1);
    for (const char* name : {"encoder.conv_in.conv.weight", "decoder.up_blocks.1.resnets.0.conv1.conv.weight"}) {
      const at::Tensor gradient = parameters.at(name).grad();
      EXPECT_GT(gradient.narrow(2, 2, 1).abs().max().item<float>(), 0) << name;
      EXPECT_EQ(gradient.narrow(2, 0, 2).abs().max().item<float>() > 0, frames > 1) << name << " " << frames << " frames";
    }
  }
  const auto network = hv::Autoencoder::from_weights(small_autoencoder(), parameters.weights(at::kFloat));
  const c10::AutoGradMode no_grad(false);
  const at::Tensor still = numbers({1, 3, 1, 8, 8}, 0);
  const at::Tensor one = network.decode(network.encode(still).mean), many = network.decode(network.encode(still.expand({1, 3, 5, 8, 8})).mean);
  EXPECT_LT((many - one).abs().max().item<double>(), 1e-3 * one.abs().max().item<double>());
}

TEST(AutoencoderReconstruction, LossIsTheSumOfItsPartsAndFalls) {
  Parameters parameters(hv::initialize_autoencoder(small_autoencoder(), 3), at::kCPU, "test");
  const AutoencoderLoss weights{.gradient_weight = 0.5, .kl_weight = 1e-2};
  AutoencoderReconstruction objective(
      autoencoder(), parameters, at::kFloat,
      [](std::int64_t, std::int64_t, std::int64_t) { return AutoencoderBatch{numbers({2, 3, 1, 8, 8}, 0), at::ones({1, 1, 1, 1, 1})}; }, weights, 5);
  at::Tensor values = objective.parameters(), gradient = objective.gradient();
  training::Options options;
  options.learning_rate = 5e-3, options.weight_decay = 0;
  training::AdamW optimizer(values, options);
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    gradient.zero_();
    const auto figures = objective.accumulate(step, 0, 1);
    EXPECT_NEAR(figures[0], figures[1] + 0.5 * figures[2] + 1e-2 * figures[3], 1e-5);
    (step == 0 ? first : last) = figures[0];
    const c10::AutoGradMode no_grad(false);
    optimizer.update(values, gradient, options.learning_rate);
  }
  EXPECT_LT(last, 0.75 * first);
}

}  // namespace
}  // namespace magicid::objectives
