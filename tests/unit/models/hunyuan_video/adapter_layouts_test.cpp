// Adapter files that other programs write, against the programs' own readers (golden files by tests/reference/make_adapter_layouts.py), and what cannot be
// read.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/transformer.h"
#include "models/nn/network_config.h"
#include "storage/atomic_file.h"
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
using testing::Not;
using testing::ThrowsMessage;
using tests::SmallAdapters;

const json& layouts() {
  static const json parsed = tests::read_json(SmallAdapters::data() / "layouts.json");
  return parsed;
}

at::Tensor forward(const Adapter* adapter) {
  static const Transformer network = SmallAdapters::transformer();
  return SmallAdapters::forward(network, adapter);
}

bool is_up(const std::string& key) {
  return key.find("lora_B") != std::string::npos || key.find("lora_up") != std::string::npos || key.find(".up.") != std::string::npos;
}

class AdapterLayouts : public testing::Test {
 protected:
  AdapterLayouts() : folder_(fs::temp_directory_path() / ("magicid-adapter-layouts-" + std::to_string(::getpid()))) { fs::create_directories(folder_); }
  ~AdapterLayouts() override { fs::remove_all(folder_); }

  // The case as the reference wrote it, in a folder of its own. The file's path.
  fs::path write_case(const std::string& name) const {
    const json& one = layouts().at("cases").at(name);
    storage::NamedTensors tensors;
    for (const auto& entry : one.at("keys")) {
      const std::string key = entry[0];
      tensors[key] = tests::formula_tensor(key, entry[1].get<std::vector<std::int64_t>>()) * (is_up(key) ? 0.2 : 1.0);
    }
    fs::create_directories(folder_ / name);
    const fs::path file = folder_ / name / one.at("file").get<std::string>();
    storage::write_safetensors(file, tensors, one.at("metadata").get<std::map<std::string, std::string>>());
    if (const std::string config = one.at("config"); !config.empty()) storage::write_text_atomically(file.parent_path() / "adapter_config.json", config);
    return file;
  }

  fs::path write(const storage::NamedTensors& tensors, const std::string& name = "file.safetensors") const {
    storage::write_safetensors(folder_ / name, tensors);
    return folder_ / name;
  }

  std::string refusal(const fs::path& path) const {
    try {
      load_adapter(SmallAdapters::config(), path);
    } catch (const UserError& error) {
      return error.what();
    }
    return "it was read";
  }

  // A PEFT folder whose configuration is changed.
  fs::path with_config(const std::function<void(json&)>& change) const {
    const fs::path file = write_case("peft_folder");
    json config = json::parse(layouts().at("cases").at("peft_folder").at("config").get<std::string>());
    change(config);
    storage::write_text_atomically(file.parent_path() / "adapter_config.json", config.dump());
    return file;
  }

  fs::path folder_;
};

class ReferencesFiles : public AdapterLayouts, public testing::WithParamInterface<std::string> {};

TEST_P(ReferencesFiles, GiveTheReferencesOutput) {
  const at::Tensor expected = storage::SafetensorsFile::open(SmallAdapters::data() / "layouts.safetensors").at(GetParam());
  const fs::path file = write_case(GetParam());
  const Adapter adapter = load_adapter(SmallAdapters::config(), file);
  EXPECT_LT(tests::relative_error(forward(&adapter), expected), 1e-5);
  EXPECT_GT(tests::relative_error(forward(nullptr), expected), 0.01) << "the adapter has no effect: the comparison shows nothing";
  if (file.filename() == "old.safetensors") return;
  // The folder stands for the file.
  const Adapter of_folder = load_adapter(SmallAdapters::config(), file.parent_path());
  EXPECT_TRUE(at::equal(of_folder.flat_parameters(), adapter.flat_parameters()));
}

INSTANTIATE_TEST_SUITE_P(Cases, ReferencesFiles,
                         testing::Values("peft_folder", "peft_folder_rank_stabilised", "saved_by_the_transformer", "with_text_encoder", "before_peft"),
                         [](const auto& info) { return info.param; });

