// HPO's loss, errors and gradients against diffusers + PEFT (tests/reference/make_hpo.py), on one rank and on meshes.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "comm/local.h"
#include "comm/threads.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "models/nn/network_config.h"
#include "models/text/prompt_encoder.h"
#include "objectives/pair_gradient.h"
#include "support/formula_weights.h"

namespace magicid::objectives {
namespace {

namespace hv = models::hunyuan_video;
using nlohmann::json;

const std::filesystem::path kData = std::filesystem::path(MAGICID_TEST_DATA) / "hpo";

json case_of(const std::string& name) { return tests::read_json(kData / "cases.json").at("cases").at(name); }

at::Tensor input(const std::string& name, const std::vector<std::int64_t>& shape, at::ScalarType dtype) {
  const at::Tensor t = tests::formula_tensor(name, shape);
  return (t * std::sqrt(static_cast<double>(t[0].numel()) / 3.0)).to(dtype);
}

models::generator::Adapter adapter(const json& c, const hv::TransformerConfig& config, const std::string& which, at::ScalarType dtype) {
  std::map<std::string, models::generator::AdapterValues> values;
  const auto rank = c.at("rank").get<std::int64_t>();
  for (const auto& [module, shape] : c.at("modules").items())
    values[module] = {.a = tests::formula_tensor(which + "." + module + ".lora_A.weight", {rank, shape[1].get<std::int64_t>()}),
                      .b = 0.2 * tests::formula_tensor(which + "." + module + ".lora_B.weight", {shape[0].get<std::int64_t>(), rank}),
                      .alpha = c.at("alpha").get<double>()};
  return models::generator::Adapter::from_values(adaptable(config), values, which, {.dtype = dtype});
}

struct Outcome {
  preference::PairErrors errors;
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;
};

Outcome run(const json& c, comm::Communicator& world, const comm::Mesh& mesh, at::ScalarType dtype) {
  auto groups = comm::make_groups(world, mesh);
  parallel::SampleRanks ranks(groups);
  const auto config = hv::TransformerConfig::from_json({c.at("config"), "case"});
  storage::NamedTensors weights;
  for (const auto& [name, shape] : hv::transformer_parameter_shapes(config)) weights[name] = tests::formula_tensor(name, shape);
  const auto transformer = hv::Transformer::load(config, models::nn::Weights::from_tensors(weights, "formula", {.dtype = dtype}));
  auto policy = adapter(c, config, "policy", dtype);
  policy.set_requires_grad(true);
  const auto reference = adapter(c, config, "reference", dtype);
  const auto latents = c.at("latents").get<std::vector<std::int64_t>>();
  const std::int64_t rows = c.at("text")[0], length = c.at("text")[1];
  at::Tensor mask = at::zeros({1, rows}, at::kLong);
  mask.narrow(1, 0, length).fill_(1);
  const models::text::PromptEmbeddings condition{.prompt_embeds = input("prompt_embeds", {1, rows, config.text_embed_dim}, dtype),
                                                 .pooled_prompt_embeds = input("pooled_prompt_embeds", {1, config.pooled_projection_dim}, dtype),
                                                 .prompt_attention_mask = mask};
  const at::Tensor noise = input("noise", latents, dtype);
  const double sigma = c.at("sigma");
  const NoisySample winner{input("latents_winner", latents, dtype), noise, sigma}, loser{input("latents_loser", latents, dtype), noise, sigma};
  at::Tensor total = at::zeros_like(policy.flat_parameters());
  const PairLoss loss{.beta = c.at("beta").get<double>()};
  Outcome outcome;
  outcome.errors =
      accumulate_pair(transformer, {policy, c.at("reference").get<bool>() ? &reference : nullptr},
                      {.winner = winner, .loser = loser, .condition = condition, .guidance = c.at("guidance").get<double>()}, loss, {.ranks = &ranks}, total);
  outcome.loss = loss(outcome.errors);
  world.all_reduce(total);
  std::int64_t offset = 0;
  for (const auto& m : policy.modules())
    for (const auto& [suffix, a, b] : {std::tuple(".lora_A.weight", m.rank, m.in), std::tuple(".lora_B.weight", m.out, m.rank)}) {
      outcome.gradients["grad." + m.name + suffix] = total.narrow(0, offset, a * b).view({a, b}).clone();
      offset += a * b;
    }
  return outcome;
}

void compare(const std::string& name, const json& c, const Outcome& outcome, double tolerance) {
  const auto near = [&](double actual, double expected, const char* what) {
    EXPECT_NEAR(actual, expected, tolerance * std::abs(expected)) << name << ": " << what;
  };
  near(outcome.loss, c.at("loss"), "loss");
  near(outcome.errors.winner, c.at("errors").at("winner"), "winner");
  near(outcome.errors.loser, c.at("errors").at("loser"), "loser");
  near(outcome.errors.reference_winner, c.at("errors").at("reference_winner"), "reference_winner");
  near(outcome.errors.reference_loser, c.at("errors").at("reference_loser"), "reference_loser");
  const auto golden = storage::SafetensorsFile::open(kData / (name + ".safetensors"));
  ASSERT_EQ(outcome.gradients.size(), 2 * c.at("modules").size());
  double worst = 0;
  for (const auto& [key, gradient] : outcome.gradients) {
    const double error = tests::relative_error(gradient, golden.at(key));
    EXPECT_LT(error, tolerance) << name << ": " << key;
    worst = std::max(worst, error);
  }
  testing::Test::RecordProperty(name + (tolerance < 1e-5 ? "_fp64" : "_fp32"), std::to_string(worst * 1e9) + "e-9");
}

class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, DoublePrecision) {
  const json c = case_of(GetParam());
  auto alone = comm::make_local_communicator();
  // Sinusoids and rotary angles are fp32 in both, and the golden gradients are rounded to it.
  compare(GetParam(), c, run(c, *alone, comm::Mesh({}), at::kDouble), 5e-6);
}

TEST_P(Golden, SinglePrecision) {
  const json c = case_of(GetParam());
  auto alone = comm::make_local_communicator();
  compare(GetParam(), c, run(c, *alone, comm::Mesh({}), at::kFloat), 1e-4);
}

TEST_P(Golden, OnAMesh) {
  const json c = case_of(GetParam());
  for (const auto& mesh : {comm::Mesh({.replica = 1, .pair = 2, .sequence = 2}), comm::Mesh({.sequence = 3})})
    comm::run_threads(mesh.world_size(), [&](comm::Communicator& world) { compare(GetParam(), c, run(c, world, mesh, at::kDouble), 5e-6); });
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden,
                         ::testing::Values("plain", "padded_text_odd_tokens", "bare_reference", "three_heads_with_modulations", "no_single_blocks",
                                           "late_one_frame"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace magicid::objectives
