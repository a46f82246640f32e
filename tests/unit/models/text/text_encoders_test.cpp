// LLaMA, CLIP and encode_prompt against transformers and diffusers: tests/reference/make_text_encoders.py.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "models/text/clip_text.h"
#include "models/text/initialize.h"
#include "models/text/llama.h"
#include "models/text/prompt_encoder.h"
#include "models/text/write_tokenizer.h"
#include "storage/atomic_file.h"
#include "support/formula_weights.h"

namespace magicid::models::text {
namespace {

namespace fs = std::filesystem;
using tests::relative_error;
const fs::path kData = fs::path(MAGICID_TEST_DATA) / "text_encoders";

struct Case {
  nlohmann::json config;
  storage::NamedTensors tensors;
  storage::SafetensorsFile expected;

  explicit Case(const std::string& name)
      : config(tests::read_json(kData / name / "config.json")),
        tensors(name == "pipeline" ? storage::NamedTensors{} : tests::formula_tensors(tests::read_json(kData / name / "shapes.json"))),
        expected(storage::SafetensorsFile::open(kData / name / "expected.safetensors")) {}

  nn::Weights weights(at::ScalarType dtype = at::kFloat) const { return nn::Weights::from_tensors(tensors, "formula weights", {c10::kCPU, dtype}); }
  LlamaEncoder llama(at::ScalarType dtype = at::kFloat) const {
    return LlamaEncoder::from_weights(LlamaConfig::from_json({config, "config.json"}), weights(dtype), expected.at("layers_to_skip").item<std::int64_t>());
  }
  ClipTextEncoder clip() const { return ClipTextEncoder::from_weights(ClipTextConfig::from_json({config, "config.json"}), weights()); }
};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "(no error)";
}

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(fs::temp_directory_path() / ("magicid-text-" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class Llama : public testing::TestWithParam<std::string> {};

TEST_P(Llama, HiddenStatesEqualTheReference) {
  const Case c(GetParam());
  const bool bf16 = GetParam() == "llama_bf16";
  const at::Tensor mask = c.expected.at("attention_mask"), wanted = c.expected.at("hidden_states");
  const at::Tensor states = c.llama(bf16 ? at::kBFloat16 : at::kFloat).hidden_states(c.expected.at("input_ids"), mask);
  EXPECT_EQ(states.scalar_type(), wanted.scalar_type());
  const at::Tensor text = mask.to(at::kBool);
  const double error = relative_error(states.index({text}), wanted.index({text}));
  RecordProperty("relative_error", base::concat(error));
  EXPECT_LT(error, bf16 ? 2e-2 : 1e-5);
  EXPECT_EQ(states.index({text.logical_not()}).abs().sum().item<double>(), 0);
}
INSTANTIATE_TEST_SUITE_P(Configurations, Llama,
                         testing::Values("llama", "llama_bf16", "llama_old_scaled", "llama_all_layers", "llama_in_llava", "llama_held_back"),
                         [](const auto& info) { return info.param; });

TEST(LlamaEncoder, BadMasksAndIdsAreRefused) {
  const Case c("llama");
  const LlamaEncoder llama = c.llama();
  const at::Tensor ids = at::tensor({1, 2, 3}, at::kLong).unsqueeze(0);
  const auto with_mask = [&](std::vector<std::int64_t> mask) {
    return message_of([&] { llama.hidden_states(ids, at::tensor(mask, at::kLong).unsqueeze(0)); });
  };
  for (const std::vector<std::int64_t>& mask : {std::vector<std::int64_t>{0, 1, 1}, {1, 0, 1}, {0, 0, 0}})
    EXPECT_THAT(with_mask(mask), testing::HasSubstr("ones, then zeros"));
  EXPECT_EQ(with_mask({1, 1, 0}), "(no error)");
  EXPECT_THAT(message_of([&] { llama.hidden_states(ids + 95); }), testing::HasSubstr("token id 98 is outside the vocabulary of 97"));
  EXPECT_THAT(message_of([&] { llama.hidden_states(ids.to(at::kFloat)); }), testing::HasSubstr("input_ids must be integers"));
}

TEST(LlamaEncoder, MasksOfEveryTypeMeanTheSame) {
  const Case c("llama");
  const LlamaEncoder llama = c.llama();
  const at::Tensor ids = c.expected.at("input_ids"), mask = c.expected.at("attention_mask");
  const at::Tensor wanted = llama.hidden_states(ids, mask);
  for (const auto type : {at::kBool, at::kFloat, at::kInt}) EXPECT_TRUE(at::equal(llama.hidden_states(ids, mask.to(type)), wanted));
}

TEST(LlamaEncoder, ConfigurationsItCannotReproduceAreRefused) {
  nlohmann::json config = Case("llama").config;
  const auto refusal = [](const nlohmann::json& json) { return message_of([&] { LlamaConfig::from_json({json, "config.json"}); }); };
  auto changed = config;
  changed["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 1e4}};
  EXPECT_THAT(refusal(changed), testing::HasSubstr("\"yarn\" is not supported"));
  changed = config;
  changed["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_THAT(refusal(changed), testing::HasSubstr("\"linear\" is not supported"));
  changed = config;
  changed["model_type"] = "mistral";
  EXPECT_THAT(refusal(changed), testing::HasSubstr("\"mistral\""));
  changed = config;
  changed["hidden_act"] = "relu";
  EXPECT_THAT(refusal(changed), testing::HasSubstr("\"relu\""));
  changed = config;
  changed["num_key_value_heads"] = 3;
  EXPECT_THAT(refusal(changed), testing::HasSubstr("evenly"));
  changed = config;
  changed["hidden_size"] = "48";
  EXPECT_THAT(refusal(changed), testing::HasSubstr("hidden_size is \"48\"; a whole number"));
}

TEST(LlamaEncoder, OnlyNeededLayersMustBeThere) {
  Case c("llama");
  for (const char* name : {"layers.2.self_attn.q_proj.weight", "layers.3.mlp.up_proj.weight", "norm.weight"}) c.tensors.erase(name);
  EXPECT_NO_THROW(c.llama());
  c.tensors.erase("layers.1.mlp.up_proj.weight");
  c.tensors["strange"] = at::zeros({2});
  const std::string message = message_of([&] { c.llama(); });
  EXPECT_THAT(message, testing::HasSubstr("layers.1.mlp.up_proj.weight"));
  EXPECT_THAT(message, testing::HasSubstr("strange"));
}

class ClipText : public testing::TestWithParam<std::string> {};

TEST_P(ClipText, OutputsEqualTheReference) {
  const Case c(GetParam());
  const ClipTextEncoder clip = c.clip();
  const ClipTextOutput out = clip(c.expected.at("input_ids"));
  double error = relative_error(out.last_hidden_state, c.expected.at("last_hidden_state"));
  EXPECT_LT(error, 1e-5);
  EXPECT_LT(relative_error(out.pooler_output, c.expected.at("pooler_output")), 1e-5);
  ASSERT_EQ(clip.has_projection(), c.expected.contains("text_embeds"));
  if (clip.has_projection()) {
    EXPECT_LT(relative_error(out.text_embeds, c.expected.at("text_embeds")), 1e-5);
  }
  RecordProperty("relative_error", base::concat(error));
}
INSTANTIATE_TEST_SUITE_P(Configurations, ClipText, testing::Values("clip_text", "clip_text_projection", "clip_text_old", "clip_whole", "clip_held_back"),
                         [](const auto& info) { return info.param; });

TEST(ClipTextEncoder, FoldersOfEveryKindLoad) {
  for (const char* name : {"clip_text", "clip_text_projection", "clip_whole"}) {
    const Case c(name);
    const TemporaryFolder folder;
    write_text_model(folder.path(), c.config, c.tensors);
    const auto out = ClipTextEncoder::load(folder.path(), {})(c.expected.at("input_ids"));
    EXPECT_LT(relative_error(out.pooler_output, c.expected.at("pooler_output")), 1e-5) << name;
  }
}

TEST(ClipTextEncoder, SettingsWrittenTwiceAreReadAsTransformersDoes) {
  nlohmann::json config = Case("clip_whole").config;
  config["text_config_dict"] = {{"hidden_size", 64}, {"num_attention_heads", 4}};
  const auto read = ClipTextConfig::from_json({config, "config.json"});
  EXPECT_EQ(read.hidden_size, 64);
  EXPECT_EQ(read.vocab_size, 49408);  // the second copy wins whole, with its defaults
  EXPECT_EQ(read.projection_dim, 20);
}

TEST(ClipTextEncoder, TooManyTokensAreRefused) {
  const Case c("clip_held_back");
  EXPECT_THAT(message_of([&] { c.clip()(at::ones({1, 32}, at::kLong)); }), testing::HasSubstr("32 tokens, but the model has positions for 31"));
}

class PromptEncoding : public testing::Test {
 protected:
  PromptEncoding() : case_("pipeline") {
    const auto shapes = tests::read_json(kData / "pipeline" / "shapes.json");
    for (const char* part : {"text_encoder", "text_encoder_2"})
      write_text_model(folder_.path() / part, case_.config[part], tests::formula_tensors(shapes[part]));
    fs::copy(fs::path(MAGICID_TEST_DATA) / "tokenizers" / "llama3", folder_.path() / "tokenizer");
    fs::copy(fs::path(MAGICID_TEST_DATA) / "tokenizers" / "clip_files", folder_.path() / "tokenizer_2");
  }
  PromptTemplate own() const { return {case_.config["template"]["template"], case_.config["template"]["crop_start"]}; }

  TemporaryFolder folder_;
  Case case_;
};

TEST_F(PromptEncoding, EqualsThePipeline) {
  const PromptEncoder encode = PromptEncoder::load(folder_.path(), {});
  for (const auto& [name, prompt] : case_.config["prompts"].items()) {
    for (const bool own_template : {true, false}) {
      const auto out = own_template ? encode(prompt, own(), case_.config["max_length"]) : encode(prompt);
      const std::string key = name + (own_template ? ".own." : ".default.");
      SCOPED_TRACE(key);
      const at::Tensor mask = case_.expected.at(key + "prompt_attention_mask");
      EXPECT_TRUE(at::equal(out.prompt_attention_mask, mask));
      EXPECT_EQ(out.prompt_embeds.sizes(), (at::IntArrayRef{1, mask.size(1), 24}));
      EXPECT_LT(relative_error(out.prompt_embeds.slice(1, 0, mask.sum().item<std::int64_t>()), case_.expected.at(key + "prompt_embeds")), 1e-5);
      EXPECT_LT(relative_error(out.pooled_prompt_embeds, case_.expected.at(key + "pooled_prompt_embeds")), 1e-5);
    }
  }
}

TEST_F(PromptEncoding, CutTextIsShown) {
  const PromptTokenizer tokenize = PromptTokenizer::load(folder_.path());
  const std::string prompt = "The woman in the red coat turns her head and smiles; it's raining";
  EXPECT_EQ(over_length_warning(tokenize(prompt, own(), 100)), std::nullopt);
  // Exactly the template's last token does not fit: nothing of the prompt is lost.
  const auto length = static_cast<std::int64_t>(tokenize.llama().encode(own().render(prompt)).size()) - own().crop_start;
  EXPECT_TRUE(tokenize(prompt, own(), length - 1).llama_cut_text.empty());
  const auto cut = tokenize(prompt, own(), length - 4);
  EXPECT_FALSE(cut.llama_cut_text.empty());
  EXPECT_TRUE(prompt.ends_with(cut.llama_cut_text));
  EXPECT_THAT(*over_length_warning(cut), testing::AllOf(testing::HasSubstr(cut.llama_cut_text), testing::Not(testing::HasSubstr("CLIP"))));
  const std::string long_prompt = case_.config["prompts"]["long"];
  const auto clip_cut = tokenize(long_prompt + long_prompt, own(), 1000);
  EXPECT_TRUE(clip_cut.llama_cut_text.empty());
  ASSERT_FALSE(clip_cut.clip_cut_text.empty());
  EXPECT_THAT(*over_length_warning(clip_cut), testing::HasSubstr("CLIP does not read \"" + clip_cut.clip_cut_text));
  EXPECT_THROW(tokenize(prompt, own(), 0), base::UserError);
}

TEST_F(PromptEncoding, AWordThatMustBeReadHasLimits) {
  const PromptTokenizer tokenize = PromptTokenizer::load(folder_.path());
  const std::string beginning = "The woman in the red coat turns her head and smiles";
  const auto tokens = static_cast<std::int64_t>(tokenize.llama().encode(own().head() + beginning).size()) - own().crop_start;
  // Read when the last token just fits, whatever stands behind it, the template's own end included.
  EXPECT_THAT(tokenize.limits_within(beginning, own(), tokens), testing::IsEmpty());
  EXPECT_THAT(tokenize.limits_within(beginning, own(), tokens - 1),
              testing::ElementsAre(base::concat("the language model reads ", tokens - 1, " tokens of a prompt, and it ends with token ", tokens)));
  std::string words = "a";
  while (tokenize.clip().encode(words, false).size() < 75) words += " a";
  EXPECT_THAT(tokenize.limits_within(words, own(), 1000), testing::IsEmpty());
  EXPECT_THAT(tokenize.limits_within(words + " a", own(), 1000), testing::ElementsAre("CLIP reads 75 tokens of a prompt, and it ends with token 76"));
}

TEST_F(PromptEncoding, PaddingOnTheLeftIsRefused) {
  auto config = tests::read_json(folder_.path() / "tokenizer" / "tokenizer_config.json");
  config["padding_side"] = "left";
  storage::write_text_atomically(folder_.path() / "tokenizer" / "tokenizer_config.json", config.dump());
  EXPECT_THAT(message_of([&] { PromptTokenizer::load(folder_.path()); }), testing::HasSubstr("padding_side"));
}

TEST_F(PromptEncoding, CropBehindThePromptIsRefused) {
  const PromptEncoder encode = PromptEncoder::load(folder_.path(), {});
  EXPECT_THAT(message_of([&] { encode("a", {"{}", 50}, 10); }), testing::HasSubstr("crop_start is 50"));
}

TEST(PromptTemplateFile, IsReadAndChecked) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "template.json";
  const auto read = [&](const char* text) {
    storage::write_text_atomically(file, text);
    return message_of([&] { PromptTemplate::load(file); });
  };
  EXPECT_EQ(read(R"({"template": "a {{b}} {} c", "crop_start": 3})"), "(no error)");
  EXPECT_EQ(PromptTemplate::load(file).render("{x}"), "a {b} {x} c");
  EXPECT_EQ(PromptTemplate::load(file).crop_start, 3);
  EXPECT_EQ(PromptTemplate::load(file).head(), "a {b} ");
  EXPECT_EQ(read("\xEF\xBB\xBF{\"template\": \"cafe\xCC\x81 {}\", \"crop_start\": 3}"), "(no error)");
  EXPECT_EQ(PromptTemplate::load(file).head(), "caf\xC3\xA9 ");
  EXPECT_THAT(read("{\n\"template\": \"caf\xE9 {}\", \"crop_start\": 3}"), testing::HasSubstr("template.json:2: is not UTF-8: byte 17"));
  EXPECT_THAT(read("{\"template\": "), testing::HasSubstr("template.json: is not valid JSON"));
  EXPECT_THAT(read(R"({"template": "{}"})"), testing::HasSubstr("\"crop_start\" is missing"));
  EXPECT_THAT(read(R"({"template": "{}", "crop_start": null})"), testing::HasSubstr("Write the number"));
  EXPECT_THAT(read(R"({"template": "{}", "crop_start": -1})"), testing::HasSubstr("0 or more"));
  EXPECT_THAT(read(R"({"template": "no place", "crop_start": 1})"), testing::HasSubstr("no {}"));
  EXPECT_THAT(read(R"({"template": "{} {}", "crop_start": 1})"), testing::HasSubstr("exactly one {}"));
  EXPECT_THAT(read(R"({"template": "{name}", "crop_start": 1})"), testing::HasSubstr("exactly one {}"));
  EXPECT_THAT(read(R"({"crop_start": 1})"), testing::HasSubstr("\"template\" is missing"));
}

TEST(WrittenModel, IsAWholeTextPipeline) {
  const TemporaryFolder folder;
  LlamaConfig llama;
  llama.vocab_size = write_byte_level_tokenizer(folder.path() / "tokenizer", common_prompt_words());
  llama.hidden_size = 32, llama.intermediate_size = 48, llama.num_hidden_layers = 4, llama.num_attention_heads = 4, llama.num_key_value_heads = 2,
  llama.head_dim = 8;
  ClipTextConfig clip;
  clip.vocab_size = write_clip_tokenizer(folder.path() / "tokenizer_2", common_prompt_words());
  clip.eos_token_id = clip.vocab_size - 1;
  clip.hidden_size = 24, clip.intermediate_size = 48, clip.num_hidden_layers = 2, clip.num_attention_heads = 2, clip.projection_dim = 24;
  write_text_model(folder.path() / "text_encoder", llama.to_json(), initialize_llama(llama, 1));
  write_text_model(folder.path() / "text_encoder_2", clip.to_json(false), initialize_clip_text(clip, false, 2));

  const PromptEncoder encode = PromptEncoder::load(folder.path(), {});
  // crop_start 95 of the default template points at the prompt's first token.
  const auto& llama_tokens = encode.tokenizer().llama();
  const std::string rendered = PromptTemplate::hunyuan_video().render("a person walks");
  const auto ids = llama_tokens.encode(rendered);
  EXPECT_EQ(llama_tokens.decode({ids.begin() + 95, ids.end()}), "a person walks<|eot_id|>");
  EXPECT_EQ(ids.size(), 95u + 4);
  EXPECT_EQ(encode.tokenizer().clip().encode("A PERSON  walks").size(), 5u);

  const auto out = encode("a person walks");
  EXPECT_EQ(out.prompt_embeds.sizes(), (at::IntArrayRef{1, 256, 32}));
  EXPECT_EQ(out.pooled_prompt_embeds.sizes(), (at::IntArrayRef{1, 24}));
  EXPECT_EQ(out.prompt_attention_mask.sum().item<std::int64_t>(), 4);
  EXPECT_GT(relative_error(out.pooled_prompt_embeds, encode("a red street").pooled_prompt_embeds), 0.05);
  EXPECT_TRUE(at::equal(initialize_llama(llama, 1)["norm.weight"], at::ones({32})));
  EXPECT_TRUE(at::equal(initialize_clip_text(clip, true, 2)["text_projection.weight"], initialize_clip_text(clip, true, 2)["text_projection.weight"]));
  EXPECT_FALSE(at::equal(initialize_llama(llama, 1)["embed_tokens.weight"], initialize_llama(llama, 3)["embed_tokens.weight"]));
  // Text of any kind survives the byte alphabet.
  for (const char* text : {"caf\xC3\xA9 \xF0\x9F\x98\x80\n\n  tab\t", "<|eot_id|>x"}) EXPECT_EQ(llama_tokens.decode(llama_tokens.encode(text, false)), text);
}

}  // namespace
}  // namespace magicid::models::text
