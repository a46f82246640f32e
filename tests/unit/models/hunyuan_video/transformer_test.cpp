// Parity with diffusers' HunyuanVideoTransformer3DModel (golden files by tests/reference/make_transformer.py), gradients, equality of the
// ways through the code, loading and errors.
#include "models/hunyuan_video/transformer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "models/nn/network_config.h"
#include "support/formula_weights.h"

namespace magicid::models::hunyuan_video {
namespace {

using base::UserError;
using generator::Adapter;
using generator::AdapterValues;
using generator::attention;
using generator::AttentionTape;
using generator::LocalJointAttention;
using generator::TokenCounts;
using generator::TokenRange;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::filesystem::path kData = std::filesystem::path(MAGICID_TEST_DATA) / "transformer";

const json& cases() {
  static const json parsed = tests::read_json(kData / "cases.json").at("cases");
  return parsed;
}

at::Tensor formula_input(const std::string& name, const json& shape) {
  const at::Tensor tensor = tests::formula_tensor(name, shape.get<std::vector<std::int64_t>>());
  return tensor * std::sqrt(static_cast<double>(tensor[0].numel()) / 3.0);
}

TransformerConfig config_of(const std::string& name) { return TransformerConfig::from_json({cases().at(name).at("config"), "cases.json"}); }

storage::NamedTensors formula_weights(const TransformerConfig& config) {
  storage::NamedTensors tensors;
  for (const auto& [name, shape] : transformer_parameter_shapes(config)) tensors[name] = tests::formula_tensor(name, shape);
  return tensors;
}

Transformer formula_transformer(const TransformerConfig& config, at::ScalarType dtype = at::kFloat) {
  return Transformer::load(config, nn::Weights::from_tensors(formula_weights(config), "formula", {at::kCPU, dtype}));
}

TransformerInputs inputs_of(const std::string& name) {
  const json& one = cases().at(name);
  const auto numbers = [&](const char* key) { return at::tensor(one.at(key).get<std::vector<double>>(), at::kFloat); };
  TransformerInputs in;
  in.hidden_states = formula_input("hidden_states", one.at("hidden_states"));
  in.encoder_hidden_states = formula_input("encoder_hidden_states", one.at("encoder_hidden_states"));
  in.pooled_projections = formula_input("pooled_projections", one.at("pooled_projections"));
  in.timestep = numbers("timestep").to(one.at("timestep_dtype") == "int64" ? at::kLong : at::kFloat);
  if (one.at("config").at("guidance_embeds").get<bool>()) in.guidance = numbers("guidance");
  if (!one.at("text_lengths").is_null()) {
    const auto lengths = one.at("text_lengths").get<std::vector<std::int64_t>>();
    at::Tensor mask = at::zeros({in.hidden_states.size(0), in.encoder_hidden_states.size(1)});
    for (std::size_t b = 0; b < lengths.size(); ++b) mask[static_cast<std::int64_t>(b)].narrow(0, 0, lengths[b]).fill_(1);
    const std::string type = one.at("mask_dtype");
    in.encoder_attention_mask = mask.to(type == "int64" ? at::kLong : type == "bool" ? at::kBool : at::kFloat);
  }
  return in;
}

// Both factors different from zero, so that the adapter acts.
Adapter acting_adapter(const TransformerConfig& config, const nn::Placement& placement = {}, std::int64_t rank = 3) {
  std::map<std::string, AdapterValues> values;
  for (const auto& linear : block_linears(config))
    values[linear.name] = {tests::formula_tensor(linear.name + ".a", {rank, linear.in}), tests::formula_tensor(linear.name + ".b", {linear.out, rank}) * 0.3,
                           2.0};
  return Adapter::from_values(adaptable(config), values, "test", placement);
}

class TransformerParity : public testing::TestWithParam<std::string> {};

TEST_P(TransformerParity, EqualsTheReference) {
  const at::Tensor expected = storage::SafetensorsFile::open(kData / (GetParam() + ".safetensors")).at("sample");
  const TransformerConfig config = config_of(GetParam());
  const TransformerInputs in = inputs_of(GetParam());
  for (const bool gradients : {false, true}) {
    SCOPED_TRACE(gradients ? "gradients on" : "gradients off");
    const c10::AutoGradMode mode(gradients);
    EXPECT_LT(tests::relative_error(formula_transformer(config).forward(in), expected), 1e-5);
    EXPECT_LT(tests::relative_error(formula_transformer(config, at::kDouble).forward(in), expected), 1e-5);
    const at::Tensor half = formula_transformer(config, at::kBFloat16).forward(in);
    EXPECT_EQ(half.scalar_type(), at::kBFloat16);
    EXPECT_LT(tests::relative_error(half, expected), 0.05);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, TransformerParity,
                         testing::Values("plain", "odd_grid_padded_text", "one_frame_no_mask", "batch_uneven_text", "batch_even_text", "patch_one_three_heads",
                                         "temporal_patch", "no_guidance", "no_double_blocks", "no_single_blocks", "late_mixed", "late_one_head"),
                         [](const auto& info) { return info.param; });

TEST(Transformer, ParameterShapesAreTheReferences) {
  const json shapes = tests::read_json(kData / "shapes.json");
  ASSERT_GE(shapes.size(), 2u);
  for (const auto& [name, expected] : shapes.items()) EXPECT_EQ(json(transformer_parameter_shapes(config_of(name))), expected) << name;
}

// HPO's loss at its first step is exactly log 2 only if the policy, under autograd, and the frozen reference, without, agree in every bit.
TEST(Transformer, GradModeAndRepetitionDoNotChangeABit) {
  // Widths that are no multiple of a vector register among them.
  for (const std::string name : {"plain", "odd_grid_padded_text", "patch_one_three_heads", "temporal_patch", "no_guidance", "no_double_blocks"})
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(name + (dtype == at::kFloat ? " fp32" : " bf16"));
      const TransformerConfig config = config_of(name);
      const Transformer transformer = formula_transformer(config, dtype);
      Adapter policy = acting_adapter(config);
      policy.set_requires_grad(true);
      const Adapter reference = policy.frozen_copy({at::kCPU, dtype});
      const TransformerInputs in = inputs_of(name);
      const at::Tensor with = transformer.forward(in, &policy);
      EXPECT_TRUE(with.requires_grad());
      const c10::AutoGradMode no_grad(false);
      const at::Tensor without = transformer.forward(in, &reference);
      EXPECT_FALSE(without.requires_grad());
      EXPECT_TRUE(at::equal(with, without)) << tests::relative_error(with, without);
      EXPECT_TRUE(at::equal(without, transformer.forward(in, &reference)));
      EXPECT_FALSE(at::equal(without, transformer.forward(in))) << "the adapter has no effect";
    }
}

// The same where matrices are large enough for the libraries' blocked and threaded kernels, which choose by sizes and strides.
TEST(Transformer, GradModeDoesNotChangeABitOfALargerNetwork) {
  TransformerConfig config = config_of("plain");
  config.num_attention_heads = 3;
  config.attention_head_dim = 64;
  config.rope_axes_dim = {16, 24, 24};
  config.num_layers = config.num_single_layers = 1;
  TransformerInputs in = inputs_of("plain");
  in.hidden_states = formula_input("hidden_states", {1, 4, 3, 34, 30});  // 765 tokens
  in.encoder_hidden_states = formula_input("encoder_hidden_states", {1, 64, 20});
  in.encoder_attention_mask = (at::arange(64) < 37).view({1, 64});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Transformer transformer = formula_transformer(config, dtype);
    Adapter policy = acting_adapter(config);
    policy.set_requires_grad(true);
    const at::Tensor with = transformer.forward(in, &policy).detach();
    const c10::AutoGradMode no_grad(false);
    for (const auto& placed : {nn::Placement{}, nn::Placement{at::kCPU, dtype}})
      EXPECT_TRUE(at::equal(with, transformer.forward(in, std::make_unique<Adapter>(policy.frozen_copy(placed)).get()))) << dtype;
  }
}

TEST(Transformer, LeavesItsInputsAlone) {
  const Transformer transformer = formula_transformer(config_of("plain"));
  const TransformerInputs in = inputs_of("plain"), same = inputs_of("plain");
  const c10::AutoGradMode no_grad(false);
  transformer.forward(in);
  EXPECT_TRUE(at::equal(in.hidden_states, same.hidden_states));
  EXPECT_TRUE(at::equal(in.encoder_hidden_states, same.encoder_hidden_states));
  EXPECT_TRUE(at::equal(in.pooled_projections, same.pooled_projections));
  EXPECT_TRUE(at::equal(in.timestep, same.timestep));
}

// Text rows behind the mask are never read.
TEST(Transformer, PaddedRowsHaveNoInfluence) {
  const Transformer transformer = formula_transformer(config_of("batch_uneven_text"));
  TransformerInputs in = inputs_of("batch_uneven_text");
  const at::Tensor before = transformer.forward(in);
  in.encoder_hidden_states[1].narrow(0, 3, 5).fill_(std::nan(""));
  EXPECT_TRUE(at::equal(transformer.forward(in), before));
}

class TransformerGradients : public testing::TestWithParam<std::string> {};

// Derivatives along a direction in each leaf and in the latents, against central differences in fp64.
TEST_P(TransformerGradients, EqualFiniteDifferences) {
  const TransformerConfig config = config_of(GetParam());
  const Transformer transformer = formula_transformer(config, at::kDouble);
  Adapter adapter = acting_adapter(config, {at::kCPU, at::kDouble});
  adapter.set_requires_grad(true);
  TransformerInputs in = inputs_of(GetParam());
  in.hidden_states = in.hidden_states.to(at::kDouble).requires_grad_(true);
  const at::Tensor weight = tests::formula_tensor("loss", transformer.forward(in, &adapter).sizes().vec()).to(at::kDouble);
  const auto loss = [&] { return (transformer.forward(in, &adapter) * weight).sum(); };
  loss().backward();

  std::vector<at::Tensor> leaves = adapter.leaves();
  leaves.push_back(in.hidden_states);
  const c10::AutoGradMode no_grad(false);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    at::Tensor leaf = leaves[i].detach();
    const at::Tensor direction = tests::formula_tensor("direction" + std::to_string(i), {leaf.numel()}).view(leaf.sizes()).to(at::kDouble) - 1.0;
    const double step = 1e-5;
    leaf.add_(direction, step);
    const double above = loss().item<double>();
    leaf.sub_(direction, 2 * step);
    const double below = loss().item<double>();
    leaf.add_(direction, step);
    const double numeric = (above - below) / (2 * step), analytic = (leaves[i].grad() * direction).sum().item<double>();
    // The last block's text stream reaches the output only where a single block follows.
    EXPECT_NEAR(analytic, numeric, 1e-6 * (std::abs(numeric) + 0.01)) << "leaf " << i;
  }
  EXPECT_GT(adapter.flat_gradients().abs().max().item<double>(), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Cases, TransformerGradients,
                         testing::Values("plain", "batch_uneven_text", "patch_one_three_heads", "no_double_blocks", "late_one_head"),
                         [](const auto& info) { return info.param; });

TEST(Transformer, WeightsGetNoGradient) {
  const TransformerConfig config = config_of("plain");
  const Transformer transformer = formula_transformer(config);
  EXPECT_FALSE(transformer.forward(inputs_of("plain")).requires_grad());
  const Adapter frozen = acting_adapter(config);
  EXPECT_FALSE(transformer.forward(inputs_of("plain"), &frozen).requires_grad());
}

class RecordingAttention : public LocalJointAttention {
 public:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const TokenCounts& whole, AttentionTape* tape) override {
    for (const auto* t : {&q, &k, &v}) shapes.push_back(t->sizes().vec());
    videos.push_back(whole.video);
    EXPECT_EQ(whole.video + whole.text, q.size(1));
    return LocalJointAttention::attend(q, k, v, whole, tape);
  }
  std::vector<std::vector<std::int64_t>> shapes;
  std::vector<std::int64_t> videos;
};

