// The image-text pair, the text encoder and the optical flow of the small world: batches, validation, and folders that the loading code reads.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/text/prompt_encoder.h"
#include "models/text/tokenizer.h"
#include "models/vision/clip_vision.h"
#include "models/vision/raft.h"
#include "pretraining/augmentation.h"
#include "pretraining/block_matching.h"
#include "pretraining/captions.h"
#include "pretraining/network.h"
#include "storage/safetensors.h"

namespace magicid::pretraining {
namespace {

namespace fs = std::filesystem;

class Folder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("magicid-pretrain-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    context_.model = folder_;
    context_.seed = 5;
    context_.world.train_people = 50;
    context_.world.test_people = 8;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
  Context context_;
};

// The file holds the parts of the flat vector, in the order of their names, but for rounding to fp16; the parts in `only_training` are not in it.
void expect_parts(const fs::path& file, const at::Tensor& flat, const std::string& only_training = "", std::int64_t its_size = 0) {
  const auto opened = storage::SafetensorsFile::open(file);
  std::int64_t offset = 0;
  bool skipped = only_training.empty();
  for (const auto& name : opened.names()) {
    if (!skipped && only_training < name) offset += its_size, skipped = true;
    const at::Tensor tensor = opened.at(name);
    EXPECT_EQ(tensor.scalar_type(), at::kHalf) << name;
    const at::Tensor part = flat.narrow(0, offset, tensor.numel()).view(tensor.sizes());
    EXPECT_LE((tensor.to(at::kFloat) - part).abs().max().item<double>(), 1e-3 * std::max(1.0, part.abs().max().item<double>())) << name;
    offset += tensor.numel();
  }
  EXPECT_EQ(offset + (skipped ? 0 : its_size), flat.numel());
}

// The same batch gives the same figures; another step gives others.
void expect_batches_by_step(training::Objective& objective) {
  const auto first = objective.accumulate(0, 1, 2), again = objective.accumulate(0, 1, 2), other = objective.accumulate(1, 1, 2);
  EXPECT_EQ(first.size(), objective.metric_names().size());
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
  for (const double figure : first) EXPECT_TRUE(std::isfinite(figure));
  EXPECT_GT(objective.gradient().abs().max().item<double>(), 0);
}

ClipOptions small_clip() {
  ClipOptions o;
  o.batch = 6, o.width = 16, o.layers = 1, o.heads = 2, o.patch = 16, o.image_size = 48, o.projection = 8, o.text_width = 16, o.text_layers = 1, o.grid = 2;
  return o;
}

using PretrainClip = Folder;

TEST_F(PretrainClip, WritesThePairAndThePipelinesSecondTextEncoder) {
  auto network = make_clip(context_, small_clip());
  expect_batches_by_step(network->objective());
  {
    const c10::AutoGradMode no_grad(false);
    const auto figures = network->validate();
    EXPECT_EQ(figures, network->validate());
    for (const char* share :
         {"text_retrieval", "image_retrieval", "action_accuracy", "speed_accuracy", "camera_accuracy", "background_accuracy", "frame_background_accuracy"}) {
      EXPECT_GE(figures.at(share), 0) << share;
      EXPECT_LE(figures.at(share), 0.8) << share << " of a network that knows nothing";
    }
    network->write();
  }
  expect_parts(folder_ / "rewards/clip/model.safetensors", network->objective().parameters());
  const auto images = models::vision::ClipVision::load(folder_ / "rewards/clip", {});
  EXPECT_EQ(images.preprocessing.crop_width, 48);
  EXPECT_EQ(images.encode_frames(at::rand({2, 3, 96, 96})).sizes(), (std::vector<std::int64_t>{2, 8}));
  const auto pair = models::text::ClipTextEncoder::load(folder_ / "rewards/clip", {}),
             half = models::text::ClipTextEncoder::load(folder_ / "text_encoder_2", {});
  EXPECT_TRUE(pair.has_projection());
  EXPECT_FALSE(half.has_projection());
  const auto tokenizer = models::text::Tokenizer::load(folder_ / "tokenizer_2");
  const auto ids = tokenizer.encode("a sks person moves left quickly in the snow, the camera zooms in");
  EXPECT_EQ(ids.size(), 16u) << "every word, the trigger and the comma are one token, between start and end";
  const at::Tensor row = at::tensor(ids).unsqueeze(0);
  EXPECT_TRUE(at::equal(pair(row).pooler_output, half(row).pooler_output));
  EXPECT_EQ(models::text::Tokenizer::load(folder_ / "rewards/clip").encode("a person"), tokenizer.encode("a person"));
}

TEST_F(PretrainClip, RefusesSizesThatDoNotFit) {
  auto options = small_clip();
  options.patch = 13;
  EXPECT_THROW(make_clip(context_, options), base::UserError);
  options = small_clip();
  options.heads = 3;
  EXPECT_THROW(make_clip(context_, options), base::UserError);
}

using PretrainTextEncoder = Folder;

TEST_F(PretrainTextEncoder, WritesAFolderWhoseStatesThePipelineReads) {
  TextEncoderOptions options;
  options.batch = 4, options.width = 16, options.layers = 3, options.heads = 2;
  auto network = make_text_encoder(context_, options);
  expect_batches_by_step(network->objective());
  {
    const c10::AutoGradMode no_grad(false);
    const auto figures = network->validate();
    EXPECT_GT(figures.at("loss"), 3) << "of a network that knows nothing";
    for (const char* share : {"action", "speed", "background", "camera"}) EXPECT_LE(figures.at(share), 1) << share;
    network->write();
  }
  const auto json = nlohmann::json::parse(std::ifstream(folder_ / "text_encoder/config.json"));
  expect_parts(folder_ / "text_encoder/model.safetensors", network->objective().parameters(), "lm_head.weight", json.at("vocab_size").get<std::int64_t>() * 16);
  // With the second text encoder beside it the pipeline's own reader opens both.
  const c10::AutoGradMode no_grad(false);
  make_clip(context_, small_clip())->write();
  const auto prompts = models::text::PromptEncoder::load(folder_, {});
  const auto left = prompts("a person moves left slowly in the city", models::text::PromptTemplate::hunyuan_video(), 32),
             right = prompts("a person moves right slowly in the city", models::text::PromptTemplate::hunyuan_video(), 32);
  EXPECT_EQ(left.prompt_embeds.sizes(), (std::vector<std::int64_t>{1, 32, 16}));
  EXPECT_EQ(left.prompt_attention_mask.sum().item<std::int64_t>(), 8 + 1) << "words, and the end of the turn";
  EXPECT_GT((left.prompt_embeds - right.prompt_embeds).abs().max().item<double>(), 1e-2);
  EXPECT_TRUE(left.tokens.llama_cut_text.empty());
}

using PretrainOpticalFlow = Folder;

TEST_F(PretrainOpticalFlow, WritesRaftSmallAndMeasuresItsRivals) {
  OpticalFlowOptions options;
  options.batch = 2, options.updates = 2;
  context_.world.frames = 5;
  auto network = make_optical_flow(context_, options);
  expect_batches_by_step(network->objective());
  const c10::AutoGradMode no_grad(false);
  network->write();
  expect_parts(folder_ / "rewards/raft/model.safetensors", network->objective().parameters());
  EXPECT_EQ(models::vision::Raft::load(folder_ / "rewards/raft", at::kCPU).flow(at::rand({1, 3, 128, 128}), at::rand({1, 3, 128, 128}), 1).size(3), 128);
}

TEST(BlockMatching, FindsWholeAndHalfShifts) {
  const at::Tensor y = at::arange(40, at::kFloat).view({40, 1}), x = at::arange(40, at::kFloat).view({1, 40});
  const auto picture = [&](double dx, double dy) {
    const at::Tensor u = x - dx, v = y - dy;
    return (at::stack({at::sin(0.9 * u + 0.4 * v), at::sin(0.7 * v - 0.5 * u), at::cos(0.8 * u) * at::sin(0.6 * v)}) + 1) / 2;
  };
  for (const auto& [dx, dy] : {std::pair{2.0, -1.0}, {-0.5, 1.5}, {0.0, 0.0}}) {
    const at::Tensor flow = match_blocks(picture(0, 0), picture(dx, dy)), inside = flow.narrow(1, 8, 24).narrow(2, 8, 24);
    EXPECT_LT((inside[0] - dx).abs().mean().item<double>(), 0.1) << dx;
    EXPECT_LT((inside[1] - dy).abs().mean().item<double>(), 0.1) << dy;
  }
  // A plain surface stands still.
  EXPECT_EQ(match_blocks(at::full({3, 12, 12}, 0.5), at::full({3, 12, 12}, 0.5)).abs().max().item<double>(), 0);
  EXPECT_THROW(match_blocks(at::zeros({3, 12, 12}), at::zeros({3, 12, 11})), base::InvariantError);
  EXPECT_THROW(match_blocks(at::zeros({3, 12, 12}), at::zeros({3, 12, 12}), 4), base::InvariantError);
}

TEST(PretrainCaptions, CallThePersonInSeveralWays) {
  miniature::Scene scene;
  int plain = 0, triggers = 0, described = 0;
  for (int i = 0; i < 400; ++i) {
    miniature::Dice dice(1, "test", static_cast<std::uint64_t>(i));
    const auto subject = draw_subject(scene.person, "sks", dice);
    (subject.described ? described : subject.text == "sks person" ? triggers : plain) += 1;
    const std::string expected = subject.described ? miniature::describe_person(scene.person) : subject.text == "sks person" ? "sks person" : "person";
    EXPECT_EQ(subject.text, expected);
  }
  EXPECT_GT(plain, 180);
  EXPECT_GT(triggers, 30);
  EXPECT_GT(described, 60);
}

TEST(Augmentation, KeepsShapeRangeAndTheSameColoursInAllPictures) {
  const at::Tensor pictures = at::rand({1, 3, 8, 8}).expand({2, 3, 8, 8}).contiguous();
  bool blurred = false;
  for (int i = 0; i < 8; ++i) {
    miniature::Dice dice(2, "test", static_cast<std::uint64_t>(i));
    const at::Tensor jittered = jitter_colours(pictures, dice);
    EXPECT_TRUE(at::equal(jittered[0], jittered[1]));
    const at::Tensor out = degrade(jittered, dice);
    EXPECT_EQ(out.sizes(), pictures.sizes());
    EXPECT_GE(out.min().item<double>(), 0);
    EXPECT_LE(out.max().item<double>(), 1);
    blurred = blurred || !at::equal(out, jittered);
  }
  EXPECT_TRUE(blurred);
}

}  // namespace
}  // namespace magicid::pretraining
