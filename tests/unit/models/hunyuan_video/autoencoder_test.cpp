// Parity with diffusers' AutoencoderKLHunyuanVideo: golden files by tests/reference/make_autoencoder.py.
#include "models/hunyuan_video/autoencoder.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/hunyuan_video/autoencoder_tiling.h"
#include "models/nn/network_config.h"
#include "support/formula_weights.h"
#include "support/memory_meter.h"

namespace magicid::models::hunyuan_video {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::filesystem::path kData = std::filesystem::path(MAGICID_TEST_DATA) / "autoencoder";

const json& cases() {
  static const json parsed = tests::read_json(kData / "cases.json").at("cases");
  return parsed;
}

at::Tensor formula_input(const std::string& name, const json& shape, double bound) {
  at::Tensor tensor = tests::formula_tensor(name, shape.get<std::vector<std::int64_t>>());
  return tensor * (bound * std::sqrt(static_cast<double>(tensor[0].numel()) / 3.0));
}

storage::NamedTensors formula_weights(const AutoencoderConfig& config) {
  storage::NamedTensors tensors;
  for (const auto& [name, shape] : config.parameter_shapes()) tensors[name] = tests::formula_tensor(name, shape);
  return tensors;
}

Autoencoder formula_autoencoder(const json& config_json, at::ScalarType dtype = at::kFloat) {
  const AutoencoderConfig config = AutoencoderConfig::from_json({config_json, "cases.json"});
  return Autoencoder::from_weights(config, nn::Weights::from_tensors(formula_weights(config), "formula", {at::kCPU, dtype}));
}

AutoencoderOptions options_from(const json& object) {
  AutoencoderOptions options;
  const auto set = [&](const char* key, auto& value) {
    if (object.contains(key)) value = object.at(key).get<std::decay_t<decltype(value)>>();
  };
  set("use_framewise_encoding", options.use_framewise_encoding);
  set("use_framewise_decoding", options.use_framewise_decoding);
  set("use_tiling", options.use_tiling);
  set("tile_sample_min_height", options.tile_sample_min_height);
  set("tile_sample_min_width", options.tile_sample_min_width);
  set("tile_sample_min_num_frames", options.tile_sample_min_num_frames);
  set("tile_sample_stride_height", options.tile_sample_stride_height);
  set("tile_sample_stride_width", options.tile_sample_stride_width);
  set("tile_sample_stride_num_frames", options.tile_sample_stride_num_frames);
  return options;
}

class AutoencoderParity : public testing::TestWithParam<std::string> {};

TEST_P(AutoencoderParity, EncodesAndDecodesAsTheReference) {
  const json& one = cases().at(GetParam());
  const auto golden = storage::SafetensorsFile::open(kData / (GetParam() + ".safetensors"));
  const Autoencoder autoencoder = formula_autoencoder(one.at("config"));
  const AutoencoderOptions options = options_from(one.at("options"));
  const at::Tensor sample = formula_input("sample", one.at("sample_shape"), 1.0);
  const at::Tensor latents = formula_input("latents", one.at("latents_shape"), std::sqrt(3.0));
  // Both ways through the code: with autograd and without.
  for (const bool gradients : {false, true}) {
    SCOPED_TRACE(gradients ? "gradients on" : "gradients off");
    const at::AutoGradMode mode(gradients);
    const LatentDistribution distribution = autoencoder.encode(sample, options);
    const at::Tensor decoded = autoencoder.decode(latents, options);
    EXPECT_LT(tests::relative_error(distribution.mean, golden.at("mean")), 1e-5);
    EXPECT_LT(tests::relative_error(distribution.logvar, golden.at("logvar")), 1e-5);
    EXPECT_LT(tests::relative_error(decoded, golden.at("decoded")), 1e-5);
    EXPECT_TRUE(decoded.is_contiguous() && distribution.mean.is_contiguous());
  }
}

TEST_P(AutoencoderParity, HasAsManyParameters) {
  const json& one = cases().at(GetParam());
  const Autoencoder autoencoder = formula_autoencoder(one.at("config"));
  std::int64_t count = 0;
  for (const auto& [name, parameter] : autoencoder.parameters()) count += parameter.numel();
  EXPECT_EQ(count, one.at("parameters").get<std::int64_t>());
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& [name, one] : cases().items()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Cases, AutoencoderParity, testing::ValuesIn(case_names()), [](const auto& info) { return info.param; });

TEST(AutoencoderConfig, DefaultsHaveTheParametersOfHunyuanVideo) {
  const auto shapes = AutoencoderConfig{}.parameter_shapes();
  EXPECT_EQ(json(shapes), tests::read_json(kData / "default_shapes.json"));
  std::int64_t count = 0;
  for (const auto& [name, shape] : shapes) {
    std::int64_t elements = 1;
    for (const std::int64_t extent : shape) elements *= extent;
    count += elements;
  }
  EXPECT_EQ(count, 246'478'803);
}

TEST(AutoencoderConfig, SizesFollowTheStrides) {
  const AutoencoderConfig config;
  using Stride = std::array<std::int64_t, 3>;
  EXPECT_EQ(config.stride(0), (Stride{1, 2, 2}));
  EXPECT_EQ(config.stride(1), (Stride{2, 2, 2}));
  EXPECT_EQ(config.stride(2), (Stride{2, 2, 2}));
  EXPECT_EQ(config.stride(3), (Stride{1, 1, 1}));
  EXPECT_EQ(config.latent_frames(61), 16);
  EXPECT_EQ(config.latent_frames(1), 1);
  EXPECT_EQ(config.sample_frames(16), 61);
}

TEST(AutoencoderConfig, WritesWhatItReads) {
  const AutoencoderConfig config = AutoencoderConfig::from_json({cases().at("five_levels_ratio_16").at("config"), "cases.json"});
  EXPECT_EQ(AutoencoderConfig::from_json({config.to_json(), "again"}).to_json(), config.to_json());
  EXPECT_EQ(config.spatial_compression_ratio, 16);
  EXPECT_EQ(config.levels(), 5);
}

TEST(AutoencoderConfig, RefusesWhatItCannotBuild) {
  const json good = AutoencoderConfig{}.to_json();
  const auto refused = [&](const char* key, const json& value, const char* expected) {
    SCOPED_TRACE(key);
    json bad = good;
    bad[key] = value;
    EXPECT_THAT([&] { AutoencoderConfig::from_json({bad, "vae/config.json"}); },
                ThrowsMessage<base::UserError>(AllOf(HasSubstr("vae/config.json"), HasSubstr(key), HasSubstr(expected))));
  };
  refused("_class_name", "AutoencoderKL", "AutoencoderKLHunyuanVideo");
  refused("act_fn", "gelu", "silu");
  refused("temporal_compression_ratio", 8, "for which alone");
  refused("spatial_compression_ratio", 6, "power of two");
  refused("spatial_compression_ratio", 32, "power of two");
  refused("norm_num_groups", 24, "block_out_channels is [128,256,512,512]");
  refused("layers_per_block", 0, "whole number from 1");
  refused("latent_channels", "16", "whole number from 1");
  refused("scaling_factor", 0, "positive number");
  refused("mid_block_add_attention", 1, "true or false");
  refused("block_out_channels", json::array({128, -256}), "whole numbers from 1");
  refused("down_block_types", json::array({"HunyuanVideoDownBlock3D"}), "4 times HunyuanVideoDownBlock3D");
  refused("up_block_types", json::array({"A", "A", "A", "A"}), "HunyuanVideoUpBlock3D");
  AutoencoderConfig two_levels;
  two_levels.block_out_channels = {128, 256};
  EXPECT_THAT([&] { AutoencoderConfig::from_json({two_levels.to_json(), "vae/config.json"}); },
              ThrowsMessage<base::UserError>(AllOf(HasSubstr("block_out_channels"), HasSubstr("at least 3 levels"))));
  EXPECT_THROW(AutoencoderConfig::from_json({json::array(), "x"}), base::UserError);
  EXPECT_THROW(AutoencoderConfig::from_folder("no-such-folder"), base::UserError);
}

TEST(Autoencoder, LoadsAFolder) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "autoencoder_folder";
  std::filesystem::create_directories(folder);
  const AutoencoderConfig config = AutoencoderConfig::from_json({cases().at("one_frame").at("config"), "cases.json"});
  std::ofstream(folder / "config.json") << config.to_json();
  storage::NamedTensors tensors = formula_weights(config);
  storage::write_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors);
  const at::NoGradGuard no_grad;
  const at::Tensor sample = formula_input("sample", cases().at("one_frame").at("sample_shape"), 1.0);
  const auto golden = storage::SafetensorsFile::open(kData / "one_frame.safetensors");
  EXPECT_LT(tests::relative_error(Autoencoder::load(folder, {}).encode(sample).mean, golden.at("mean")), 1e-5);

  tensors.erase("decoder.conv_in.conv.bias");
  tensors["decoder.conv_out.conv.weight"] = at::zeros({3, 4, 3, 3});
  tensors["decoder.extra"] = at::zeros({1});
  storage::write_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors);
  EXPECT_THAT(
      [&] { Autoencoder::load(folder, {}); },
      ThrowsMessage<base::UserError>(AllOf(HasSubstr("decoder.conv_in.conv.bias"), HasSubstr("decoder.conv_out.conv.weight"), HasSubstr("decoder.extra"))));
  std::filesystem::remove_all(folder);
}