TEST(Transformer, AttendsOncePerBlockAndTextLength) {
  const Transformer transformer = formula_transformer(config_of("late_mixed"));
  const TransformerInputs in = inputs_of("late_mixed");  // lengths 3, 11, 3; grid 3 x 5 x 1
  for (const bool gradients : {false, true}) {
    const c10::AutoGradMode mode(gradients);
    RecordingAttention attention;
    const at::Tensor out = transformer.forward(in, nullptr, attention);
    EXPECT_TRUE(at::equal(out, transformer.forward(in)));
    ASSERT_EQ(attention.videos, std::vector<std::int64_t>(2 * (1 + 3), 15));
    for (std::size_t i = 0; i < attention.shapes.size(); ++i)
      EXPECT_EQ(attention.shapes[i], i < 12 ? (std::vector<std::int64_t>{2, 18, 3, 20}) : (std::vector<std::int64_t>{1, 26, 3, 20})) << i;
  }
}

// One rank's share of a sequence: the tokens before the blocks' attention. With the whole sequence's keys and values it would be exact; here
// the ranges alone are looked at, through a network without blocks.
class HalfAttention : public LocalJointAttention {
 public:
  TokenRange video_range(std::int64_t total) const override { return {total / 2, total - total / 2}; }
  TokenRange text_range(std::int64_t) const override { return {0, 0}; }
};

