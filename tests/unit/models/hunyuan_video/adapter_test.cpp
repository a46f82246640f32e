// Adapters against diffusers and PEFT (golden files by tests/reference/make_adapter.py): outputs and gradients with files of every layout,
// the files that this program writes, the buffers, and errors.
#include "models/generator/adapter.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "models/nn/network_config.h"
#include "storage/hdf5.h"
#include "support/formula_weights.h"
#include "support/small_adapters.h"

namespace magicid::models::hunyuan_video {
namespace {

using generator::Adapter;
namespace fs = std::filesystem;
using base::UserError;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

const fs::path kData = fs::path(MAGICID_TEST_DATA) / "adapter";

const json& golden() {
  static const json parsed = tests::read_json(kData / "cases.json");
  return parsed;
}

using tests::SmallAdapters;
TransformerConfig config() { return SmallAdapters::config(); }
Transformer transformer(at::ScalarType dtype = at::kFloat) { return SmallAdapters::transformer(dtype); }
TransformerInputs inputs() { return SmallAdapters::inputs(); }

at::Tensor forward(const Adapter* adapter) {
  static const Transformer network = transformer();
  return SmallAdapters::forward(network, adapter);
}

struct File {
  storage::NamedTensors tensors;
  std::map<std::string, std::string> metadata;
};

File file_of(const std::string& name) {
  const json& one = golden().at("cases").at(name);
  File file;
  for (const auto& [key, shape] : one.at("keys").items()) {
    if (one.at("alphas").contains(key)) {
      file.tensors[key] = at::scalar_tensor(one.at("alphas").at(key).get<double>(), at::kFloat);
      continue;
    }
    const std::string source = one.at("tied").value(key, key);
    const bool second = key.find("lora_B") != std::string::npos || key.find("lora_up") != std::string::npos;
    file.tensors[key] = tests::formula_tensor(source, shape.get<std::vector<std::int64_t>>()) * (second ? 0.2 : 1.0);
  }
  for (const auto& [key, value] : one.at("metadata").items()) file.metadata[key] = value;
  return file;
}

class AdapterTest : public testing::Test {
 protected:
  AdapterTest() : folder_(fs::temp_directory_path() / ("magicid-adapter-test-" + std::to_string(::getpid()))) { fs::create_directories(folder_); }
  ~AdapterTest() override { fs::remove_all(folder_); }

  fs::path write(const File& file, const std::string& name = "file.safetensors") const {
    storage::write_safetensors(folder_ / name, file.tensors, file.metadata);
    return folder_ / name;
  }
  Adapter read(const File& file, const nn::Placement& placement = {}) const { return load_adapter(config(), write(file), placement); }

  void expect_refused(const File& file, const std::vector<std::string>& texts) const {
    const fs::path path = write(file, "refused.safetensors");
    std::string message;
    try {
      load_adapter(config(), path);
    } catch (const UserError& error) {
      message = error.what();
    }
    EXPECT_THAT(message, HasSubstr("refused.safetensors"));
    for (const auto& text : texts) EXPECT_THAT(message, HasSubstr(text));
  }

