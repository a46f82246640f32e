// The denoising loop on ranks that share a video's tokens.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/threads.h"
#include "diffusion/initial_noise.h"
#include "generation/sample.h"
#include "models/hunyuan_video/initialize.h"
#include "support/small_transformer.h"

namespace magicid::generation {
namespace {

namespace hv = models::hunyuan_video;

PromptEmbeddings prompt(double phase, std::int64_t length) {
  at::Tensor mask = at::zeros({1, 6}, at::kLong);
  mask.narrow(1, 0, length).fill_(1);
  return {.prompt_embeds = at::sin(at::arange(144, at::kFloat) + phase).view({1, 6, 24}),
          .pooled_prompt_embeds = at::cos(at::arange(12, at::kFloat) + phase).view({1, 12}),
          .prompt_attention_mask = mask};
}

TEST(SampleLatents, RanksThatShareTheTokensGetOneRanksVideo) {
  const auto transformer = hv::Transformer::load(
      tests::small_transformer_config(), models::nn::Weights::from_tensors(hv::initialize_transformer(tests::small_transformer_config(), 5), "test", {}));
  const diffusion::FlowMatchEulerScheduler scheduler({.shift = 7});
  const at::Tensor noise = diffusion::initial_noise(1, "test", {1, 4, 3, 6, 10});
  const SampleOptions options{.steps = 4, .true_cfg = 2.0};
  const at::Tensor alone = sample_latents(transformer, nullptr, scheduler, noise, prompt(0, 5), prompt(1, 1), options);
  EXPECT_GT((alone - noise).abs().max().item<double>(), 0.1);
  for (const int size : {1, 2, 3, 4}) {
    std::vector<at::Tensor> results(static_cast<std::size_t>(size));
    int steps = 0;
    comm::run_threads(size, [&](comm::Communicator& world) {
      auto groups = comm::make_groups(world, comm::Mesh({.replica = 1, .pair = 1, .sequence = size}));
      auto ranks = parallel::SampleRanks::of_sequence(groups);
      results[static_cast<std::size_t>(world.rank())] = sample_latents(
          transformer, nullptr, scheduler, noise, prompt(0, 5), prompt(1, 1), options, [&](const diffusion::StepState&) { steps += world.rank() == 0; },
          &ranks);
    });
    EXPECT_EQ(steps, 4);
    for (const auto& result : results) {
      EXPECT_TRUE(at::equal(result, results[0]));
      EXPECT_LT(((result - alone).abs().max() / alone.abs().max()).item<double>(), 1e-5) << size;
    }
    EXPECT_TRUE(size > 1 || at::equal(results[0], alone));
  }
}

}  // namespace
}  // namespace magicid::generation
