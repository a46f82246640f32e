// `magicid probe hpo`: loss, errors and the adapter's gradient of given preference pairs, on any mesh of ranks. The tool with which the training is compared
// with Python, and one layout of ranks with another.

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/errors.h"
#include "base/log.h"
#include "base/version.h"
#include "comm/options.h"
#include "commands/command_line.h"
#include "commands/device_options.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/transformer.h"
#include "objectives/pair_gradient.h"
#include "parallel/replicas.h"
#include "storage/safetensors.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;
namespace hv = models::hunyuan_video;

struct Arguments {
  std::string model, adapter, reference_adapter, inputs, outputs, recompute = "none";
  double beta = 2000;
  comm::Options mesh;
  DeviceChoice device;
};

// B pairs, one from each row of the file's tensors.
struct Pairs {
  at::Tensor winner, loser, noise, sigma, prompt_embeds, prompt_attention_mask, pooled_prompt_embeds, guidance;

  std::int64_t count() const { return winner.size(0); }
  at::Tensor row(const at::Tensor& t, std::int64_t i) const { return t.defined() ? t.narrow(0, i, 1) : t; }
};

Pairs read_pairs(const std::string& file, bool with_guidance) {
  const auto in = storage::SafetensorsFile::open(file);
  Pairs pairs{.winner = in.at("latents_winner"),
              .loser = in.at("latents_loser"),
              .noise = in.at("noise"),
              .sigma = in.at("sigma").to(at::kDouble).reshape({-1}),
              .prompt_embeds = in.at("prompt_embeds"),
              .prompt_attention_mask = in.at("prompt_attention_mask"),
              .pooled_prompt_embeds = in.at("pooled_prompt_embeds"),
              .guidance = {}};
  pairs.guidance = with_guidance ? in.at("guidance").to(at::kDouble).reshape({-1}) : at::zeros({pairs.count()}, at::kDouble);
  if (pairs.winner.dim() != 5 || pairs.winner.sizes() != pairs.loser.sizes() || pairs.winner.sizes() != pairs.noise.sizes())
    throw base::UserError(file, ": latents_winner is ", base::concat(pairs.winner.sizes()), ", latents_loser ", base::concat(pairs.loser.sizes()), ", noise ",
                          base::concat(pairs.noise.sizes()), "; expected one shape [pairs, channels, frames, rows, columns] for the three");
  for (const auto& [name, tensor] : {std::pair<const char*, const at::Tensor&>{"sigma", pairs.sigma},
                                     {"prompt_embeds", pairs.prompt_embeds},
                                     {"guidance", pairs.guidance},
                                     {"prompt_attention_mask", pairs.prompt_attention_mask},
                                     {"pooled_prompt_embeds", pairs.pooled_prompt_embeds}})
    if (tensor.size(0) != pairs.count())
      throw base::UserError(file, ": '", name, "' has ", tensor.size(0), " rows; expected one for each of the ", pairs.count(), " pairs");
  return pairs;
}