  fs::path folder_;
};

class AdapterParity : public AdapterTest, public testing::WithParamInterface<std::string> {};

TEST_P(AdapterParity, FilesOfEveryLayoutGiveTheReferencesOutput) {
  const at::Tensor expected = storage::SafetensorsFile::open(kData / (GetParam() + ".safetensors")).at("sample");
  const Adapter adapter = read(file_of(GetParam()));
  const at::Tensor out = forward(&adapter);
  EXPECT_LT(tests::relative_error(out, expected), 1e-5);
  EXPECT_GT(tests::relative_error(forward(nullptr), expected), 0.01) << "the adapter has no effect: the comparison shows nothing";
}

// Each export, read again, is the same adapter. With MAGICID_ADAPTER_EXPORT the files stay for make_adapter.py --check, which loads them with
// diffusers.
TEST_P(AdapterParity, ExportsKeepTheFunction) {
  const Adapter adapter = read(file_of(GetParam()));
  const at::Tensor before = forward(&adapter);
  const char* keep = std::getenv("MAGICID_ADAPTER_EXPORT");
  for (const std::string format : {"diffusers", "kohya", "comfyui"}) {
    SCOPED_TRACE(format);
    const fs::path path = (keep ? fs::path(keep) : folder_) / (GetParam() + "." + format + ".safetensors");
    save_adapter(adapter, config(), adapter_format_from_name(format), path, {{"magicid_version", "test"}});
    const auto file = storage::SafetensorsFile::open(path);
    EXPECT_EQ(file.metadata().at("magicid_version"), "test");
    EXPECT_EQ(file.metadata().at("format"), "pt");
    const Adapter again = load_adapter(config(), path);
    ASSERT_EQ(again.modules().size(), adapter.modules().size());
    for (std::size_t i = 0; i < again.modules().size(); ++i) {
      EXPECT_EQ(again.modules()[i].name, adapter.modules()[i].name);
      EXPECT_EQ(again.modules()[i].rank, adapter.modules()[i].rank);
      // Whether the scale comes back as a number or in the factors, the product is the same.
      const auto *x = again.find(again.modules()[i].name), *y = adapter.find(again.modules()[i].name);
      EXPECT_LT(tests::relative_error(x->b.mm(x->a) * x->scale, y->b.mm(y->a) * y->scale), 1e-6) << again.modules()[i].name;
      if (format != "comfyui") EXPECT_TRUE(at::equal(x->a, y->a) && at::equal(x->b, y->b)) << again.modules()[i].name;
    }
    EXPECT_LT(tests::relative_error(forward(&again), before), 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AdapterParity, testing::Values("equal_a", "different_a", "some_targets", "patterns", "rank_stabilised", "kohya", "comfyui"),
                         [](const auto& info) { return info.param; });

// Where fused modules' A are equal, the gradient of the one A is the sum of the parts'; where they differ, the parts' gradients are the
// blocks of the fused ones.
class AdapterGradients : public AdapterTest, public testing::WithParamInterface<std::string> {};

TEST_P(AdapterGradients, EqualPeft) {
  const auto expected = storage::SafetensorsFile::open(kData / (GetParam() + ".safetensors"));
  Adapter adapter = read(file_of(GetParam()), {at::kCPU, at::kDouble});
  adapter.set_requires_grad(true);
  const at::Tensor sample = transformer(at::kDouble).forward(inputs(), &adapter);
  (sample * tests::formula_tensor("loss", sample.sizes().vec()).to(at::kDouble)).sum().backward();

  const bool equal_a = GetParam() == "equal_a";
  double scale = 0, worst = 0;
  std::size_t compared = 0;
  for (const auto& linear : block_linears(config())) {
    if (linear.modulation) continue;
    const nn::LoraLayer* layer = adapter.find(linear.name);
    ASSERT_NE(layer, nullptr) << linear.name;
    ASSERT_TRUE(layer->a.grad().defined() && layer->b.grad().defined());
    const auto gradient = [&](const RowPart& part, const char* factor) { return expected.at("gradient.transformer." + part.name + factor).to(at::kDouble); };
    at::Tensor a_sum;
    std::int64_t row = 0;
    for (std::size_t p = 0; p < linear.parts.size(); ++p) {
      const auto& part = linear.parts[p];
      const at::Tensor a = gradient(part, ".lora_A.weight"), b = gradient(part, ".lora_B.weight");
      const std::int64_t own = a.size(0), column = equal_a ? 0 : own * static_cast<std::int64_t>(p);
      const at::Tensor rows = layer->b.grad().narrow(0, row, part.rows).narrow(1, column, own);
      worst = std::max(worst, (rows - b).abs().max().item<double>());
      scale = std::max({scale, a.abs().max().item<double>(), b.abs().max().item<double>()});
      if (equal_a) a_sum = a_sum.defined() ? a_sum + a : a;
      else worst = std::max(worst, (layer->a.grad().narrow(0, column, own) - a).abs().max().item<double>());
      row += part.rows;
      ++compared;
    }
    if (equal_a) worst = std::max(worst, (layer->a.grad() - a_sum).abs().max().item<double>());
  }
  EXPECT_EQ(compared, 34u);
  EXPECT_GT(scale, 0.01);
  EXPECT_LT(worst / scale, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Cases, AdapterGradients, testing::Values("equal_a", "different_a"), [](const auto& info) { return info.param; });

TEST_F(AdapterTest, EqualAFuseAtTheirRankAndDifferentOnesBecomeBlocks) {
  const Adapter equal = read(file_of("equal_a")), different = read(file_of("different_a"));
  for (const auto& m : equal.modules()) EXPECT_EQ(m.rank, 3) << m.name;
  for (const auto& m : different.modules()) EXPECT_EQ(m.rank, m.name.ends_with("qkv") ? 6 : m.name.ends_with("linear1") ? 8 : 2) << m.name;
  const auto* qkv = different.find("double_blocks.0.img_attn_qkv");
  EXPECT_EQ(qkv->b.narrow(0, 0, 32).narrow(1, 2, 4).abs().max().item<double>(), 0) << "q's rows beside its own block";
}

// Two of three parts share their A: one block for the two.
TEST_F(AdapterTest, PartsWithOneAShareIt) {
  File file;
  for (const char* part : {"to_q", "to_k", "to_v"}) {
    const std::string name = std::string("transformer_blocks.0.attn.") + part;
    file.tensors[name + ".lora_A.weight"] = tests::formula_tensor(std::string(part) == "to_v" ? "v" : "qk", {3, 32});
    file.tensors[name + ".lora_B.weight"] = tests::formula_tensor(name, {32, 3});
  }
  const Adapter adapter = read(file);
  ASSERT_EQ(adapter.modules().size(), 1u);
  EXPECT_EQ(adapter.modules()[0].rank, 6);
  const auto* layer = adapter.find("double_blocks.0.img_attn_qkv");
  const at::Tensor product = layer->b.mm(layer->a) * layer->scale;
  std::int64_t row = 0;
  for (const char* part : {"to_q", "to_k", "to_v"}) {
    const std::string name = std::string("transformer_blocks.0.attn.") + part;
    EXPECT_LT(tests::relative_error(product.narrow(0, row, 32), file.tensors[name + ".lora_B.weight"].mm(file.tensors[name + ".lora_A.weight"])), 1e-6);
    row += 32;
  }
}

TEST_F(AdapterTest, AbsentPartsGetZeroRows) {
  File file;
  file.tensors["single_transformer_blocks.1.proj_mlp.lora_A.weight"] = tests::formula_tensor("a", {2, 32});
  file.tensors["single_transformer_blocks.1.proj_mlp.lora_B.weight"] = tests::formula_tensor("b", {64, 2});
  const Adapter adapter = read(file);
  const auto* layer = adapter.find("single_blocks.1.linear1");
  ASSERT_NE(layer, nullptr);
  EXPECT_EQ(layer->b.narrow(0, 0, 96).abs().max().item<double>(), 0);
  EXPECT_TRUE(at::equal(layer->b.narrow(0, 96, 64), file.tensors["single_transformer_blocks.1.proj_mlp.lora_B.weight"]));
  EXPECT_EQ(adapter.find("single_blocks.0.linear1"), nullptr);
}

TEST_F(AdapterTest, PrefixesAndOlderNamesAreTheSameAdapter) {
  const File file = file_of("equal_a");
  const at::Tensor expected = forward(nullptr);
  const Adapter adapter = read(file);
  const auto renamed = [&](const std::function<std::string(std::string)>& rename) {
    File other{{}, file.metadata};
    for (const auto& [key, tensor] : file.tensors) other.tensors[rename(key)] = tensor;
    return read(other);
  };
  const auto replace = [](std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
  };
  const Adapter variants[] = {
      renamed([&](const std::string& k) { return replace(k, "transformer.", ""); }),
      renamed([&](const std::string& k) { return replace(k, "transformer.", "base_model.model."); }),
      renamed([&](const std::string& k) { return replace(replace(k, ".lora_A.", ".lora_A.default."), ".lora_B.", ".lora_B.default."); })};
  for (const Adapter& variant : variants) {
    EXPECT_TRUE(at::equal(variant.flat_parameters(), adapter.flat_parameters()));
    EXPECT_EQ(variant.modules()[0].scale(), 2);
  }
}

TEST_F(AdapterTest, OfOverlappingPatternsTheFirstInTheFileHolds) {
  const json& shapes = golden().at("cases").at("equal_a").at("keys");
  for (const auto& one : tests::read_json(kData / "patterns_in_order.json").at("cases"))
    for (const auto& [module, expected] : one.at("modules").items()) {
      SCOPED_TRACE(one.at("metadata").get<std::string>() + " " + module);
      const std::string a = "transformer." + module + ".lora_A.weight", b = "transformer." + module + ".lora_B.weight";
      const auto rank = expected.at("rank").get<std::int64_t>();
      File file{{{a, tests::formula_tensor(a, {rank, shapes.at(a)[1]})}, {b, tests::formula_tensor(b, {shapes.at(b)[0], rank})}}, {}};
      file.metadata["lora_adapter_metadata"] = one.at("metadata");
      EXPECT_EQ(read(file).modules().at(0).alpha, expected.at("alpha").get<double>());
    }
}

TEST_F(AdapterTest, TargetsAreCheckedWithoutMakingAnAdapter) {
  EXPECT_NO_THROW(Adapter::check_targets(adaptable(config()), {}));
  EXPECT_NO_THROW(Adapter::check_targets(adaptable(config()), {"linear1", "double_blocks.1.img_attn_qkv", "single_blocks.*"}));
  EXPECT_THAT([&] { Adapter::check_targets(adaptable(config()), {"linear1", "linear7"}); },
              ThrowsMessage<UserError>(AllOf(HasSubstr("adapter.targets"), HasSubstr("'linear7'"), HasSubstr("linear2"))));
  EXPECT_THAT([&] { Adapter::check_targets(adaptable(config()), {"double_blocks.9.*"}); }, ThrowsMessage<UserError>(HasSubstr("2 double and 2 single blocks")));
}

TEST_F(AdapterTest, FoldersAndNativeFilesAreRead) {
  const Adapter adapter = read(file_of("patterns"));
  const fs::path inside = folder_ / "lora";
  fs::create_directories(inside);
  EXPECT_THAT([&] { load_adapter(config(), inside); }, ThrowsMessage<UserError>(HasSubstr("pytorch_lora_weights.safetensors")));
  save_adapter(adapter, config(), AdapterFormat::diffusers, inside / "pytorch_lora_weights.safetensors");
  EXPECT_TRUE(at::equal(load_adapter(config(), inside).flat_parameters(), adapter.flat_parameters()));
  storage::write_hdf5(folder_ / "native.h5", {"magicid.adapter", 1}, [&](storage::Hdf5Writer& out) {
    for (const auto& [name, tensor] : adapter.named_tensors()) out.tensor("adapter/" + name, tensor);
  });
  const Adapter native = load_adapter(config(), folder_ / "native.h5");
  EXPECT_TRUE(at::equal(native.flat_parameters(), adapter.flat_parameters()));
  EXPECT_TRUE(at::equal(forward(&native), forward(&adapter)));
}

TEST_F(AdapterTest, MetadataOfTheDiffusersExport) {
  const Adapter adapter = Adapter::create(adaptable(config()), {.targets = {"linear2", "img_attn_qkv"}, .lora_rank = 4, .alpha = 8});
  const fs::path path = folder_ / "export.safetensors";
  save_adapter(adapter, config(), AdapterFormat::diffusers, path);
  const auto file = storage::SafetensorsFile::open(path);
  const json metadata = json::parse(file.metadata().at("lora_adapter_metadata"));
  EXPECT_EQ(metadata.at("transformer.r"), 4);
  EXPECT_EQ(metadata.at("transformer.lora_alpha"), 8);
  const auto targets = metadata.at("transformer.target_modules").get<std::set<std::string>>();
  EXPECT_THAT(targets, testing::UnorderedElementsAre("transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_v",
                                                     "transformer_blocks.1.attn.to_q", "transformer_blocks.1.attn.to_k", "transformer_blocks.1.attn.to_v",
                                                     "single_transformer_blocks.0.proj_out", "single_transformer_blocks.1.proj_out"));
  for (const auto& target : targets) EXPECT_TRUE(file.contains("transformer." + target + ".lora_A.weight")) << target;
  EXPECT_EQ(file.names().size(), 2 * targets.size());
}

TEST_F(AdapterTest, EveryUnusableKeyIsListed) {
  File file = file_of("equal_a");
  file.tensors["transformer.proj_out.lora_A.weight"] = at::zeros({2, 32});
  file.tensors["transformer.context_embedder.token_refiner.refiner_blocks.0.attn.to_q.lora_B.weight"] = at::zeros({32, 2});
  file.tensors["transformer.transformer_blocks.0.attn.to_q.lora_magnitude_vector.weight"] = at::zeros({32});
  file.tensors["transformer.transformer_blocks.2.attn.to_q.lora_A.weight"] = at::zeros({2, 32});
  file.tensors["transformer.transformer_blocks.0.attn.to_q.lora_B.bias"] = at::zeros({32});
  file.tensors.erase("transformer.transformer_blocks.1.ff.net.2.lora_B.weight");
  file.tensors["transformer.transformer_blocks.0.ff.net.2.lora_A.weight"] = at::zeros({3, 33});
  expect_refused(file, {"transformer.proj_out.lora_A.weight", "refiner_blocks.0.attn.to_q.lora_B.weight", "lora_magnitude_vector", "DoRA",
                        "transformer_blocks.2.attn.to_q", "to_q.lora_B.bias", "transformer_blocks.1.ff.net.2", "[3, 33]"});
}

TEST_F(AdapterTest, ContradictionsAreRefused) {
  File dora = file_of("equal_a");
  json metadata = json::parse(dora.metadata.at("lora_adapter_metadata"));
  metadata["transformer.use_dora"] = true;
  dora.metadata["lora_adapter_metadata"] = metadata.dump();
  expect_refused(dora, {"DoRA"});

  File rank = file_of("equal_a");
  metadata["transformer.use_dora"] = false;
  metadata["transformer.r"] = 5;
  rank.metadata["lora_adapter_metadata"] = metadata.dump();
  expect_refused(rank, {"rank 3", "5"});

  File twice = file_of("equal_a");
  twice.tensors["double_blocks.0.img_attn_qkv.lora_A.weight"] = at::zeros({2, 32});
  twice.tensors["double_blocks.0.img_attn_qkv.lora_B.weight"] = at::zeros({96, 2});
  expect_refused(twice, {"double_blocks.0.img_attn_qkv"});

  File prefixes = file_of("equal_a");
  prefixes.tensors["transformer_blocks.0.attn.to_q.lora_A.weight"] = at::zeros({3, 32});
  expect_refused(prefixes, {"transformer_blocks.0.attn.to_q.lora_A.weight"});

  File broken = file_of("equal_a");
  broken.metadata["lora_adapter_metadata"] = "{";
  expect_refused(broken, {"lora_adapter_metadata"});

  File alpha = file_of("kohya");
  alpha.tensors["lora_unet_double_blocks_0_img_attn_qkv.alpha"] = at::ones({2});
  expect_refused(alpha, {"lora_unet_double_blocks_0_img_attn_qkv.alpha"});

  expect_refused({{{"other.weight", at::zeros({2})}}, {}}, {"other.weight"});
}

TEST(AdapterCreation, DefaultTargetsAreAllButTheModulations) {
  const Adapter adapter = Adapter::create(adaptable(config()), {.lora_rank = 2, .alpha = 4});
  std::set<std::string> names;
  for (const auto& m : adapter.modules()) {
    names.insert(m.name);
    EXPECT_EQ(m.scale(), 2);
    const auto* layer = adapter.find(m.name);
    EXPECT_EQ(layer->b.abs().max().item<double>(), 0);
    const double bound = 1 / std::sqrt(static_cast<double>(m.in)), largest = layer->a.abs().max().item<double>();
    EXPECT_LE(largest, bound);
    EXPECT_GT(largest, 0.8 * bound);
    EXPECT_LT(std::abs(layer->a.mean().item<double>()), 0.5 * bound);
  }
  EXPECT_EQ(names.size(), 2u * 8 + 2u * 2);
  EXPECT_TRUE(names.contains("double_blocks.1.txt_mlp.fc2"));
  EXPECT_FALSE(names.contains("double_blocks.1.txt_mod.linear"));
  // B is zero: the adapter does nothing yet.
  EXPECT_TRUE(at::equal(forward(&adapter), forward(nullptr)));
}

TEST(AdapterCreation, ValuesDependOnSeedAndModuleAlone) {
  const auto values = [](const std::vector<std::string>& targets, std::uint64_t seed) {
    return Adapter::create(adaptable(config()), {.targets = targets, .lora_rank = 2, .alpha = 2, .seed = seed}).find("single_blocks.0.linear1")->a.clone();
  };
  const at::Tensor first = values({}, 7);
  EXPECT_TRUE(at::equal(first, values({"linear1"}, 7)));
  EXPECT_TRUE(at::equal(first, values({"single_blocks.*"}, 7)));
  EXPECT_FALSE(at::equal(first, values({}, 8)));
}

TEST(AdapterCreation, PatternsChooseModules) {
  const auto names = [](const std::vector<std::string>& targets) {
    std::vector<std::string> names;
    const Adapter adapter = Adapter::create(adaptable(config()), {.targets = targets, .lora_rank = 1, .alpha = 1});
    for (const auto& m : adapter.modules()) names.push_back(m.name);
    return names;
  };
  EXPECT_THAT(names({"img_attn_proj"}), testing::ElementsAre("double_blocks.0.img_attn_proj", "double_blocks.1.img_attn_proj"));
  EXPECT_THAT(names({"double_blocks.1.img_attn_proj", "linear2"}),
              testing::ElementsAre("double_blocks.1.img_attn_proj", "single_blocks.0.linear2", "single_blocks.1.linear2"));
  EXPECT_EQ(names({"*mod*"}).size(), 2u * 2 + 2u);
  EXPECT_EQ(names({"*"}).size(), 2u * 10 + 2u * 3);
  EXPECT_THAT([&] { names({"linear2", "img_atn_qkv"}); },
              ThrowsMessage<UserError>(AllOf(HasSubstr("img_atn_qkv"), HasSubstr("img_attn_qkv"), HasSubstr("txt_mod.linear"))));
  EXPECT_THAT([] { Adapter::create(adaptable(config()), {.lora_rank = 0}); }, ThrowsMessage<UserError>(HasSubstr("lora_rank")));
  EXPECT_THAT([] { Adapter::create(adaptable(config()), {.alpha = -1}); }, ThrowsMessage<UserError>(HasSubstr("alpha")));
}

TEST(AdapterBuffers, ParametersAndGradientsAreOneBufferEach) {
  Adapter adapter = Adapter::create(adaptable(config()), {.lora_rank = 2, .alpha = 2});
  EXPECT_FALSE(adapter.flat_gradients().defined());
  adapter.set_requires_grad(true);
  ASSERT_EQ(adapter.flat_gradients().sizes(), adapter.flat_parameters().sizes());
  {
    const c10::AutoGradMode no_grad(false);
    adapter.flat_parameters().add_(0.01);  // through the buffer, so that B is no longer zero
  }
  const Transformer network = transformer();
  const auto step = [&] { network.forward(inputs(), &adapter).square().sum().backward(); };
  step();
  const at::Tensor once = adapter.flat_gradients().clone();
  EXPECT_GT(once.abs().max().item<double>(), 1e-3);
  std::int64_t offset = 0;
  for (const auto& leaf : adapter.leaves()) {
    ASSERT_TRUE(leaf.grad().defined());
    EXPECT_EQ(leaf.grad().data_ptr<float>(), adapter.flat_gradients().data_ptr<float>() + offset) << "the gradient left its buffer";
    EXPECT_EQ(leaf.data_ptr<float>(), adapter.flat_parameters().data_ptr<float>() + offset);
    offset += leaf.numel();
  }
  EXPECT_EQ(offset, adapter.flat_parameters().numel());
  step();
  EXPECT_LT(tests::relative_error(adapter.flat_gradients(), once * 2), 1e-6);
  adapter.set_requires_grad(false);
  EXPECT_FALSE(network.forward(inputs(), &adapter).requires_grad());
}

TEST(AdapterBuffers, NamedTensorsRoundTripAndNameEveryProblem) {
  const Adapter adapter = Adapter::create(adaptable(config()), {.targets = {"linear1", "img_mlp.fc1"}, .lora_rank = 3, .alpha = 0.7, .seed = 5});
  auto tensors = adapter.named_tensors();
  const Adapter again = Adapter::from_named_tensors(adaptable(config()), tensors, "checkpoint");
  EXPECT_TRUE(at::equal(again.flat_parameters(), adapter.flat_parameters()));
  EXPECT_EQ(again.modules()[0].alpha, 0.7);
  tensors.erase("single_blocks.0.linear1.alpha");
  tensors["stranger"] = at::zeros({1});
  EXPECT_THAT([&] { Adapter::from_named_tensors(adaptable(config()), tensors, "the-checkpoint"); },
              ThrowsMessage<UserError>(AllOf(HasSubstr("the-checkpoint"), HasSubstr("single_blocks.0.linear1.alpha"), HasSubstr("stranger"))));
  tensors = adapter.named_tensors();
  tensors["single_blocks.1.linear1.lora_B.weight"] = at::zeros({7, 3});
  tensors["single_blocks.9.linear1.lora_A.weight"] = tensors["single_blocks.9.linear1.lora_B.weight"] = at::zeros({3, 3});
  tensors["single_blocks.9.linear1.alpha"] = at::ones({});
  EXPECT_THAT([&] { Adapter::from_named_tensors(adaptable(config()), tensors, "c"); },
              ThrowsMessage<UserError>(AllOf(HasSubstr("single_blocks.1.linear1"), HasSubstr("[7, 3]"), HasSubstr("single_blocks.9.linear1"))));
}

TEST_F(AdapterTest, StrengthScalesTheProductWhereverTheAdapterGoes) {
  const Adapter adapter = read(file_of("equal_a"));
  Adapter half = adapter.frozen_copy({});
  EXPECT_TRUE(at::equal(forward(&half), forward(&adapter)));
  half.scale_by(0.5);
  const at::Tensor expected = forward(&half);
  EXPECT_GT(tests::relative_error(expected, forward(&adapter)), 0.01);
  const Adapter copy = adapter.frozen_copy({}, 0.5), of_copy = half.frozen_copy({});
  EXPECT_TRUE(at::equal(forward(&copy), expected));
  EXPECT_TRUE(at::equal(forward(&of_copy), expected));
  for (const auto format : {AdapterFormat::diffusers, AdapterFormat::kohya, AdapterFormat::comfyui}) {
    save_adapter(half, config(), format, folder_ / "half.safetensors");
    const Adapter again = load_adapter(config(), folder_ / "half.safetensors");
    EXPECT_LT(tests::relative_error(forward(&again), expected), 1e-6);
  }
  half.scale_by(0);
  EXPECT_TRUE(at::equal(forward(&half), forward(nullptr)));
}

TEST(AdapterFormats, AreNamed) {
  EXPECT_EQ(adapter_format_from_name("kohya"), AdapterFormat::kohya);
  EXPECT_THAT([] { adapter_format_from_name("peft"); }, ThrowsMessage<UserError>(AllOf(HasSubstr("peft"), HasSubstr("diffusers"), HasSubstr("comfyui"))));
}

}  // namespace
}  // namespace magicid::models::hunyuan_video
