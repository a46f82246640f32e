// Qwen2.5-VL and its processor against transformers: tests/reference/make_qwen2_5_vl.py.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/errors.h"
#include "base/hash.h"
#include "models/nn/network_config.h"
#include "models/qwen2_5_vl/chat_prompt.h"
#include "models/qwen2_5_vl/initialize.h"
#include "models/qwen2_5_vl/network.h"
#include "models/qwen2_5_vl/rope_positions.h"
#include "models/qwen2_5_vl/video_processor.h"
#include "storage/atomic_file.h"
#include "support/formula_weights.h"
#include "support/temporary_folder.h"

namespace magicid::models::qwen2_5_vl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using tests::relative_error;
using tests::write_bytes;

const fs::path data = fs::path(MAGICID_TEST_DATA) / "qwen2_5_vl";

template <class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "(no error)";
}

// floor(256 u) / 255 of the formula's uniform numbers, as the script makes its videos.
at::Tensor formula_video(const std::string& name, std::int64_t frames, std::int64_t height, std::int64_t width) {
  const at::Tensor u = tests::formula_tensor(name + ".running_var", {frames * 3 * height * width}) - 0.5;
  return (u * 256).floor().clamp(0, 255).view({frames, 3, height, width}) / 255;
}

QwenVlConfig config_of(const json& written) { return QwenVlConfig::from_json({written, "config.json"}); }

VideoProcessor processor_of(const json& preprocessing, const VisionTowerConfig& vision) {
  tests::TemporaryFolder folder;
  write_bytes(folder / "preprocessor_config.json", preprocessing.dump());
  return VideoProcessor::load(folder / "", vision);
}

std::vector<std::int64_t> numbers(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kLong).contiguous();
  return {wide.data_ptr<std::int64_t>(), wide.data_ptr<std::int64_t>() + wide.numel()};
}

class Parity : public ::testing::TestWithParam<std::string> {};

TEST_P(Parity, WithTheProcessorAndTheModelOfTransformers) {
  const json all = tests::read_json(data / "cases.json").at("cases").at(GetParam());
  const auto expected = storage::SafetensorsFile::open(data / (GetParam() + ".safetensors"));
  const QwenVlConfig config = config_of(all.at("config"));
  const auto tokenizer = text::Tokenizer::load(data / "tokenizer");
  const VideoProcessor processor = processor_of(all.at("preprocessing"), config.vision);
  const QwenVl network = QwenVl::from_weights(config, nn::Weights::from_tensors(tests::formula_tensors(all.at("shapes")), "formula weights", {}));
  for (std::size_t i = 0; i < all.at("videos").size(); ++i) {
    const json& v = all.at("videos")[i];
    SCOPED_TRACE(v.dump());
    const auto want = [&](const char* name) { return expected.at(std::to_string(i) + "." + name); };
    const at::Tensor frames = formula_video(GetParam() + "." + std::to_string(i), v.at("frames"), v.at("height"), v.at("width"));

    VideoPatches video = processor(frames);
    EXPECT_EQ(numbers(want("video_grid_thw")), (std::vector<std::int64_t>{video.grid.t, video.grid.h, video.grid.w}));
    const at::Tensor mean = at::tensor({0.48145466f, 0.4578275f, 0.40821073f}).repeat_interleave(2 * 14 * 14);
    const at::Tensor deviation = at::tensor({0.26862954f, 0.26130258f, 0.27577711f}).repeat_interleave(2 * 14 * 14);
    EXPECT_LT(relative_error(video.pixel_values_videos, (want("levels").to(at::kFloat) / 255 - mean) / deviation), 1e-6);

    EXPECT_EQ(render_chat(v.at("text")), v.at("chat").get<std::string>());
    VideoQuestion question{.input_ids = chat_ids(tokenizer, config, v.at("text"), video.grid.patches() / 4),
                           .pixel_values_videos = video.pixel_values_videos,
                           .grid = video.grid,
                           .second_per_grid = 2 / v.at("fps").get<double>()};
    EXPECT_EQ(question.input_ids, numbers(want("input_ids")));
    EXPECT_TRUE(at::equal(rope_positions(question.input_ids, config, video.grid, question.second_per_grid), want("positions").to(at::kLong)));
    EXPECT_LT(relative_error(network.video_features(video.pixel_values_videos, video.grid), want("features")), 1e-5);
    const at::Tensor logits = network.logits(question);
    EXPECT_LT(relative_error(logits[0], want("logits")), 1e-5);
    EXPECT_LT(relative_error(network.logits(question, 3)[2], want("logits")), 1e-5);
    RecordProperty(base::concat("logits_error_", i), std::to_string(relative_error(logits[0], want("logits"))));
  }
}
INSTANTIATE_TEST_SUITE_P(Qwen25Vl, Parity, ::testing::Values("untied", "tied_old", "held_back"), [](const auto& info) { return info.param; });

