// `magicid probe hpo` through files and the command line, alone and on meshes of ranks, against diffusers + PEFT (tests/reference/make_hpo.py).
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "end_to_end/program.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "models/nn/network_config.h"
#include "storage/safetensors.h"
#include "support/formula_weights.h"

namespace magicid {
namespace {

namespace fs = std::filesystem;
namespace hv = models::hunyuan_video;
using nlohmann::json;
using storage::NamedTensors;
using storage::SafetensorsFile;
using tests::formula_tensor;

const fs::path kData = fs::path(MAGICID_TEST_DATA) / "hpo";

at::Tensor input(const std::string& name, const std::vector<std::int64_t>& shape) {
  const at::Tensor t = formula_tensor(name, shape);
  return (t * std::sqrt(static_cast<double>(t[0].numel()) / 3.0)).to(at::kDouble);
}

class ProbeHpo : public ::testing::Test {
 protected:
  ProbeHpo() : golden_(tests::read_json(kData / "cases.json").at("cases").at("three_heads_with_modulations")) {
    const auto config = hv::TransformerConfig::from_json({golden_.at("config"), "case"});
    fs::create_directories(folder_ / "model");
    std::ofstream(folder_ / "model" / "config.json") << config.to_json().dump(1) << "\n";
    NamedTensors weights;
    for (const auto& [name, shape] : hv::transformer_parameter_shapes(config)) weights[name] = formula_tensor(name, shape);
    storage::write_safetensors(folder_ / "model" / "diffusion_pytorch_model.safetensors", weights, {{"format", "pt"}});
    const auto rank = golden_.at("rank").get<std::int64_t>();
    for (const std::string which : {"policy", "reference"}) {
      std::map<std::string, models::generator::AdapterValues> values;
      for (const auto& [module, shape] : golden_.at("modules").items())
        values[module] = {.a = formula_tensor(which + "." + module + ".lora_A.weight", {rank, shape[1].get<std::int64_t>()}),
                          .b = 0.2 * formula_tensor(which + "." + module + ".lora_B.weight", {shape[0].get<std::int64_t>(), rank}),
                          .alpha = golden_.at("alpha").get<double>()};
      hv::save_adapter(models::generator::Adapter::from_values(adaptable(config), values, which), config, hv::AdapterFormat::diffusers,
                       folder_ / (which + ".safetensors"));
    }
    const auto latents = golden_.at("latents").get<std::vector<std::int64_t>>();
    const std::int64_t rows = golden_.at("text")[0], length = golden_.at("text")[1];
    at::Tensor mask = at::zeros({1, rows}, at::kLong);
    mask.narrow(1, 0, length).fill_(1);
    inputs_ = {{"latents_winner", input("latents_winner", latents)},
               {"latents_loser", input("latents_loser", latents)},
               {"noise", input("noise", latents)},
               {"sigma", at::full({1}, golden_.at("sigma").get<double>(), at::kDouble)},
               {"guidance", at::full({1}, 1000 * golden_.at("guidance").get<double>(), at::kDouble)},
               {"prompt_embeds", input("prompt_embeds", {1, rows, config.text_embed_dim})},
               {"pooled_prompt_embeds", input("pooled_prompt_embeds", {1, config.pooled_projection_dim})},
               {"prompt_attention_mask", mask}};
  }