// Names that no present version of the references writes: older ones' attention processors, a PEFT model's own state with the adapter's name, kohya's other
// prefixes, the image-to-video trainer's.
TEST_F(AdapterLayouts, OtherNamesOfTheSameModulesAreTheSameAdapter) {
  const at::Tensor a = tests::formula_tensor("a", {2, 32}), b = tests::formula_tensor("b", {32, 2});
  const auto parameters = [&](const std::string& down, const std::string& up) {
    const Adapter adapter = load_adapter(SmallAdapters::config(), write({{down, a}, {up, b}}));
    EXPECT_EQ(adapter.modules().size(), 1u);
    return adapter.flat_parameters().clone();
  };
  const at::Tensor q = parameters("transformer.transformer_blocks.1.attn.to_q.lora_A.weight", "transformer.transformer_blocks.1.attn.to_q.lora_B.weight");
  const at::Tensor out = parameters("transformer_blocks.1.attn.to_out.0.lora_A.weight", "transformer_blocks.1.attn.to_out.0.lora_B.weight");
  for (const auto& [stem, end_a, end_b] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"transformer.transformer_blocks.1.attn.processor.to_q_lora", ".down.weight", ".up.weight"},
           {"base_model.model.transformer_blocks.1.attn.to_q", ".lora_A.face.weight", ".lora_B.face.weight"},
           {"transformer_blocks.1.attn.to_q", ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"},
           {"lora_unet_transformer_blocks_1_attn_to_q", ".lora_down.weight", ".lora_up.weight"},
           {"lora_transformer_transformer_blocks_1_attn_to_q", ".lora_down.weight", ".lora_up.weight"},
           {"lycoris_transformer_blocks_1_attn_to_q", ".lora_down.weight", ".lora_up.weight"}})
    EXPECT_TRUE(at::equal(parameters(stem + end_a, stem + end_b), q)) << stem;
  for (const std::string stem : {"transformer.transformer_blocks.1.attn.to_out_lora", "transformer.transformer_blocks.1.attn.to_out.lora",
                                 "transformer.transformer_blocks.1.attn.processor.to_out_lora"})
    EXPECT_TRUE(at::equal(parameters(stem + ".down.weight", stem + ".up.weight"), out)) << stem;
  for (const std::string stem : {"Hunyuan_video_I2V_lora_double_blocks_1_img_attn_proj", "lora_unet_double_blocks_1_img_attn_proj"})
    EXPECT_TRUE(at::equal(parameters(stem + ".lora_down.weight", stem + ".lora_up.weight"), out)) << stem;
}

// The alpha beside the old names counts as every other.
TEST_F(AdapterLayouts, AlphasOfOlderAndImageToVideoNamesCount) {
  const at::Tensor a = tests::formula_tensor("a", {2, 32}), b = tests::formula_tensor("b", {32, 2});
  for (const auto& [stem, ends] : std::map<std::string, std::vector<std::string>>{
           {"Hunyuan_video_I2V_lora_double_blocks_1_img_attn_proj", {".lora_down.weight", ".lora_up.weight", ".alpha"}},
           {"transformer_blocks.1.attn.to_q_lora", {".down.weight", ".up.weight", ".alpha"}}}) {
    const Adapter adapter = load_adapter(SmallAdapters::config(), write({{stem + ends[0], a}, {stem + ends[1], b}, {stem + ends[2], at::full({}, 5.0)}}));
    EXPECT_EQ(adapter.modules().at(0).scale(), 2.5) << stem;
  }
}