// The published sizes: every name and shape of the reference's class on the meta device is taken, and none is left over.
TEST(Qwen25VlFullSize, TakesThePublishedNamesAndShapes) {
  const json sizes = tests::read_json(data / "full_size.json").at("sizes");
  for (const auto& [name, size] : sizes.items()) {
    SCOPED_TRACE(name);
    storage::NamedTensors tensors;
    std::int64_t parameters = 0;
    for (const auto& [pattern, entry] : size.at("tensors").items())
      for (std::int64_t i = 0; i < entry.at(0).get<std::int64_t>(); ++i) {
        std::string full = pattern;
        if (const auto star = full.find('*'); star != std::string::npos) full.replace(star, 1, std::to_string(i));
        tensors[full] = at::empty(entry.at(1).get<std::vector<std::int64_t>>(), at::TensorOptions(at::kMeta).dtype(at::kBFloat16));
        parameters += tensors[full].numel();
      }
    EXPECT_EQ(parameters, size.at("parameters").get<std::int64_t>());
    const QwenVlConfig config = config_of(size.at("config"));
    const nn::Placement meta{c10::kMeta, at::kBFloat16};
    EXPECT_NO_THROW(QwenVl::from_weights(config, nn::Weights::from_tensors(tensors, name, meta)));
    tensors.erase("visual.blocks.31.attn.qkv.bias");
    EXPECT_THAT(message_of([&] { QwenVl::from_weights(config, nn::Weights::from_tensors(tensors, name, meta)); }),
                HasSubstr("1 missing:\n    visual.blocks.31.attn.qkv.bias"));
  }
}

TEST(Qwen25VlVideo, SizesAreTheReferences) {
  // Python: smart_resize(height, width, 28, min_pixels, max_pixels); the halves 42 and 70 round to even multiples.
  using Size = std::array<std::int64_t, 2>;
  EXPECT_EQ(smart_resize(720, 1280, 28, 3136, 12845056), (Size{728, 1288}));
  EXPECT_EQ(smart_resize(42, 70, 28, 784, 12845056), (Size{56, 56}));
  EXPECT_EQ(smart_resize(720, 1280, 28, 3136, 100352), (Size{224, 420}));
  EXPECT_EQ(smart_resize(10, 1000, 28, 784, 12845056), (Size{28, 280}));
  EXPECT_THAT(message_of([] { smart_resize(10, 2001, 28, 784, 12845056); }), HasSubstr("more than 200 times as long as wide"));
}

TEST(Qwen25VlVideo, AFrameIsNotLargerThanItsShareOfTheVideo) {
  const VisionTowerConfig vision;
  const at::Tensor frames = at::rand({7, 3, 280, 280});
  json preprocessing = {{"min_pixels", 784}, {"max_pixels", 280 * 280}, {"max_video_tokens", 200}};
  const auto sides = [&] {
    const VideoGrid grid = processor_of(preprocessing, vision)(frames).grid;
    return std::vector<std::int64_t>{grid.t, grid.h, grid.w};
  };
  EXPECT_EQ(sides(), (std::vector<std::int64_t>{4, 20, 20}));
  preprocessing["cap_pixels_per_frame"] = true;  // 200 * 28^2 * 0.9 * 2 / 7 = 40,320 pixels: 7 merged patches on a side
  EXPECT_EQ(sides(), (std::vector<std::int64_t>{4, 14, 14}));
}