  // Runs the probe; `pairs` repeats the inputs' row.
  tests::ProgramResult probe(const std::string& out, std::vector<std::string> options, int ranks, std::int64_t pairs = 1) {
    NamedTensors inputs;
    for (const auto& [name, tensor] : inputs_) inputs[name] = at::cat(std::vector<at::Tensor>(static_cast<std::size_t>(pairs), tensor), 0);
    if (pairs > 1) inputs["sigma"][1] = 0.2;  // one pair unlike the others
    storage::write_safetensors(folder_ / "inputs.safetensors", inputs);
    std::vector<std::string> arguments{"probe",
                                       "hpo",
                                       "--model",
                                       folder_ / "model",
                                       "--adapter",
                                       folder_ / "policy.safetensors",
                                       "--reference-adapter",
                                       folder_ / "reference.safetensors",
                                       "--beta",
                                       std::to_string(golden_.at("beta").get<double>()),
                                       "--inputs",
                                       folder_ / "inputs.safetensors",
                                       "--outputs",
                                       folder_ / out,
                                       "--dtype",
                                       "float64",
                                       "--device",
                                       "cpu"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return tests::run_program(arguments, {.ranks = ranks});
  }

  void expect_golden(const std::string& out) {
    const auto file = SafetensorsFile::open(folder_ / out);
    EXPECT_NEAR(file.at("loss").item<double>(), golden_.at("loss").get<double>(), 1e-6);
    for (const char* error : {"winner", "loser", "reference_winner", "reference_loser"})
      EXPECT_NEAR(file.at(std::string(error) + "_error")[0].item<double>(), golden_.at("errors").at(error).get<double>(), 1e-6) << error;
    const auto gradients = SafetensorsFile::open(kData / "three_heads_with_modulations.safetensors");
    std::size_t count = 0;
    for (const auto& [module, shape] : golden_.at("modules").items())
      for (const char* half : {".lora_A.weight", ".lora_B.weight"}) {
        EXPECT_LT(tests::relative_error(file.at("grad." + module + half), gradients.at("grad." + module + half)), 5e-6) << module << half;
        ++count;
      }
    EXPECT_EQ(count, 38u);
  }

  tests::TemporaryFolder folder_;
  json golden_;
  NamedTensors inputs_;
};

TEST_F(ProbeHpo, EqualsDiffusersAndPeftAloneAndOnMeshes) {
  const auto alone = probe("alone.safetensors", {"--recompute", "attention_kept"}, 0);
  ASSERT_EQ(alone.exit_code, 0) << alone.text();
  expect_golden("alone.safetensors");
  for (const auto& [ranks, pair, sequence] : {std::tuple(2, "1", "2"), {2, "2", "1"}, {4, "2", "2"}}) {
    const auto result = probe("mesh.safetensors", {"--pair", pair, "--sequence", sequence}, ranks);
    ASSERT_EQ(result.exit_code, 0) << result.text();
    expect_golden("mesh.safetensors");
  }
}

TEST_F(ProbeHpo, SeveralPairsAreAveragedOverReplicas) {
  ASSERT_EQ(probe("alone.safetensors", {}, 0, 3).exit_code, 0);
  const auto result = probe("mesh.safetensors", {"--pair", "2"}, 4, 3);
  ASSERT_EQ(result.exit_code, 0) << result.text();
  const auto one = SafetensorsFile::open(folder_ / "alone.safetensors"), mesh = SafetensorsFile::open(folder_ / "mesh.safetensors");
  EXPECT_EQ(mesh.at("pair_loss").numel(), 3);
  EXPECT_EQ(mesh.at("pair_loss")[0].item<double>(), mesh.at("pair_loss")[2].item<double>());
  EXPECT_NE(mesh.at("pair_loss")[0].item<double>(), mesh.at("pair_loss")[1].item<double>());
  for (const auto& name :
       {std::string("loss"), std::string("grad.double_blocks.0.img_attn_qkv.lora_A.weight"), std::string("grad.single_blocks.2.linear2.lora_B.weight")})
    EXPECT_LT(tests::relative_error(mesh.at(name), one.at(name)), 1e-10) << name;
}

TEST_F(ProbeHpo, MistakesAreNamed) {
  const auto degrees = probe("out.safetensors", {"--sequence", "3"}, 2);
  EXPECT_EQ(degrees.exit_code, 2) << degrees.text();
  EXPECT_THAT(degrees.err, ::testing::HasSubstr("sequence"));
  // Two replicas and one pair: the rank without a pair must hear of it too.
  const auto blocks = probe("out.safetensors", {"--recompute", "full:99,none"}, 2);
  EXPECT_EQ(blocks.exit_code, 2) << blocks.text();
  EXPECT_THAT(blocks.err, ::testing::HasSubstr("at least 99 blocks"));
  inputs_["noise"] = inputs_["noise"].narrow(2, 0, 1).contiguous();
  const auto shapes = probe("out.safetensors", {}, 0);
  EXPECT_EQ(shapes.exit_code, 2) << shapes.text();
  EXPECT_THAT(shapes.err, ::testing::HasSubstr("one shape"));
}

}  // namespace
}  // namespace magicid