TEST(Autoencoder, ParametersCarryTheWeightFilesNamesAndValues) {
  const json& config_json = cases().at("five_levels_ratio_16").at("config");
  const AutoencoderConfig config = AutoencoderConfig::from_json({config_json, "cases.json"});
  const storage::NamedTensors given = formula_weights(config), held = formula_autoencoder(config_json).parameters();
  ASSERT_EQ(given.size(), held.size());
  for (const auto& [name, tensor] : given) EXPECT_TRUE(at::equal(held.at(name), tensor)) << name;
}

TEST(Autoencoder, ClampsTheLogVariance) {
  const AutoencoderConfig config = AutoencoderConfig::from_json({cases().at("one_frame").at("config"), "cases.json"});
  storage::NamedTensors tensors = formula_weights(config);
  const std::int64_t latent = config.latent_channels;
  tensors["quant_conv.bias"].narrow(0, latent, 1).fill_(1000);
  tensors["quant_conv.bias"].narrow(0, latent + 1, 1).fill_(-1000);
  const Autoencoder autoencoder = Autoencoder::from_weights(config, nn::Weights::from_tensors(tensors, "formula", {}));
  const LatentDistribution distribution = autoencoder.encode(at::zeros({1, 3, 1, 8, 8}));
  EXPECT_EQ(distribution.logvar.select(1, 0).item<float>(), 20.0f);
  EXPECT_EQ(distribution.logvar.select(1, 1).item<float>(), -30.0f);
  const at::Tensor noise = at::ones_like(distribution.mean);
  EXPECT_NEAR((distribution.sample(noise) - distribution.mean).select(1, 0).item<float>(), std::exp(10.0), 1.0);
}