TEST(Qwen25VlVideo, RefusesPreprocessingThatItDoesNotDo) {
  const VisionTowerConfig vision;
  const auto refusal = [&](const json& preprocessing) { return message_of([&] { processor_of(preprocessing, vision); }); };
  EXPECT_EQ(refusal(json::object()), "(no error)");
  EXPECT_THAT(refusal({{"patch_size", 16}}), HasSubstr("patch_size is 16; vision_config's of config.json, 14, was expected"));
  EXPECT_THAT(refusal({{"do_resize", false}}), HasSubstr("do_resize is false"));
  EXPECT_THAT(refusal({{"resample", 2}}), HasSubstr("3 (bicubic)"));
  EXPECT_THAT(refusal({{"image_mean", {0.5, 0.5}}}), HasSubstr("a list of three numbers"));
  EXPECT_THAT(refusal({{"min_pixels", 10000}, {"max_pixels", 784}}), HasSubstr("must not be larger"));
  tests::TemporaryFolder folder;
  EXPECT_THAT(message_of([&] { VideoProcessor::load(folder / "", vision); }), HasSubstr("has no preprocessor_config.json"));
}

TEST(Qwen25VlConfig, RefusesWhatItCannotReproduce) {
  const json good = tests::read_json(data / "cases.json").at("cases").at("untied").at("config");
  const auto refusal = [&](const std::function<void(json&)>& change) {
    json changed = good;
    change(changed);
    return message_of([&] { config_of(changed); });
  };
  EXPECT_EQ(refusal([](json&) {}), "(no error)");
  EXPECT_THAT(refusal([](json& j) { j["model_type"] = "qwen2_vl"; }), HasSubstr("model_type is \"qwen2_vl\"; qwen2_5_vl was expected"));
  EXPECT_THAT(refusal([](json& j) { j["vision_config"]["out_hidden_size"] = 64; }), HasSubstr("out_hidden_size is 64 and the language model's hidden_size 48"));
  EXPECT_THAT(refusal([](json& j) { j["text_config"]["rope_parameters"]["mrope_section"] = {1, 1}; }), HasSubstr("adds up to 2 pairs, and a head of 8"));
  EXPECT_THAT(refusal([](json& j) { j["text_config"]["rope_parameters"]["rope_type"] = "yarn"; }), HasSubstr("rope_type is \"yarn\""));
  EXPECT_THAT(refusal([](json& j) { j["text_config"]["num_key_value_heads"] = 4; }), HasSubstr("a multiple of 4"));
  EXPECT_THAT(refusal([](json& j) { j["text_config"]["use_sliding_window"] = true, j["text_config"]["max_window_layers"] = 1; }),
              HasSubstr("use_sliding_window"));
  EXPECT_THAT(refusal([](json& j) { j["vision_config"]["fullatt_block_indexes"] = {-1}; }), HasSubstr("fullatt_block_indexes"));
  EXPECT_THAT(refusal([](json& j) { j["vision_config"]["window_size"] = 20; }), HasSubstr("window_size is 20"));
  EXPECT_THAT(refusal([](json& j) { j.erase("vision_config"); }), HasSubstr("vision_config is absent"));
  EXPECT_THAT(refusal([](json& j) { j["video_token_id"] = 400; }), HasSubstr("video_token_id is 400; an id below vocab_size"));
}

