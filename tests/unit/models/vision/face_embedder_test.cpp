// Face embedders against their reference networks (tests/reference/make_arcface.py).
#include "models/vision/face_embedder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/errors.h"
#include "smooth_images.h"
#include "support/formula_weights.h"

namespace magicid {
namespace {

using models::nn::Placement;
using models::nn::Weights;
using models::vision::FaceEmbedder;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using tests::formula_tensors;
using tests::read_json;
using tests::relative_error;
using tests::smooth_images;

const std::filesystem::path data = std::filesystem::path(MAGICID_TEST_DATA) / "arcface";

FaceEmbedder embedder_of(const storage::NamedTensors& tensors, const nlohmann::json& spec, const Placement& placement = {}) {
  return FaceEmbedder::from_weights(Weights::from_tensors(tensors, "golden", placement),
                                    {.architecture = spec["architecture"], .embedding_size = spec["embedding_size"]});
}

at::Tensor expected(const std::string& name) { return storage::SafetensorsFile::open(data / "embeddings.safetensors").at(name); }

class FaceEmbedderParity : public ::testing::TestWithParam<std::string> {};

TEST_P(FaceEmbedderParity, AgreesWithTheReference) {
  const std::string name = GetParam();
  const auto spec = read_json(data / "cases.json")["cases"][name];
  const auto embedder = embedder_of(formula_tensors(read_json(data / (name + ".shapes.json"))), spec);
  const double error = relative_error(embedder(smooth_images("arcface." + name, spec["batch"], 112, 112, 9)), expected(name));
  std::printf("%s relative error %.2e\n", name.c_str(), error);
  EXPECT_LT(error, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Networks, FaceEmbedderParity,
                         ::testing::Values("iresnet18", "iresnet34_small_embedding", "iresnet50", "mobilefacenet_112x96", "mobilefacenet_112x96_wide",
                                           "mobilefacenet_112x112", "mobilefacenet_112x112_insightface", "mobilefacenet_112x112_insightface_large"),
                         [](const auto& info) { return info.param; });

TEST(FaceEmbedder, TakesKeysOfADataParallelFile) {
  const auto spec = read_json(data / "cases.json")["cases"]["mobilefacenet_112x96"];
  storage::NamedTensors prefixed;
  for (const auto& [name, tensor] : formula_tensors(read_json(data / "mobilefacenet_112x96.shapes.json"))) prefixed["module." + name] = tensor;
  const at::Tensor faces = smooth_images("arcface.mobilefacenet_112x96", 3, 112, 112, 9);
  EXPECT_LT(relative_error(embedder_of(prefixed, spec)(faces), expected("mobilefacenet_112x96")), 1e-5);
}

TEST(FaceEmbedder, NarrowNetworkSeesColumns8To103) {
  const auto spec = read_json(data / "cases.json")["cases"]["mobilefacenet_112x96"];
  const auto embedder = embedder_of(formula_tensors(read_json(data / "mobilefacenet_112x96.shapes.json")), spec);
  const at::Tensor faces = smooth_images("faces", 1, 112, 112, 9);
  const auto changed = [&](std::int64_t column) {
    at::Tensor other = faces.clone();
    other.select(3, column).fill_(1);
    return (embedder(other) - embedder(faces)).abs().max().item<double>();
  };
  EXPECT_EQ(changed(7), 0);
  EXPECT_GT(changed(8), 0);
  EXPECT_GT(changed(103), 0);
  EXPECT_EQ(changed(104), 0);
}

TEST(FaceEmbedder, ComputesInHalfPrecisionToItsRounding) {
  const auto spec = read_json(data / "cases.json")["cases"]["mobilefacenet_112x112"];
  const auto embedder = embedder_of(formula_tensors(read_json(data / "mobilefacenet_112x112.shapes.json")), spec, Placement{c10::kCPU, at::kBFloat16});
  const at::Tensor embedding = embedder(smooth_images("arcface.mobilefacenet_112x112", 2, 112, 112, 9));
  EXPECT_EQ(embedding.scalar_type(), at::kFloat);
  EXPECT_LT(relative_error(embedding, expected("mobilefacenet_112x112")), 0.05);
}

TEST(FaceEmbedder, LoadsAFolderAndReportsWhatIsWrong) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "magicid_arcface";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto write_config = [&](const std::string& text) { std::ofstream(folder / "config.json") << text; };
  const auto load = [&] { FaceEmbedder::load(folder, Placement{}); };
  EXPECT_THAT(load, ThrowsMessage<base::UserError>(HasSubstr("config.json")));
  storage::write_safetensors(folder / "model.safetensors", formula_tensors(read_json(data / "mobilefacenet_112x112.shapes.json")));
  write_config(R"({"architecture": "mobilefacenet_112x112"})");
  const auto embedder = FaceEmbedder::load(folder, Placement{});
  EXPECT_LT(relative_error(embedder(smooth_images("arcface.mobilefacenet_112x112", 2, 112, 112, 9)), expected("mobilefacenet_112x112")), 1e-5);
  EXPECT_EQ(embedder(at::zeros({0, 3, 112, 112})).sizes(), (std::vector<std::int64_t>{0, 512}));
  EXPECT_THROW(embedder(at::zeros({1, 3, 112, 96})), base::InvariantError);
  write_config(R"({"architecture": "iresnet18"})");
  EXPECT_THAT(load, ThrowsMessage<base::UserError>(HasSubstr("layer1.0.bn1.weight")));
  write_config(R"({"architecture": "mobilefacenet_112x112", "embedding_size": 128})");
  EXPECT_THAT(load, ThrowsMessage<base::UserError>(HasSubstr("linear.weight")));
  write_config(R"({"architecture": "vgg"})");
  EXPECT_THAT(load, ThrowsMessage<base::UserError>(HasSubstr("mobilefacenet_112x96")));
  write_config("{}");
  EXPECT_THAT(load, ThrowsMessage<base::UserError>(HasSubstr("architecture")));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace magicid