TEST(Transformer, ComputesOnlyTheTokensOfItsRange) {
  TransformerConfig config = config_of("plain");
  config.num_layers = config.num_single_layers = 0;
  const Transformer transformer = formula_transformer(config);
  const TransformerInputs in = inputs_of("plain");
  HalfAttention half;
  const at::Tensor all = transformer.forward_tokens(in), share = transformer.forward_tokens(in, nullptr, half);
  EXPECT_LT(tests::relative_error(share, all.narrow(1, 22, 23)), 1e-6);
  EXPECT_THROW(transformer.forward(in, nullptr, half), base::InvariantError);
}

// Rows of the rotary table of a share are those of the whole, and the angles those of the definition.
TEST(Transformer, RotaryTableOfARange) {
  const TransformerConfig config = config_of("patch_one_three_heads");
  const auto whole = rotary_table(config, {3, 4, 5}, {0, 60}, at::kCPU), part = rotary_table(config, {3, 4, 5}, {17, 9}, at::kCPU);
  EXPECT_TRUE(at::equal(part.cos, whole.cos.narrow(0, 17, 9)));
  EXPECT_TRUE(at::equal(part.sin, whole.sin.narrow(0, 17, 9)));
  // Token 38 = frame 1, row 3, column 3; the second pair of the height's ten numbers.
  EXPECT_NEAR(whole.sin[38][3 + 1].item<double>(), std::sin(3 * std::pow(256.0, -2.0 / 10)), 1e-6);
}