TEST(Qwen25VlChat, RefusesPromptsThatHoldAVideoTokenAndForeignTokenisers) {
  QwenVlConfig config = config_of(tests::read_json(data / "cases.json").at("cases").at("untied").at("config"));
  const auto tokenizer = text::Tokenizer::load(data / "tokenizer");
  EXPECT_THAT(message_of([&] { chat_ids(tokenizer, config, "a <|video_pad|> cat", 4); }), HasSubstr("holds a token that stands for a picture or a video"));
  EXPECT_THAT(message_of([&] { chat_ids(tokenizer, config, "a <|image_pad|> cat", 4); }), HasSubstr("holds a token that stands for a picture or a video"));
  config.video_token_id = 3;
  EXPECT_THAT(message_of([&] { chat_ids(tokenizer, config, "a cat", 4); }), HasSubstr("the two are of different models"));
}

TEST(Qwen25VlChat, ATemplateOfTheFoldersOwnIsTold) {
  tests::TemporaryFolder folder;
  EXPECT_EQ(check_chat_template(folder / ""), std::nullopt);
  EXPECT_EQ(check_chat_template(data / "tokenizer"), std::nullopt) << "the published one";
  std::string text = storage::read_text(data / "tokenizer" / "chat_template.jinja");
  write_bytes(folder / "tokenizer_config.json", json{{"chat_template", "{{ messages }}"}}.dump());
  EXPECT_THAT(message_of([&] { check_chat_template(folder / ""); }), HasSubstr("tokenizer_config.json: the chat template does not hold"));
  write_bytes(folder / "tokenizer_config.json",
              json{{"chat_template", {{{"name", "tools"}, {"template", "x"}}, {{"name", "default"}, {"template", "y"}}}}}.dump());
  EXPECT_THAT(message_of([&] { check_chat_template(folder / ""); }), HasSubstr("tokenizer_config.json: the chat template does not hold"));
  write_bytes(folder / "chat_template.json", json{{"chat_template", text + "\n"}}.dump());  // the processor's own counts
  EXPECT_EQ(check_chat_template(folder / ""), std::nullopt);
  write_bytes(folder / "chat_template.json", json{{"chat_template", text + "{# of mine #}"}}.dump());
  EXPECT_THAT(check_chat_template(folder / "").value_or(""), HasSubstr("the model may expect another"));
  text.replace(text.find("a helpful"), 9, "an honest");
  write_bytes(folder / "chat_template.jinja", text);
  EXPECT_THAT(message_of([&] { check_chat_template(folder / ""); }), HasSubstr("chat_template.jinja: the chat template does not hold \"You are a helpful"));
}

TEST(Qwen25VlRandom, AWrittenNetworkOpensAndAnswers) {
  tests::TemporaryFolder folder;
  write_random_network(folder / "vqa", 3);
  const QwenVl network = QwenVl::load(folder / "vqa", {});
  const auto tokenizer = text::Tokenizer::load(folder / "vqa");
  EXPECT_EQ(check_chat_template(folder / "vqa"), std::nullopt);
  for (const char* word : {"Yes", "No", " woman", "1"}) EXPECT_EQ(tokenizer.encode(word).size(), 1u) << word;
  const VideoPatches video = VideoProcessor::load(folder / "vqa", network.config().vision)(at::rand({3, 3, 64, 64}));
  const VideoQuestion question{.input_ids = chat_ids(tokenizer, network.config(), "Does this video show a woman?", video.grid.patches() / 4),
                               .pixel_values_videos = video.pixel_values_videos,
                               .grid = video.grid,
                               .second_per_grid = 0.25};
  const at::Tensor logits = network.logits(question);
  EXPECT_EQ(logits.sizes(), (std::vector<std::int64_t>{1, network.config().language.vocab_size}));
  EXPECT_TRUE(at::isfinite(logits).all().item<bool>());
  auto faster = question;
  faster.second_per_grid = 1;
  EXPECT_FALSE(at::equal(network.logits(faster), logits)) << "the frame rate goes in";
  const QwenVl bf16 = QwenVl::load(folder / "vqa", {c10::kCPU, at::kBFloat16});
  EXPECT_LT(relative_error(bf16.logits(question), logits), 0.05);
}

}  // namespace
}  // namespace magicid::models::qwen2_5_vl
