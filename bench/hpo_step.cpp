// Times one HPO sample (winner and loser, policy and reference) on any layout of ranks: the counterpart of hpo_step.py.
//
//   launch/mpirun -n RANKS hpo_step TRANSFORMER_FOLDER none|attention_kept|full [--pair 2] [--sequence N] [--repeats N] [--samples N] [--frames N] [--dtype
//   float32|bfloat16]
//
// A repetition is one optimizer step without the optimizer: `samples` pairs of `frames` latent frames of 128 x 128 pixels (8: a 29-frame video, 2048 video
// tokens) spread over the replicas, LoRA of rank 16 on all of the blocks' Linears but the modulations, gradients summed over the world. One untimed repetition
// first. Rank 0 prints one line of JSON: the seconds of each repetition (the slowest rank's) and the peak resident memory of the largest process.
// bench/compare_hpo runs both and prints ratios.
#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string>

#include "comm/launch.h"
#include "comm/mesh.h"
#include "comm/options.h"
#include "models/generator/adapter.h"
#include "models/hunyuan_video/transformer.h"
#include "models/text/prompt_encoder.h"
#include "objectives/pair_gradient.h"
#include "parallel/replicas.h"

namespace hv = magicid::models::hunyuan_video;
namespace comm = magicid::comm;

namespace {

struct Arguments {
  std::string folder, recompute, dtype = "float32";
  comm::Options mesh;
  int repeats = 3;
  std::int64_t samples = 2, frames = 8;
};

// 16 x 16 patches of 2 x 2 in a frame.
constexpr std::int64_t kRows = 32, kColumns = 32, kTextRows = 64, kLoraRank = 16;

magicid::models::generator::Adapter small_adapter(const hv::TransformerConfig& config) {
  magicid::models::generator::AdapterOptions options;
  options.lora_rank = kLoraRank;
  options.alpha = kLoraRank;
  return magicid::models::generator::Adapter::create(adaptable(config), options);
}

void run(const Arguments& a) {
  at::get_num_threads();  // reads OMP_NUM_THREADS
  const auto world = comm::make_world(a.mesh);
  auto groups = comm::make_groups(*world, comm::make_mesh(a.mesh, world->size()));
  magicid::parallel::SampleRanks ranks(groups);
  const auto transformer = hv::Transformer::load(a.folder, {at::kCPU, a.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat});
  const auto& config = transformer.config();
  auto policy = small_adapter(config);
  const auto reference = small_adapter(config);
  policy.set_requires_grad(true);

  const at::Tensor winner = at::randn({1, config.in_channels, a.frames, kRows, kColumns}), loser = at::randn_like(winner), noise = at::randn_like(winner);
  const magicid::models::text::PromptEmbeddings condition{.prompt_embeds = at::randn({1, kTextRows, config.text_embed_dim}),
                                                          .pooled_prompt_embeds = at::randn({1, config.pooled_projection_dim}),
                                                          .prompt_attention_mask = at::ones({1, kTextRows})};
  const magicid::objectives::PairLoss loss{.beta = 2000};
  const magicid::objectives::Execution execution{.ranks = &ranks, .recompute = magicid::models::generator::RecomputePlan::parse(a.recompute)};
  at::Tensor gradient = at::zeros_like(policy.flat_parameters());
  std::string seconds;
  for (int i = -1; i < a.repeats; ++i) {
    world->barrier();
    const auto start = std::chrono::steady_clock::now();
    gradient.zero_();
    for (std::int64_t s = groups.here.replica; s < a.samples; s += groups.mesh.shape().replica)
      magicid::objectives::accumulate_pair(transformer, {policy, &reference},
                                           {.winner = {winner, noise, 0.5}, .loser = {loser, noise, 0.5}, .condition = condition, .guidance = 6.0}, loss,
                                           execution, gradient);
    magicid::parallel::reduce_gradient(*world, gradient, a.samples);
    world->barrier();
    const double t = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i >= 0) seconds += (i ? ", " : "") + std::to_string(t);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  at::Tensor peaks = at::zeros({world->size()}, at::kDouble);
  peaks[world->rank()] = static_cast<double>(usage.ru_maxrss) / 1024.0;
  world->all_reduce(peaks);
  if (world->rank() == 0)
    std::printf("{\"layout\": \"%s\", \"seconds\": [%s], \"peak_mib\": %.1f}\n", groups.mesh.describe().c_str(), seconds.c_str(), peaks.max().item<double>());
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  CLI::App app("Times HPO samples; bench/compare_hpo");
  app.add_option("folder", a.folder)->required();
  app.add_option("recompute", a.recompute)->required();
  app.add_option("--pair", a.mesh.pair)->check(CLI::Range(1, 2));
  app.add_option("--sequence", a.mesh.sequence)->check(CLI::PositiveNumber);
  app.add_option("--repeats", a.repeats)->check(CLI::PositiveNumber);
  app.add_option("--samples", a.samples)->check(CLI::PositiveNumber);
  app.add_option("--frames", a.frames)->check(CLI::PositiveNumber);
  app.add_option("--dtype", a.dtype)->check(CLI::IsMember({"float32", "bfloat16"}));
  CLI11_PARSE(app, argc, argv);
  return comm::run_as_rank(argc, argv, [&](int, char**) {
    run(a);
    return 0;
  });
}
