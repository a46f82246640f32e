// The denoising loop: on ranks that share a video's tokens, with adapters that act in a part of it, and with gradients.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"
#include "comm/threads.h"
#include "diffusion/initial_noise.h"
#include "generation/sample.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "support/small_transformer.h"

namespace magicid::generation {
namespace {

namespace hv = models::hunyuan_video;
using models::generator::Adapter;
using models::generator::Condition;

Condition prompt(double phase, std::int64_t length, at::ScalarType dtype = at::kFloat) {
  at::Tensor mask = at::zeros({1, 6}, at::kLong);
  mask.narrow(1, 0, length).fill_(1);
  return {{{"prompt_embeds", at::sin(at::arange(144, dtype) + phase).view({1, 6, 24})},
           {"pooled_prompt_embeds", at::cos(at::arange(12, dtype) + phase).view({1, 12})},
           {"prompt_attention_mask", mask}}};
}

hv::Transformer small_transformer(at::ScalarType dtype = at::kFloat) {
  return hv::Transformer::load(tests::small_transformer_config(),
                               models::nn::Weights::from_tensors(hv::initialize_transformer(tests::small_transformer_config(), 5), "test", {.dtype = dtype}));
}

// An adapter whose product is not zero.
Adapter trained_adapter(double phase, std::int64_t rank, const std::vector<std::string>& targets = {}, double alpha = 2) {
  auto adapter = Adapter::create(hv::adaptable(tests::small_transformer_config()), {.targets = targets, .lora_rank = rank, .alpha = alpha, .seed = 3});
  at::Tensor flat = adapter.flat_parameters();
  flat.add_(at::sin(at::arange(flat.numel(), at::kFloat) * 0.7 + phase), 0.2);
  return adapter;
}

struct Sampling {
  hv::Transformer transformer = small_transformer();
  diffusion::FlowMatchEulerScheduler scheduler{{.shift = 3}};
  SampleRequest request{.noise = diffusion::initial_noise(1, "test", {1, 4, 3, 6, 10}), .prompt = prompt(0, 5), .options = {.steps = 4}};