// The derivative along a random direction against central differences in double precision.
TEST(Autoencoder, GradientsAgreeWithDifferences) {
  const json& one = cases().at("spatial_and_temporal_tiles");
  const Autoencoder autoencoder = formula_autoencoder(one.at("config"), at::kDouble);
  const AutoencoderOptions options = options_from(one.at("options"));
  const at::Tensor sample = formula_input("sample", one.at("sample_shape"), 1.0).to(at::kDouble);
  const auto loss = [&] {
    const LatentDistribution distribution = autoencoder.encode(sample, options);
    const at::Tensor noise = formula_input("noise", one.at("latents_shape"), 1.0).to(at::kDouble);
    return (autoencoder.decode(distribution.sample(noise), options) - sample).pow(2).mean();
  };
  storage::NamedTensors parameters = autoencoder.parameters();
  for (auto& [name, parameter] : parameters) parameter.requires_grad_();
  loss().backward();
  std::map<std::string, at::Tensor> directions;
  double slope = 0;
  for (auto& [name, parameter] : parameters) {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    directions[name] = tests::formula_tensor("direction." + name, parameter.sizes().vec()).to(at::kDouble);
    const double part = (directions[name] * parameter.grad()).sum().item<double>();
    EXPECT_NE(part, 0) << name;
    slope += part;
  }
  const at::NoGradGuard no_grad;
  const double step = 1e-6;
  const auto loss_at = [&](double distance) {
    for (auto& [name, parameter] : parameters) parameter.add_(directions[name], distance);
    const double value = loss().item<double>();
    for (auto& [name, parameter] : parameters) parameter.sub_(directions[name], distance);
    return value;
  };
  const double difference = (loss_at(step) - loss_at(-step)) / (2 * step);
  EXPECT_NEAR(difference / slope, 1.0, 1e-5);
}