TEST_F(AdapterLayouts, TextEncodersAreLeftOutByNameAndNothingElseIs) {
  const auto file = read_adapter_file(SmallAdapters::config(), write_case("with_text_encoder"));
  ASSERT_EQ(file.warnings.size(), 1u);
  EXPECT_THAT(file.warnings[0], AllOf(HasSubstr("pytorch_lora_weights.safetensors"), HasSubstr("2 keys"), HasSubstr("text_encoder.")));
  storage::NamedTensors kohya{{"lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", at::ones({1, 32})},
                              {"lora_unet_double_blocks_0_img_attn_proj.lora_up.weight", at::ones({32, 1})}};
  EXPECT_TRUE(read_adapter_file(SmallAdapters::config(), write(kohya)).warnings.empty());
  kohya["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = at::ones({1, 4});
  EXPECT_EQ(read_adapter_file(SmallAdapters::config(), write(kohya)).warnings.size(), 1u);
  EXPECT_THAT(refusal(write({{"lora_te_text_model_fc1.lora_down.weight", at::ones({1, 4})}})), HasSubstr("text encoders alone"));
}

// The alpha that is not there is told, not guessed in silence.
TEST_F(AdapterLayouts, AFileOfPeftWithoutItsConfigurationIsWarnedOf) {
  const fs::path file = write_case("peft_folder_rank_stabilised");
  EXPECT_TRUE(read_adapter_file(SmallAdapters::config(), file).warnings.empty());
  fs::remove(file.parent_path() / "adapter_config.json");
  const auto read = read_adapter_file(SmallAdapters::config(), file);
  ASSERT_EQ(read.warnings.size(), 1u);
  EXPECT_THAT(read.warnings[0], AllOf(HasSubstr("adapter_config.json"), HasSubstr("alpha = rank")));
  EXPECT_EQ(read.adapter.modules().at(0).scale(), 1);
}

TEST_F(AdapterLayouts, FoldersThatAreNotClearAreRefused) {
  const fs::path file = write_case("peft_folder");
  fs::copy_file(file, file.parent_path() / "pytorch_lora_weights.safetensors");
  EXPECT_THAT(refusal(file.parent_path()), AllOf(HasSubstr("both"), HasSubstr("name the one that is meant")));
  fs::create_directories(folder_ / "pickle");
  storage::write_text_atomically(folder_ / "pickle" / "adapter_model.bin", "x");
  EXPECT_THAT(refusal(folder_ / "pickle"), AllOf(HasSubstr("pickle"), HasSubstr("safe_serialization")));
}

// What PEFT's configuration says is refused by name where it makes another function of the factors.
TEST_F(AdapterLayouts, VariantsOfLoraAreRefusedByName) {
  const auto with = [&](const std::string& key, const json& value) { return refusal(with_config([&](json& c) { c[key] = value; })); };
  EXPECT_THAT(with("use_dora", true), AllOf(HasSubstr("adapter_config.json"), HasSubstr("DoRA")));
  EXPECT_THAT(with("peft_type", "LOHA"), HasSubstr("LOHA"));
  EXPECT_THAT(with("init_lora_weights", "pissa_niter_4"), AllOf(HasSubstr("pissa_niter_4"), HasSubstr("path_initial_model_for_weight_conversion")));
  EXPECT_EQ(with("init_lora_weights", "gaussian"), "it was read");
  EXPECT_THAT(with("use_qalora", true), HasSubstr("QALoRA"));
  EXPECT_THAT(with("alora_invocation_tokens", {1, 2}), HasSubstr("activated LoRA"));
  EXPECT_THAT(with("rank_pattern", 3), HasSubstr("rank_pattern"));
  EXPECT_THAT(with("alpha_pattern", {{"to_q", "3"}}), AllOf(HasSubstr("lora_alpha"), HasSubstr("expected a number")));
  EXPECT_THAT(with("alpha_pattern", {{"to_q(", 3}}), AllOf(HasSubstr("'to_q('"), HasSubstr("not a regular expression")));
  EXPECT_THAT(with("r", 4), HasSubstr("has rank 3, but"));
  const fs::path broken = with_config([](json&) {});
  storage::write_text_atomically(broken.parent_path() / "adapter_config.json", "{\"r\": ");
  EXPECT_THAT(refusal(broken), AllOf(HasSubstr("adapter_config.json"), HasSubstr("not a JSON object")));
}

// A pattern that takes exponential time ends in an error, not in a hang or a crash.
TEST_F(AdapterLayouts, HostilePatternsEnd) {
  EXPECT_THAT(refusal(with_config([](json& c) { c["alpha_pattern"] = {{"(([a-z_.0-9]+)+)+[!?]", 3}}; })), HasSubstr("takes too long"));
  EXPECT_THAT(refusal(with_config([](json& c) { c["alpha_pattern"] = {{std::string(20000, '(') + "a" + std::string(20000, ')'), 3}}; })),
              HasSubstr("not a regular expression"));
}

// Never skipped: each tensor of another kind is named, with what it is.
TEST_F(AdapterLayouts, OtherKindsOfChangesAreRefusedByName) {
  const std::string module = "diffusion_model.double_blocks.0.img_attn_proj";
  const storage::NamedTensors plain{{module + ".lora_A.weight", at::ones({1, 32})}, {module + ".lora_B.weight", at::ones({32, 1})}};
  const auto with = [&](const std::string& end, const std::vector<std::int64_t>& shape) {
    auto tensors = plain;
    tensors[module + end] = at::ones(shape);
    return refusal(write(tensors));
  };
  EXPECT_EQ(refusal(write(plain)), "it was read");
  EXPECT_THAT(with(".diff", {32, 32}), AllOf(HasSubstr(module + ".diff"), HasSubstr("full difference")));
  EXPECT_THAT(with(".diff_b", {32}), HasSubstr("difference of a bias"));
  EXPECT_THAT(with(".dora_scale", {32, 1}), HasSubstr("DoRA"));
  EXPECT_THAT(with(".lora_magnitude_vector.weight", {32}), HasSubstr("DoRA"));
  EXPECT_THAT(with(".set_weight", {32, 32}), HasSubstr("set_weight"));
  EXPECT_THAT(with(".hada_w1_a", {32, 1}), HasSubstr("LoHa"));
  EXPECT_THAT(with(".lokr_w1", {4, 4}), HasSubstr("LoKr"));
  EXPECT_THAT(with(".lora_mid.weight", {1, 1}), HasSubstr("middle factor"));
  EXPECT_THAT(with(".lora_B.bias", {32}), HasSubstr("biases"));
  EXPECT_THAT(with(".reshape_weight", {2}), HasSubstr("not a factor"));
}

// Without the model the file's own sizes are taken.
TEST_F(AdapterLayouts, AFileIsReadWithoutItsModel) {
  for (const std::string name : {"peft_folder", "saved_by_the_transformer", "before_peft"}) {
    const fs::path file = write_case(name);
    const auto alone = read_adapter_file(file), of_model = read_adapter_file(SmallAdapters::config(), file);
    EXPECT_TRUE(at::equal(alone.adapter.flat_parameters(), of_model.adapter.flat_parameters())) << name;
    EXPECT_EQ(alone.layout, name == "peft_folder" ? "PEFT" : name == "before_peft" ? "diffusers (before PEFT)" : "diffusers (PEFT)");
  }
  const Adapter only_down =
      Adapter::create(adaptable(SmallAdapters::config()), {.targets = {"single_blocks.1.linear2", "img_mlp.fc2"}, .lora_rank = 2, .alpha = 2});
  for (const auto format : {AdapterFormat::diffusers, AdapterFormat::kohya, AdapterFormat::comfyui}) {
    save_adapter(only_down, SmallAdapters::config(), format, folder_ / "down.safetensors");
    EXPECT_TRUE(at::equal(read_adapter_file(folder_ / "down.safetensors").adapter.flat_parameters(), only_down.flat_parameters()));
  }
  EXPECT_THAT([&] { read_adapter_file(write({{"other.weight", at::zeros({2})}})); }, ThrowsMessage<UserError>(HasSubstr("expected keys of")));
  EXPECT_THAT([&] { read_adapter_file(write({{"double_blocks.99999999999999999999.x.lora_A.weight", at::zeros({2, 2})}})); },
              ThrowsMessage<UserError>(HasSubstr("file.safetensors")));
}

// Through every layout and back: the same bits where the scale is a power of two, for ComfyUI's folded one too.
TEST_F(AdapterLayouts, RoundTripsLoseNothing) {
  for (const double alpha : {4.0, 8.0, 1.0, 2.0, 0.5, 3.0, 0.7}) {
    Adapter adapter = Adapter::create(adaptable(SmallAdapters::config()), {.targets = {"*"}, .lora_rank = 4, .alpha = alpha, .seed = 3});
    for (const auto& m : adapter.modules()) adapter.find(m.name)->b.copy_(tests::formula_tensor(m.name, {m.out, m.rank}));
    const auto there_and_back = [&](const std::vector<AdapterFormat>& formats) {
      Adapter now = adapter.frozen_copy({});
      for (const auto format : formats) {
        save_adapter(now, SmallAdapters::config(), format, folder_ / "trip.safetensors");
        now = load_adapter(SmallAdapters::config(), folder_ / "trip.safetensors");
      }
      return now;
    };
    using enum AdapterFormat;
    for (const auto& trip : std::vector<std::vector<AdapterFormat>>{{diffusers}, {kohya}, {kohya, diffusers, kohya}, {diffusers, kohya, diffusers}}) {
      const Adapter back = there_and_back(trip);
      EXPECT_TRUE(at::equal(back.flat_parameters(), adapter.flat_parameters())) << alpha;
      // An alpha tensor is fp32, as kohya's own.
      for (const auto& m : back.modules())
        EXPECT_EQ(m.alpha, trip.size() == 1 && trip[0] == diffusers ? alpha : static_cast<double>(static_cast<float>(alpha)));
    }
    const bool power_of_two = std::exp2(std::round(std::log2(alpha))) == alpha;
    for (const auto& trip : std::vector<std::vector<AdapterFormat>>{{comfyui}, {comfyui, kohya, comfyui, diffusers}}) {
      const Adapter back = there_and_back(trip);
      for (const auto& m : adapter.modules()) {
        const auto *x = adapter.find(m.name), *y = back.find(m.name);
        const at::Tensor before = x->b.mm(x->a) * x->scale, after = y->b.mm(y->a) * y->scale;
        EXPECT_TRUE(!power_of_two || at::equal(after, before)) << alpha << " " << m.name;
        EXPECT_LT(tests::relative_error(after, before), 1e-6) << alpha << " " << m.name;
      }
    }
  }
}

}  // namespace
}  // namespace magicid::models::hunyuan_video