  at::Tensor operator()(std::vector<AppliedAdapter> adapters) {
    request.adapters = std::move(adapters);
    return sample_latents(transformer, scheduler, request);
  }
};

double distance(const at::Tensor& a, const at::Tensor& b) { return ((a - b).abs().max() / b.abs().max()).item<double>(); }

TEST(SampleLatents, RanksThatShareTheTokensGetOneRanksVideo) {
  const auto transformer = small_transformer();
  const diffusion::FlowMatchEulerScheduler scheduler({.shift = 7});
  const SampleRequest request{.noise = diffusion::initial_noise(1, "test", {1, 4, 3, 6, 10}),
                              .prompt = prompt(0, 5),
                              .negative = prompt(1, 1),
                              .options = {.steps = 4, .true_cfg = 2.0}};
  const at::Tensor alone = sample_latents(transformer, scheduler, request);
  EXPECT_GT((alone - request.noise).abs().max().item<double>(), 0.1);
  for (const int size : {1, 2, 3, 4}) {
    std::vector<at::Tensor> results(static_cast<std::size_t>(size));
    int steps = 0;
    comm::run_threads(size, [&](comm::Communicator& world) {
      auto groups = comm::make_groups(world, comm::Mesh({.replica = 1, .pair = 1, .sequence = size}));
      auto ranks = parallel::SampleRanks::of_sequence(groups);
      results[static_cast<std::size_t>(world.rank())] =
          sample_latents(transformer, scheduler, request, [&](const diffusion::StepState&) { steps += world.rank() == 0; }, &ranks);
    });
    EXPECT_EQ(steps, 4);
    for (const auto& result : results) {
      EXPECT_TRUE(at::equal(result, results[0]));
      EXPECT_LT(((result - alone).abs().max() / alone.abs().max()).item<double>(), 1e-5) << size;
    }
    EXPECT_TRUE(size > 1 || at::equal(results[0], alone));
  }
}

TEST(SampleLatents, AnAdapterActsInItsRangeOfSigmaAlone) {
  Sampling sample;
  const Adapter adapter = trained_adapter(0, 2);
  const at::Tensor bare = sample({}), everywhere = sample({{&adapter, {}}});
  EXPECT_GT(distance(everywhere, bare), 1e-3);
  // Four steps at shift 3: the network runs at sigma 1, 0.9, 0.75 and 0.5.
  EXPECT_TRUE(at::equal(sample({{&adapter, {.above = 0.4, .up_to = 1}}}), everywhere));
  EXPECT_TRUE(at::equal(sample({{&adapter, {.above = 0, .up_to = 0.45}}}), bare)) << "no step lies in the range";
  // The last two steps with it, by hand: two steps without, and the rest of the way from there.
  const auto schedule = sample.scheduler.schedule(4);
  at::Tensor latents = sample.request.noise;
  for (int step = 0; step < 4; ++step) {
    const double sigma = schedule.sigmas[static_cast<std::size_t>(step)];
    const at::Tensor tokens = sample.transformer.velocity_tokens({.latents = latents, .timestep = 1000 * sigma, .guidance = 6, .condition = prompt(0, 5)},
                                                                 step < 2 ? nullptr : &adapter, {models::generator::local_joint_attention(), {}});
    latents = diffusion::euler_step(schedule, step, latents, sample.transformer.unpatchify(tokens, 3, 6, 10));
  }
  const at::Tensor late = sample({{&adapter, {.above = 0, .up_to = 0.8}}});
  EXPECT_LT(distance(late, latents), 1e-6);
  EXPECT_GT(distance(late, everywhere), 1e-3);
}

TEST(SampleLatents, SeveralAdaptersActTogetherAndApart) {
  Sampling sample;
  // Different ranks, strengths and modules.
  Adapter first = trained_adapter(0, 2), second = trained_adapter(1, 3, {"img_attn_qkv", "linear1"}, 6);
  second.scale_by(0.5);
  const at::Tensor apart = sample({{&first, {.above = 0.8, .up_to = 1}}, {&second, {.above = 0, .up_to = 0.8}}});
  EXPECT_GT(distance(apart, sample({{&first, {.above = 0.8, .up_to = 1}}})), 1e-3);
  EXPECT_GT(distance(apart, sample({{&second, {.above = 0, .up_to = 0.8}}})), 1e-3);
  const at::Tensor together = sample({{&first, {}}, {&second, {}}});
  EXPECT_LT(distance(together, sample({{&second, {}}, {&first, {}}})), 1e-5);
  EXPECT_GT(distance(together, sample({{&first, {}}})), 1e-3);
  // An adapter and its opposite are none.
  Adapter opposite = first.frozen_copy({}, -1);
  EXPECT_LT(distance(sample({{&first, {}}, {&opposite, {}}}), sample({})), 1e-5);
  // Twice the same is twice as strong.
  const Adapter twice = first.frozen_copy({}, 2);
  EXPECT_LT(distance(sample({{&first, {}}, {&first, {}}}), sample({{&twice, {}}})), 1e-5);
}

TEST(SampleLatents, TheEndMayBeGuidedByAnotherScale) {
  Sampling sample;
  sample.request.negative = prompt(1, 2);
  sample.request.options.true_cfg = 3;
  const at::Tensor strong = sample({});
  sample.request.options.late = {.up_to = 0.4, .true_cfg = 1};
  EXPECT_TRUE(at::equal(sample({}), strong)) << "no step lies that late: the network runs at sigma 1, 0.9, 0.75 and 0.5";
  sample.request.options.late = {.up_to = 1, .true_cfg = 1};
  const at::Tensor late = sample({});
  sample.request.options.late.reset();
  sample.request.options.true_cfg = 1;
  EXPECT_TRUE(at::equal(late, sample({}))) << "everywhere the other scale";
  sample.request.options.true_cfg = 3;
  sample.request.options.late = {.up_to = 0.8, .true_cfg = 1};
  EXPECT_GT(distance(sample({}), strong), 1e-3);
  EXPECT_GT(distance(sample({}), late), 1e-3);
}

TEST(SampleLatents, RefusesARangeWithoutNoise) {
  Sampling sample;
  const Adapter adapter = trained_adapter(0, 2);
  for (const SigmaRange range : {SigmaRange{0.5, 0.5}, SigmaRange{-0.1, 1}, SigmaRange{0, 1.5}, SigmaRange{0.8, 0.2}})
    EXPECT_THROW(sample({{&adapter, range}}), base::UserError) << range.above << " " << range.up_to;
}

// The derivative along the gradient, in fp64 but for the loop's fp32 latents: what the last steps would be with other parameters, the earlier ones as they
// were.
TEST(SampleLatents, GradientsOfTheLastStepsEqualFiniteDifferences) {
  const auto transformer = small_transformer(at::kDouble);
  const diffusion::FlowMatchEulerScheduler scheduler({.shift = 3});
  const at::Tensor wanted = at::sin(at::arange(720, at::kFloat)).view({1, 4, 3, 6, 10});
  for (const auto recompute : {models::generator::Recompute::none, models::generator::Recompute::full})
    for (const int last : {1, 2}) {
      Adapter adapter = trained_adapter(0, 2).frozen_copy({.dtype = at::kDouble});
      adapter.set_requires_grad(true);
      SampleRequest request{.noise = diffusion::initial_noise(1, "test", {1, 4, 3, 6, 10}),
                            .prompt = prompt(0, 5, at::kDouble),
                            .negative = prompt(1, 2, at::kDouble),
                            .adapters = {{&adapter, {}}},
                            .options = {.steps = 3, .true_cfg = 2, .gradient_steps = last, .recompute = recompute}};
      const at::Tensor latents = sample_latents(transformer, scheduler, request);
      ASSERT_TRUE(latents.requires_grad());
      (latents * wanted).sum().backward();
      const at::Tensor gradient = adapter.flat_gradients().clone();
      const double length = gradient.norm().item<double>();
      ASSERT_GT(length, 1e-3);

      // The recorded steps begin at this sigma; those before it keep the parameters of now.
      const double begin = scheduler.schedule(3).sigmas[static_cast<std::size_t>(3 - last)];
      const Adapter now = adapter.frozen_copy({.dtype = at::kDouble});
      const auto loss_at = [&](double moved) {
        Adapter other = adapter.frozen_copy({.dtype = at::kDouble});
        at::Tensor flat = other.flat_parameters();
        flat.add_(gradient, moved / length);
        request.adapters = {{&other, {.above = 0, .up_to = begin}}};
        if (begin < 1) request.adapters.push_back({&now, {.above = begin, .up_to = 1}});
        const c10::AutoGradMode no_grad(false);
        return (sample_latents(transformer, scheduler, request).to(at::kDouble) * wanted).sum().item<double>();
      };
      const double step = 2e-2, difference = (loss_at(step) - loss_at(-step)) / (2 * step);
      EXPECT_NEAR(difference / length, 1, 5e-3) << last;
    }
}

TEST(SampleLatents, RecordsNothingUnlessAsked) {
  Sampling sample;
  Adapter adapter = trained_adapter(0, 2);
  adapter.set_requires_grad(true);
  EXPECT_FALSE(sample({{&adapter, {}}}).requires_grad());
  sample.request.options.gradient_steps = 1;
  {
    const c10::AutoGradMode no_grad(false);
    EXPECT_FALSE(sample({{&adapter, {}}}).requires_grad());
  }
  const Adapter other = trained_adapter(1, 2);
  EXPECT_THROW(sample({{&adapter, {}}, {&other, {}}}), base::UserError) << "gradients go to one adapter";
}

}  // namespace
}  // namespace magicid::generation