TEST(Transformer, PatchifyAndBack) {
  const Transformer transformer = formula_transformer(config_of("temporal_patch"));
  const at::Tensor latents = at::arange(2 * 4 * 4 * 6 * 8, at::kFloat).view({2, 4, 4, 6, 8});
  const at::Tensor tokens = transformer.patchify(latents);
  EXPECT_EQ(tokens.sizes(), (at::IntArrayRef{2, 2 * 3 * 4, 4 * 8}));
  // Token (frame 1, row 2, column 3), number (channel 3, frame 1, row 0, column 1).
  EXPECT_EQ(tokens[1][23][3 * 8 + 4 + 1].item<float>(), latents[1][3][3][4][7].item<float>());
  EXPECT_TRUE(at::equal(transformer.unpatchify(tokens, 4, 6, 8), latents));
}

// Tencent's names and fused matrices, by this test's own list of the renamings.
storage::NamedTensors in_tencent_layout(const TransformerConfig& config, const storage::NamedTensors& d) {
  storage::NamedTensors t;
  const auto cat = [&](const std::string& to, const std::vector<std::string>& from) {
    for (const std::string kind : {".weight", ".bias"}) {
      std::vector<at::Tensor> parts;
      for (const auto& f : from) parts.push_back(d.at(f + kind));
      t[to + kind] = at::cat(parts, 0);
    }
  };
  const auto norm = [&](const std::string& to, const std::string& from) { t[to + ".weight"] = d.at(from + ".weight"); };
  cat("img_in.proj", {"x_embedder.proj"});
  const auto pair = [&](const std::string& first, const std::string& second, const std::string& from) {
    cat(first, {from + ".linear_1"});
    cat(second, {from + ".linear_2"});
  };
  pair("time_in.mlp.0", "time_in.mlp.2", "time_text_embed.timestep_embedder");
  if (config.guidance_embeds) pair("guidance_in.mlp.0", "guidance_in.mlp.2", "time_text_embed.guidance_embedder");
  pair("vector_in.in_layer", "vector_in.out_layer", "time_text_embed.text_embedder");
  cat("txt_in.input_embedder", {"context_embedder.proj_in"});
  pair("txt_in.t_embedder.mlp.0", "txt_in.t_embedder.mlp.2", "context_embedder.time_text_embed.timestep_embedder");
  pair("txt_in.c_embedder.linear_1", "txt_in.c_embedder.linear_2", "context_embedder.time_text_embed.text_embedder");
  for (int i = 0; i < config.num_refiner_layers; ++i) {
    const std::string a = "txt_in.individual_token_refiner.blocks." + std::to_string(i) + ".",
                      b = "context_embedder.token_refiner.refiner_blocks." + std::to_string(i) + ".";
    cat(a + "norm1", {b + "norm1"});
    cat(a + "norm2", {b + "norm2"});
    cat(a + "self_attn_qkv", {b + "attn.to_q", b + "attn.to_k", b + "attn.to_v"});
    cat(a + "self_attn_proj", {b + "attn.to_out.0"});
    cat(a + "mlp.fc1", {b + "ff.net.0.proj"});
    cat(a + "mlp.fc2", {b + "ff.net.2"});
    cat(a + "adaLN_modulation.1", {b + "norm_out.linear"});
  }
  for (int i = 0; i < config.num_layers; ++i) {
    const std::string a = "double_blocks." + std::to_string(i) + ".", b = "transformer_blocks." + std::to_string(i) + ".";
    cat(a + "img_mod.linear", {b + "norm1.linear"});
    cat(a + "txt_mod.linear", {b + "norm1_context.linear"});
    cat(a + "img_attn_qkv", {b + "attn.to_q", b + "attn.to_k", b + "attn.to_v"});
    cat(a + "txt_attn_qkv", {b + "attn.add_q_proj", b + "attn.add_k_proj", b + "attn.add_v_proj"});
    norm(a + "img_attn_q_norm", b + "attn.norm_q");
    norm(a + "img_attn_k_norm", b + "attn.norm_k");
    norm(a + "txt_attn_q_norm", b + "attn.norm_added_q");
    norm(a + "txt_attn_k_norm", b + "attn.norm_added_k");
    cat(a + "img_attn_proj", {b + "attn.to_out.0"});
    cat(a + "txt_attn_proj", {b + "attn.to_add_out"});
    cat(a + "img_mlp.fc1", {b + "ff.net.0.proj"});
    cat(a + "img_mlp.fc2", {b + "ff.net.2"});
    cat(a + "txt_mlp.fc1", {b + "ff_context.net.0.proj"});
    cat(a + "txt_mlp.fc2", {b + "ff_context.net.2"});
  }
  for (int i = 0; i < config.num_single_layers; ++i) {
    const std::string a = "single_blocks." + std::to_string(i) + ".", b = "single_transformer_blocks." + std::to_string(i) + ".";
    cat(a + "linear1", {b + "attn.to_q", b + "attn.to_k", b + "attn.to_v", b + "proj_mlp"});
    cat(a + "linear2", {b + "proj_out"});
    cat(a + "modulation.linear", {b + "norm.linear"});
    norm(a + "q_norm", b + "attn.norm_q");
    norm(a + "k_norm", b + "attn.norm_k");
  }
  cat("final_layer.linear", {"proj_out"});
  cat("final_layer.adaLN_modulation.1", {"norm_out.linear"});
  for (const std::string kind : {".weight", ".bias"}) {
    auto& x = t["final_layer.adaLN_modulation.1" + kind];
    const auto halves = x.chunk(2, 0);
    x = at::cat({halves[1], halves[0]}, 0);
  }
  return t;
}