// What a decoding gives back, and the gradients of a weighted sum of it.
struct Decoded {
  at::Tensor sample, latents_gradient;
  std::map<std::string, at::Tensor> parameter_gradients;
};

Decoded decode_with_gradients(const Autoencoder& autoencoder, const at::Tensor& latents, const AutoencoderOptions& options, DecodeRecompute recompute) {
  Decoded decoded;
  storage::NamedTensors parameters = autoencoder.parameters();
  std::erase_if(parameters, [](const auto& named) { return !named.first.starts_with("decoder") && !named.first.starts_with("post_quant_conv"); });
  for (auto& [name, parameter] : parameters) parameter.requires_grad_(true).mutable_grad().reset();
  const at::Tensor tracked = latents.clone().requires_grad_();
  const at::Tensor sample = autoencoder.decode(tracked, options, recompute);
  (sample * formula_input("weights", json(sample.sizes().vec()), 1.0).to(sample.options())).sum().backward();
  decoded.sample = sample.detach();
  decoded.latents_gradient = tracked.grad();
  for (auto& [name, parameter] : parameters) {
    decoded.parameter_gradients[name] = parameter.grad();
    parameter.requires_grad_(false);
  }
  return decoded;
}

TEST(AutoencoderGradients, ReachTheLatentsAsDifferencesSay) {
  const json& one = cases().at("spatial_and_temporal_tiles");
  const Autoencoder autoencoder = formula_autoencoder(one.at("config"), at::kDouble);
  const AutoencoderOptions options = options_from(one.at("options"));
  const at::Tensor latents = formula_input("latents", one.at("latents_shape"), std::sqrt(3.0)).to(at::kDouble);
  const auto value = [&](const at::Tensor& z) {
    const at::Tensor sample = autoencoder.decode(z, options);
    return (sample * formula_input("weights", json(sample.sizes().vec()), 1.0).to(sample.options())).sum().item<double>();
  };
  std::map<DecodeRecompute, at::Tensor> gradients;
  for (const auto recompute : {DecodeRecompute::none, DecodeRecompute::blocks, DecodeRecompute::tiles})
    gradients[recompute] = decode_with_gradients(autoencoder, latents, options, recompute).latents_gradient;
  const at::NoGradGuard no_grad;
  for (std::int64_t frame = 0; frame < latents.size(kFrames); ++frame) {
    at::Tensor direction = at::zeros_like(latents);
    direction.select(kFrames, frame).copy_(formula_input("direction", json(direction.select(kFrames, frame).sizes().vec()), 1.0));
    const double step = 1e-6, difference = (value(latents + direction * step) - value(latents - direction * step)) / (2 * step);
    for (const auto& [recompute, gradient] : gradients) EXPECT_NEAR(difference / (gradient * direction).sum().item<double>(), 1.0, 1e-5) << frame;
  }
}

