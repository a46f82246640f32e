// CLIP's image encoder against transformers (tests/reference/make_clip_vision.py).
#include "models/vision/clip_vision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "smooth_images.h"
#include "support/formula_weights.h"

namespace magicid {
namespace {

using models::nn::NetworkConfig;
using models::nn::Placement;
using models::nn::Weights;
using models::vision::ClipPreprocessing;
using models::vision::ClipVision;
using models::vision::ClipVisionConfig;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using tests::formula_tensors;
using tests::read_json;
using tests::relative_error;
using tests::smooth_images;

const std::filesystem::path data = std::filesystem::path(MAGICID_TEST_DATA) / "clip_vision";

at::Tensor expected(const std::string& name) { return storage::SafetensorsFile::open(data / "outputs.safetensors").at(name); }

ClipVision network_of(const nlohmann::json& config, const storage::NamedTensors& tensors) {
  return ClipVision::from_weights(Weights::from_tensors(tensors, "golden", {}), ClipVisionConfig::from_json(NetworkConfig(config, "golden")));
}

// A folder that goes away with the test.
class Folder {
 public:
  explicit Folder(const std::string& name) : path_(std::filesystem::path(::testing::TempDir()) / ("magicid_clip_" + name)) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name) << text; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(ClipVision, AgreesWithTransformers) {
  const auto cases = read_json(data / "cases.json");
  ASSERT_GE(cases["cases"].size(), 6u);
  for (const auto& [name, spec] : cases["cases"].items()) {
    SCOPED_TRACE(name);
    const auto network = network_of(spec["config"], formula_tensors(read_json(data / (name + ".shapes.json"))));
    const auto size = network.config.image_size;
    const double error = relative_error(network(smooth_images("clip." + name, spec["batch"], size, size, 11)), expected(name));
    RecordProperty(name, std::to_string(error));
    std::printf("clip %-12s relative error %.2e\n", name.c_str(), error);
    EXPECT_LT(error, 1e-5);
  }
}

TEST(ClipVision, TakesTheVisionHalfOfAFullModel) {
  const auto tensors = formula_tensors(read_json(data / "full.shapes.json"));
  const auto config = read_json(data / "full.config.json");
  const at::Tensor pixels = smooth_images("clip.full", 2, 32, 32, 11);
  const auto network = network_of(config, tensors);
  EXPECT_EQ(network.config.projection_dim, 20);
  EXPECT_LT(relative_error(network(pixels), expected("full")), 1e-5);
  // By our own key instead of transformers'.
  auto ours = config;
  ours.erase("architectures");
  ours.erase("model_type");
  ours["architecture"] = "clip";
  EXPECT_LT(relative_error(network_of(ours, tensors)(pixels), expected("full")), 1e-5);
}

TEST(ClipVision, TakesKeysWithoutPrefixAndOldBuffers) {
  const auto spec = read_json(data / "cases.json")["cases"]["quick_gelu"];
  storage::NamedTensors bare;
  for (const auto& [name, tensor] : formula_tensors(read_json(data / "quick_gelu.shapes.json")))
    bare[name.starts_with("vision_model.") ? name.substr(13) : name] = tensor;
  bare["embeddings.position_ids"] = at::arange(17).unsqueeze(0);
  EXPECT_LT(relative_error(network_of(spec["config"], bare)(smooth_images("clip.quick_gelu", 3, 32, 32, 11)), expected("quick_gelu")), 1e-5);
}

TEST(ClipVision, ReportsWrongWeightsAndConfigurations) {
  const auto spec = read_json(data / "cases.json")["cases"]["quick_gelu"];
  const auto tensors = formula_tensors(read_json(data / "quick_gelu.shapes.json"));
  auto damaged = tensors;
  damaged.erase("visual_projection.weight");
  damaged["vision_model.something_else"] = at::zeros({1});
  EXPECT_THAT([&] { network_of(spec["config"], damaged); },
              ThrowsMessage<base::UserError>(::testing::AllOf(HasSubstr("visual_projection.weight"), HasSubstr("something_else"))));
  const auto with = [&](const char* key, nlohmann::json value) {
    auto config = spec["config"];
    config[key] = std::move(value);
    return [config, tensors] { network_of(config, tensors); };
  };
  EXPECT_THAT(with("hidden_act", "relu"), ThrowsMessage<base::UserError>(HasSubstr("quick_gelu or gelu")));
  EXPECT_THAT(with("hidden_size", "wide"), ThrowsMessage<base::UserError>(HasSubstr("hidden_size")));
  EXPECT_THAT(with("num_attention_heads", 5), ThrowsMessage<base::UserError>(HasSubstr("multiple")));
  EXPECT_THAT(with("num_hidden_layers", 0), ThrowsMessage<base::UserError>(HasSubstr("whole number from 1")));
  EXPECT_THAT(with("model_type", "bert"), ThrowsMessage<base::UserError>(HasSubstr("no CLIP model")));
  EXPECT_THROW(network_of(spec["config"], tensors)(at::zeros({1, 3, 30, 32})), base::InvariantError);
}

TEST(ClipPreprocessing, AgreesWithBothImageProcessors) {
  const auto cases = read_json(data / "cases.json")["preprocessing"];
  ASSERT_EQ(cases.size(), 4u);
  for (const auto& [name, spec] : cases.items()) {
    SCOPED_TRACE(name);
    const Folder folder("preprocessing");
    folder.write("preprocessor_config.json", spec["preprocessor_config"].dump());
    const auto steps = ClipPreprocessing::load(folder.path(), 224);
    const at::Tensor coarse = smooth_images("clip." + name, 1, spec["height"], spec["width"], 17);
    const at::Tensor frames = ((coarse + 1) * 127.5).round().clamp(0, 255) / 255;
    const at::Tensor ours = steps(frames);
    for (const std::string reference : {"preprocessing.", "preprocessing_pil."}) {
      // In 8-bit levels, before the normalisation.
      const at::Tensor deviation = at::tensor(at::ArrayRef<double>(steps.std), at::kFloat).view({1, 3, 1, 1}) * 255;
      const at::Tensor difference = ((ours - expected(reference + name)) * deviation).abs();
      const double most = difference.max().item<double>(), share = (difference > 0.5).to(at::kDouble).mean().item<double>();
      std::printf("%s%-18s largest difference %.3f levels, in %.2f%% of the values\n", reference.c_str(), name.c_str(), most, 100 * share);
      EXPECT_LT(most, 1.01);
      EXPECT_LT(share, 0.01);
    }
  }
}

TEST(ClipPreprocessing, ReadsNewerFilesAndRefusesOtherSteps) {
  const Folder folder("settings");
  EXPECT_EQ(ClipPreprocessing::load(folder.path(), 32).crop_width, 32);
  folder.write("processor_config.json", R"({"image_processor": {"size": {"shortest_edge": 60}, "crop_size": 50, "resample": 3}})");
  const auto steps = ClipPreprocessing::load(folder.path(), 32);
  EXPECT_EQ(steps.shortest_edge, 60);
  EXPECT_EQ(steps.crop_height, 50);
  EXPECT_DOUBLE_EQ(steps.mean[1], 0.4578275);
  const auto load = [&](const std::string& text) {
    folder.write("preprocessor_config.json", text);
    return [&] { ClipPreprocessing::load(folder.path(), 32); };
  };
  EXPECT_THAT(load(R"({"resample": 2})"), ThrowsMessage<base::UserError>(HasSubstr("bicubic")));
  EXPECT_THAT(load(R"({"do_resize": false})"), ThrowsMessage<base::UserError>(HasSubstr("do_resize")));
  EXPECT_THAT(load(R"({"size": 20, "crop_size": 21})"), ThrowsMessage<base::UserError>(HasSubstr("larger than size")));
  EXPECT_THAT(load(R"({"image_mean": [1, 2]})"), ThrowsMessage<base::UserError>(HasSubstr("three numbers")));
  EXPECT_THAT(load(R"({"size": {"longest_edge": 3}})"), ThrowsMessage<base::UserError>(HasSubstr("shortest_edge")));
  EXPECT_THAT(load("[1"), ThrowsMessage<base::UserError>(HasSubstr("not valid JSON")));
}

TEST(ClipVision, LoadsAFolderAndEncodesFrames) {
  const Folder folder("folder");
  folder.write("config.json", read_json(data / "full.config.json").dump());
  storage::write_safetensors(folder.path() / "model.safetensors", formula_tensors(read_json(data / "full.shapes.json")));
  const auto network = ClipVision::load(folder.path(), Placement{});
  const at::Tensor frames = smooth_images("frames", 18, 50, 40, 9) * 0.5 + 0.5;
  const at::Tensor embeddings = network.encode_frames(frames);
  ASSERT_EQ(embeddings.sizes(), (std::vector<std::int64_t>{18, 20}));
  // The parts that frames are taken in do not show.
  EXPECT_LT(relative_error(embeddings.slice(0, 15, 18), network(network.preprocessing(frames.slice(0, 15, 18)))), 1e-5);
  EXPECT_EQ(network.encode_frames(frames.slice(0, 0, 0)).sizes(), (std::vector<std::int64_t>{0, 20}));
  folder.write("preprocessor_config.json", R"({"size": 48, "crop_size": 48})");
  EXPECT_THAT([&] { ClipVision::load(folder.path(), Placement{}); }, ThrowsMessage<base::UserError>(HasSubstr("image_size is 32")));
}

}  // namespace
}  // namespace magicid