TEST(TransformerLoading, BothLayoutsGiveTheSameNetwork) {
  for (const std::string name : {"plain", "no_guidance"}) {
    const TransformerConfig config = config_of(name);
    const auto tencent = in_tencent_layout(config, formula_weights(config));
    const Transformer transformer = Transformer::load(config, nn::Weights::from_tensors(tencent, "tencent", {}));
    EXPECT_TRUE(at::equal(transformer.forward(inputs_of(name)), formula_transformer(config).forward(inputs_of(name))));
  }
}

TEST(TransformerLoading, ListsEveryProblemAtOnce) {
  const TransformerConfig config = config_of("plain");
  auto tensors = formula_weights(config);
  tensors.erase("transformer_blocks.1.attn.to_k.weight");
  tensors.erase("norm_out.linear.bias");
  tensors["single_transformer_blocks.0.proj_mlp.weight"] = at::zeros({5, 7});
  tensors["surplus.weight"] = at::zeros({1});
  EXPECT_THAT([&] { Transformer::load(config, nn::Weights::from_tensors(tensors, "the-file", {})); },
              ThrowsMessage<UserError>(AllOf(HasSubstr("the-file"), HasSubstr("transformer_blocks.1.attn.to_k.weight"), HasSubstr("norm_out.linear.bias"),
                                             HasSubstr("single_transformer_blocks.0.proj_mlp.weight"), HasSubstr("surplus.weight"))));
}