TEST(AutoencoderGradients, AreTheSameWhateverIsComputedAgain) {
  for (const auto& [dtype, tolerance] : {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 2e-5}}) {
    for (const char* name : {"spatial_and_temporal_tiles", "one_frame", "framewise_17"}) {
      SCOPED_TRACE(name);
      const json& one = cases().at(name);
      const Autoencoder autoencoder = formula_autoencoder(one.at("config"), dtype);
      const AutoencoderOptions options = options_from(one.at("options"));
      const at::Tensor latents = formula_input("latents", one.at("latents_shape"), std::sqrt(3.0)).to(dtype);
      const Decoded plain = decode_with_gradients(autoencoder, latents, options, DecodeRecompute::none);
      for (const auto recompute : {DecodeRecompute::blocks, DecodeRecompute::tiles}) {
        const Decoded again = decode_with_gradients(autoencoder, latents, options, recompute);
        EXPECT_LT(tests::relative_error(again.sample, plain.sample), tolerance);
        EXPECT_LT(tests::relative_error(again.latents_gradient, plain.latents_gradient), tolerance);
        // Biases before a normalisation have the gradient 0, which comes out as rounding: all are measured by the largest.
        double largest = 0;
        for (const auto& [parameter, gradient] : plain.parameter_gradients) largest = std::max(largest, gradient.abs().max().item<double>());
        for (const auto& [parameter, gradient] : plain.parameter_gradients) {
          ASSERT_TRUE(again.parameter_gradients.at(parameter).defined()) << parameter;
          EXPECT_LT((again.parameter_gradients.at(parameter) - gradient).abs().max().item<double>(), tolerance * largest) << parameter;
        }
      }
    }
  }
}

TEST(AutoencoderGradients, OutliveTheNetworkAndCostNothingWhereThereAreNone) {
  const json& one = cases().at("framewise_17");
  const at::Tensor latents = formula_input("latents", one.at("latents_shape"), std::sqrt(3.0));
  auto autoencoder = std::make_unique<Autoencoder>(formula_autoencoder(one.at("config")));
  std::vector<at::Tensor> tracked, samples;
  for (const auto recompute : {DecodeRecompute::none, DecodeRecompute::blocks, DecodeRecompute::tiles}) {
    tracked.push_back(latents.clone().requires_grad_());
    samples.push_back(autoencoder->decode(tracked.back(), {}, recompute));
    EXPECT_FALSE(autoencoder->decode(latents, {}, recompute).requires_grad());
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(autoencoder->decode(tracked.back(), {}, recompute), autoencoder->decode(latents)));
  }
  autoencoder.reset();
  for (const at::Tensor& sample : samples) sample.square().sum().backward();
  for (std::size_t i : {1, 2}) EXPECT_LT(tests::relative_error(tracked[i].grad(), tracked[0].grad()), 2e-5);
}

// A longer and wider video than a tile: without recomputation all activations of all tiles live, with `blocks` the blocks' inputs, with `tiles` one tile's
// share.
TEST(AutoencoderGradients, NeedLessMemoryTheMoreIsComputedAgain) {
  const AutoencoderConfig config = AutoencoderConfig::from_json({cases().at("framewise_17").at("config"), "cases.json"});
  const Autoencoder autoencoder = Autoencoder::from_weights(config, nn::Weights::from_tensors(formula_weights(config), "formula", {}));
  AutoencoderOptions options{.use_tiling = true};
  options.tile_sample_min_height = options.tile_sample_min_width = 32;
  options.tile_sample_stride_height = options.tile_sample_stride_width = 24;
  std::map<DecodeRecompute, std::map<std::int64_t, std::int64_t>> peak;  // by latent frames
  for (const std::int64_t frames : {5, 8}) {
    const at::Tensor latents = formula_input("latents", json{1, config.latent_channels, frames, 5, 5}, 1.0);
    for (const auto recompute : {DecodeRecompute::none, DecodeRecompute::blocks, DecodeRecompute::tiles}) {
      tests::MemoryMeter meter;
      const at::Tensor tracked = latents.clone().requires_grad_();
      peak[recompute][frames] = meter.peak_of([&] { autoencoder.decode(tracked, options, recompute).square().sum().backward(); });
    }
  }
  for (const auto& [recompute, of] : peak)
    RecordProperty("mode_" + std::to_string(static_cast<int>(recompute)), std::to_string(of.at(5)) + " " + std::to_string(of.at(8)));
  EXPECT_LT(peak[DecodeRecompute::blocks][8], peak[DecodeRecompute::none][8] / 2);
  // Frames and their gradient grow all the same.
  const auto growth = [&](DecodeRecompute recompute) { return peak[recompute][8] - peak[recompute][5]; };
  EXPECT_LT(growth(DecodeRecompute::tiles), growth(DecodeRecompute::blocks) / 2);
}