int probe_hpo(const Arguments& a) {
  const auto recompute = models::generator::RecomputePlan::parse(a.recompute);
  const auto world = comm::make_world(a.mesh);
  base::log::configure(base::log::Level::info, world->rank(), world->size());
  auto groups = comm::make_groups(*world, comm::make_mesh(a.mesh, world->size()));
  parallel::SampleRanks ranks(groups);

  const auto placement = resolve(a.device);
  const models::nn::Placement adapter_placement{placement.device, placement.dtype == at::kDouble ? at::kDouble : at::kFloat};
  std::optional<hv::Transformer> transformer;
  std::optional<models::generator::Adapter> policy, reference;
  Pairs pairs;
  comm::agree(*world, "reading model, adapters and inputs", [&] {
    const fs::path folder = a.model;
    transformer = hv::Transformer::load(fs::exists(folder / "model_index.json") ? folder / "transformer" : folder, placement);
    recompute.check(transformer->config().num_layers + transformer->config().num_single_layers);
    policy = hv::load_adapter(transformer->config(), a.adapter, adapter_placement);
    if (!a.reference_adapter.empty()) reference = hv::load_adapter(transformer->config(), a.reference_adapter, adapter_placement);
    pairs = read_pairs(a.inputs, transformer->config().guidance_embeds);
  });
  policy->set_requires_grad(true);

  const objectives::PairLoss loss{.beta = a.beta};
  const objectives::Execution execution{.ranks = &ranks, .recompute = recompute};
  at::Tensor gradient = at::zeros_like(policy->flat_parameters());
  at::Tensor figures = at::zeros({pairs.count(), 5}, at::kDouble);  // loss, the policy's errors, the reference's
  for (std::int64_t i = groups.here.replica; i < pairs.count(); i += groups.mesh.shape().replica) {
    const at::Tensor noise = pairs.row(pairs.noise, i);
    const double sigma = pairs.sigma[i].item<double>();
    const models::generator::Condition condition{{{"prompt_embeds", pairs.row(pairs.prompt_embeds, i)},
                                                  {"pooled_prompt_embeds", pairs.row(pairs.pooled_prompt_embeds, i)},
                                                  {"prompt_attention_mask", pairs.row(pairs.prompt_attention_mask, i)}}};
    const auto errors = objectives::accumulate_pair(*transformer, {*policy, reference ? &*reference : nullptr},
                                                    {.winner = {pairs.row(pairs.winner, i), noise, sigma},
                                                     .loser = {pairs.row(pairs.loser, i), noise, sigma},
                                                     .condition = condition,
                                                     .guidance = pairs.guidance[i].item<double>() / 1000},
                                                    loss, execution, gradient);
    if (groups.here.pair == 0 && groups.here.sequence == 0)
      figures[i].copy_(at::tensor({loss(errors), errors.winner, errors.loser, errors.reference_winner, errors.reference_loser}, at::kDouble));
  }
  world->all_reduce(figures);
  parallel::reduce_gradient(*world, gradient, pairs.count());

  storage::NamedTensors outputs{{"loss", figures.select(1, 0).mean()}};
  const char* names[] = {"pair_loss", "winner_error", "loser_error", "reference_winner_error", "reference_loser_error"};
  for (std::int64_t i = 0; i < 5; ++i) outputs[names[i]] = figures.select(1, i).contiguous();
  const at::Tensor host = gradient.cpu();
  std::int64_t offset = 0;
  for (const auto& m : policy->modules()) {
    for (const auto& [suffix, rows, columns] : {std::tuple(".lora_A.weight", m.rank, m.in), std::tuple(".lora_B.weight", m.out, m.rank)}) {
      outputs["grad." + m.name + suffix] = host.narrow(0, offset, rows * columns).view({rows, columns});
      offset += rows * columns;
    }
  }
  comm::agree(*world, "writing the outputs", [&] {
    if (world->rank() == 0) storage::write_safetensors(a.outputs, outputs, {{"producer", "magicid " + base::code_version()}, {"mesh", groups.mesh.describe()}});
  });
  base::log::info("wrote " + a.outputs + " (" + groups.mesh.describe() + ")");
  return 0;
}

}  // namespace

void add_probe_hpo(CLI::App& probe, Work& work) {
  auto* command = probe.add_subcommand(
      "hpo",
      "latents_winner, latents_loser, noise, sigma, prompt_embeds, prompt_attention_mask, pooled_prompt_embeds, guidance (times 1000), a row for each pair -> "
      "loss (mean over the pairs), pair_loss, winner_error, loser_error, reference_winner_error, reference_loser_error, grad.MODULE.lora_{A,B}.weight; "
      "alone or under mpirun");
  auto a = std::make_shared<Arguments>();
  command->add_option("--model", a->model, "folder of the transformer, or of a pipeline that holds it")->required();
  command->add_option("--adapter", a->adapter, "LoRA file of the policy")->required();
  command->add_option("--reference-adapter", a->reference_adapter, "LoRA file of the frozen reference; default: the bare model");
  command->add_option("--beta", a->beta, "strength of the tie to the reference")->check(CLI::PositiveNumber)->capture_default_str();
  command->add_option("--inputs", a->inputs, "safetensors file with the inputs")->required();
  command->add_option("--outputs", a->outputs, "safetensors file to write")->required();
  command->add_option("--pair", a->mesh.pair, "ranks of one pair: 1, or 2 (winner and loser apart)")->check(CLI::Range(1, 2))->capture_default_str();
  command->add_option("--sequence", a->mesh.sequence, "ranks that share the tokens of one video")->check(CLI::PositiveNumber)->capture_default_str();
  command->add_option("--backend", a->mesh.backend, "how ranks talk")->check(CLI::IsMember({"automatic", "local", "mpi", "nccl"}))->capture_default_str();
  command->add_option("--recompute", a->recompute, "what the backward computes again, as model.recompute has it")->capture_default_str();
  add_device_options(*command, a->device);
  command->callback([a, &work] { work = [a] { return probe_hpo(*a); }; });
}

}  // namespace magicid::commands