TEST(TransformerConfig, RoundTripsAndTakesDefaults) {
  for (const auto& [name, one] : cases().items()) {
    const json back = config_of(name).to_json();
    for (const auto& [key, value] : one.at("config").items()) EXPECT_EQ(back.at(key), value) << name << " " << key;
  }
  const TransformerConfig config = TransformerConfig::from_json({json::object(), "empty"});
  EXPECT_EQ(config.width(), 3072);
  EXPECT_EQ(config.num_single_layers, 40);
}

TEST(TransformerConfig, RefusesWhatItDoesNotCompute) {
  const auto expect = [](const json& config, const std::string& a, const std::string& b) {
    EXPECT_THAT([&] { TransformerConfig::from_json({config, "here.json"}); },
                ThrowsMessage<UserError>(AllOf(HasSubstr("here.json"), HasSubstr(a), HasSubstr(b))));
  };
  expect({{"qk_norm", "layer_norm"}}, "qk_norm", "layer_norm");
  expect({{"image_condition_type", "token_replace"}}, "image_condition_type", "text-to-video");
  expect({{"_class_name", "FluxTransformer2DModel"}}, "_class_name", "HunyuanVideoTransformer3DModel");
  expect({{"rope_axes_dim", {16, 56, 58}}}, "rope_axes_dim", "128");
  expect({{"rope_axes_dim", {16, 57, 55}}}, "rope_axes_dim", "even");
  expect({{"num_layers", -1}}, "num_layers", "-1");
  expect({{"patch_size", "2"}}, "patch_size", "whole number");
  expect({{"mlp_ratio", 0}}, "mlp_ratio", "positive");
  expect({{"guidance_embeds", 1}}, "guidance_embeds", "true or false");
  expect(json::array(), "here.json", "object");
}