TEST(Autoencoder, HalfPrecisionStaysNear) {
  const json& one = cases().at("framewise_17");
  const at::NoGradGuard no_grad;
  const auto golden = storage::SafetensorsFile::open(kData / "framewise_17.safetensors");
  const Autoencoder autoencoder = formula_autoencoder(one.at("config"), at::kBFloat16);
  const at::Tensor decoded = autoencoder.decode(formula_input("latents", one.at("latents_shape"), std::sqrt(3.0)));
  EXPECT_EQ(decoded.scalar_type(), at::kBFloat16);
  EXPECT_LT(tests::relative_error(decoded, golden.at("decoded")), 0.1);
}

TEST(Autoencoder, RefusesWrongTensorsAndOptions) {
  const Autoencoder autoencoder = formula_autoencoder(cases().at("one_frame").at("config"));
  EXPECT_THROW(autoencoder.encode(at::zeros({1, 3, 8, 8})), base::UserError);
  EXPECT_THROW(autoencoder.encode(at::zeros({1, 4, 1, 8, 8})), base::UserError);
  EXPECT_THROW(autoencoder.encode(at::zeros({1, 3, 0, 8, 8})), base::UserError);
  EXPECT_THROW(autoencoder.encode(at::zeros({1, 3, 1, 8, 8}, at::kByte)), base::UserError);
  EXPECT_THROW(autoencoder.decode(at::zeros({1, 3, 1, 1, 1})), base::UserError);
  EXPECT_THROW(autoencoder.decode(at::Tensor()), base::UserError);
  AutoencoderOptions options;
  options.tile_sample_stride_height = 300;
  EXPECT_THAT([&] { autoencoder.decode(at::zeros({1, 4, 1, 1, 1}), options); }, ThrowsMessage<base::UserError>(HasSubstr("tile_sample_stride_height")));
  options.tile_sample_stride_height = 260;
  options.tile_sample_min_height = 304;
  EXPECT_THAT([&] { options.check(autoencoder.config()); }, ThrowsMessage<base::UserError>(HasSubstr("multiple of the compression ratio 8")));
  options = {};
  options.tile_sample_stride_num_frames = 0;
  EXPECT_THAT([&] { options.check(autoencoder.config()); }, ThrowsMessage<base::UserError>(HasSubstr("tile_sample_stride_num_frames")));
}

TEST(AutoencoderTiling, BlendIsALinearRampThatStartsAtTheTileBefore) {
  const at::Tensor before = at::full({1, 1, 1, 1, 6}, 8.0), tile = at::zeros({1, 1, 1, 1, 5});
  const at::Tensor mixed = blend(before, tile, 4, 4);
  EXPECT_TRUE(at::equal(mixed.flatten(), at::tensor({8.0f, 6.0f, 4.0f, 2.0f, 0.0f})));
  EXPECT_EQ(tile.sum().item<float>(), 0);
  EXPECT_TRUE(blend(before, tile, 0, 4).is_same(tile));
}

}  // namespace
}  // namespace magicid::models::hunyuan_video