class TransformerInputErrors : public testing::Test {
 protected:
  void expect(const std::function<void(TransformerInputs&)>& change, const std::string& name, const std::string& text) {
    TransformerInputs in = inputs_of("batch_uneven_text");
    change(in);
    EXPECT_THAT([&] { transformer.forward(in); }, ThrowsMessage<UserError>(AllOf(HasSubstr(name), HasSubstr(text))));
  }
  const Transformer transformer = formula_transformer(config_of("batch_uneven_text"));
};

TEST_F(TransformerInputErrors, Shapes) {
  expect([](auto& in) { in.hidden_states = at::zeros({2, 5, 2, 6, 4}); }, "hidden_states", "[2, 5, 2, 6, 4]");
  expect([](auto& in) { in.hidden_states = at::zeros({4, 2, 6, 4}); }, "hidden_states", "[batch, 4, frames");
  expect([](auto& in) { in.hidden_states.reset(); }, "hidden_states", "missing");
  expect([](auto& in) { in.hidden_states = at::zeros({2, 4, 2, 7, 4}); }, "hidden_states", "multiples of the patch");
  expect([](auto& in) { in.hidden_states = at::zeros({2, 4, 2, 6, 5}); }, "hidden_states", "multiples of the patch");
  expect([](auto& in) { in.encoder_hidden_states = at::zeros({2, 8, 21}); }, "encoder_hidden_states", "20");
  expect([](auto& in) { in.encoder_hidden_states = at::zeros({1, 8, 20}); }, "encoder_hidden_states", "[1, 8, 20]");
  expect([](auto& in) { in.pooled_projections = at::zeros({2, 13}); }, "pooled_projections", "12");
  expect([](auto& in) { in.timestep = at::zeros({}); }, "timestep", "[2]");
  expect([](auto& in) { in.timestep = at::zeros({3}); }, "timestep", "[3]");
  expect([](auto& in) { in.guidance.reset(); }, "guidance", "missing");
  expect([](auto& in) { in.guidance = at::zeros({1}); }, "guidance", "[1]");
  expect([](auto& in) { in.encoder_attention_mask = at::ones({2, 7}); }, "encoder_attention_mask", "[2, 8]");
}

TEST_F(TransformerInputErrors, Masks) {
  expect([](auto& in) { in.encoder_attention_mask[1].fill_(0); }, "encoder_attention_mask", "sample 1 has no text row");
  expect([](auto& in) { in.encoder_attention_mask[1][5] = 1; }, "encoder_attention_mask", "row 5 after padding at row 3");
  expect([](auto& in) { in.encoder_attention_mask[0][2] = 0.5; }, "encoder_attention_mask", "0.5");
}

TEST(Transformer, RefusesFramesThatTheTemporalPatchDoesNotDivide) {
  TransformerInputs in = inputs_of("temporal_patch");
  in.hidden_states = in.hidden_states.narrow(2, 0, 3);
  const Transformer transformer = formula_transformer(config_of("temporal_patch"));
  EXPECT_THAT([&] { transformer.forward(in); }, ThrowsMessage<UserError>(HasSubstr("multiples of the patch (2, 2, 2)")));
}

}  // namespace
}  // namespace magicid::models::hunyuan_video
