// Random networks: right names and shapes, finite and varied outputs. The names of the largest IResNets are checked here too, by the
// hash that tests/reference/make_arcface.py wrote, as is iresnet100's embedding.
#include "models/vision/initial_networks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "models/vision/face_embedder.h"
#include "models/vision/optical_flow.h"
#include "models/vision/raft.h"
#include "smooth_images.h"
#include "support/formula_weights.h"

namespace magicid {
namespace {

using models::nn::NetworkConfig;
using models::nn::Weights;
using models::vision::FaceEmbedder;
using models::vision::Raft;
using tests::read_json;
using tests::relative_error;
using tests::smooth_images;

const std::filesystem::path data = MAGICID_TEST_DATA;

// The reference's names and shapes of one network.
std::map<std::string, std::vector<std::int64_t>> shapes_in(const std::filesystem::path& file) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  const auto json = read_json(file);
  for (const auto& [name, shape] : json.items()) shapes[name] = shape.get<std::vector<std::int64_t>>();
  return shapes;
}

std::map<std::string, std::vector<std::int64_t>> shapes_of(const storage::NamedTensors& tensors) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& [name, tensor] : tensors) shapes[name] = tensor.sizes().vec();
  return shapes;
}

// Cosine between the first two rows.
double cosine(const at::Tensor& x) { return at::cosine_similarity(x[0], x[1], 0).item<double>(); }

TEST(InitialFaceEmbedder, HasThePublicNamesAndShapes) {
  for (const auto& [architecture, file] :
       {std::pair{"iresnet18", "iresnet18"}, std::pair{"iresnet50", "iresnet50"}, std::pair{"mobilefacenet_112x96", "mobilefacenet_112x96"},
        std::pair{"mobilefacenet_112x112", "mobilefacenet_112x112"}})
    EXPECT_EQ(shapes_of(models::vision::initial_face_embedder({.architecture = architecture}, 1).tensors),
              shapes_in(data / "arcface" / (std::string(file) + ".shapes.json")))
        << architecture;
}

TEST(InitialFaceEmbedder, DeepNetworksHaveThePublishedNumberOfParameters) {
  const auto summaries = read_json(data / "arcface" / "cases.json")["summaries"];
  ASSERT_EQ(summaries["iresnet100"]["parameters"], 65156160);
  for (const std::string architecture : {"iresnet34", "iresnet100", "iresnet200"}) {
    SCOPED_TRACE(architecture);
    std::vector<std::string> lines;
    std::int64_t parameters = 0;
    for (const auto& [name, tensor] : models::vision::initial_face_embedder({.architecture = architecture}, 1).tensors) {
      if (name.ends_with("num_batches_tracked")) continue;
      if (name.find("running_") == std::string::npos) parameters += tensor.numel();
      std::string shape;
      for (const auto extent : tensor.sizes()) shape += (shape.empty() ? "" : ",") + std::to_string(extent);
      lines.push_back(name + ":" + shape);
    }
    std::sort(lines.begin(), lines.end());
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string text = (i ? "\n" : "") + lines[i];
      for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ull;
    }
    char written[17];
    std::snprintf(written, sizeof written, "%016llx", static_cast<unsigned long long>(hash));
    EXPECT_EQ(parameters, summaries[architecture]["parameters"]);
    EXPECT_EQ(static_cast<std::int64_t>(lines.size()), summaries[architecture]["tensors"]);
    EXPECT_EQ(written, summaries[architecture]["hash"]);
  }
}

TEST(InitialFaceEmbedder, TellsPicturesApart) {
  for (const std::string architecture : {"iresnet18", "mobilefacenet_112x96", "mobilefacenet_112x112"}) {
    SCOPED_TRACE(architecture);
    const auto initial = models::vision::initial_face_embedder({.architecture = architecture}, 5);
    const auto config = NetworkConfig(nlohmann::json::parse(initial.config), "initial");
    const auto embedder =
        FaceEmbedder::from_weights(Weights::from_tensors(initial.tensors, "initial", {}), models::vision::FaceEmbedderConfig::from_json(config));
    const at::Tensor embeddings = embedder(smooth_images("initial", 2, 112, 112, 9));
    ASSERT_TRUE(at::isfinite(embeddings).all().item<bool>());
    const double deviation = embeddings.std().item<double>();
    std::printf("%s deviation %.3f cosine %.3f\n", architecture.c_str(), deviation, cosine(embeddings));
    EXPECT_GT(deviation, 0.01);
    EXPECT_LT(deviation, 100);
    EXPECT_LT(cosine(embeddings), 0.95);
  }
}

TEST(InitialFaceEmbedder, WeightsFollowTheSeed) {
  const auto weights = [](std::uint64_t seed) {
    return models::vision::initial_face_embedder({.architecture = "mobilefacenet_112x96"}, seed).tensors.at("conv2.conv.weight");
  };
  EXPECT_TRUE(at::equal(weights(7), weights(7)));
  EXPECT_FALSE(at::allclose(weights(7), weights(8)));
  EXPECT_THROW(models::vision::initial_face_embedder({.architecture = "iresnet19"}, 1), base::UserError);
}

TEST(FaceEmbedderParity, Iresnet100) {
  storage::NamedTensors tensors;
  for (const auto& [name, tensor] : models::vision::initial_face_embedder({.architecture = "iresnet100"}, 1).tensors)
    tensors[name] = tests::formula_tensor(name, tensor.sizes().vec());
  const auto embedder = FaceEmbedder::from_weights(Weights::from_tensors(tensors, "golden", {}), {.architecture = "iresnet100"});
  const double error = relative_error(embedder(smooth_images("arcface.iresnet100", 1, 112, 112, 9)),
                                      storage::SafetensorsFile::open(data / "arcface" / "embeddings.safetensors").at("iresnet100"));
  std::printf("iresnet100 relative error %.2e\n", error);
  EXPECT_LT(error, 1e-5);
}

TEST(InitialClipVision, LoadsAndTellsPicturesApart) {
  const auto initial = models::vision::initial_clip_vision(models::vision::tiny_clip_vision(), 3);
  const auto config = models::vision::ClipVisionConfig::from_json(NetworkConfig(nlohmann::json::parse(initial.config), "initial"));
  EXPECT_EQ(config.projection_dim, 32);
  EXPECT_EQ(config.layers, 4);
  ASSERT_TRUE(initial.tensors.contains("logit_scale"));
  EXPECT_EQ(initial.tensors.at("logit_scale").dim(), 0);
  const auto network = models::vision::ClipVision::from_weights(Weights::from_tensors(initial.tensors, "initial", {}), config);
  const at::Tensor embeddings = network.encode_frames(smooth_images("initial", 2, 40, 60, 9) * 0.5 + 0.5);
  ASSERT_TRUE(at::isfinite(embeddings).all().item<bool>());
  std::printf("clip deviation %.3f cosine %.3f\n", embeddings.std().item<double>(), cosine(embeddings));
  EXPECT_GT(embeddings.std().item<double>(), 0.1);
  EXPECT_LT(cosine(embeddings), 0.95);
}

TEST(InitialRaft, LoadsAndGivesFiniteVariedFlows) {
  for (const std::string architecture : {"raft_small", "raft_large"}) {
    SCOPED_TRACE(architecture);
    const auto initial = models::vision::initial_raft(architecture, 2);
    EXPECT_EQ(shapes_of(initial.tensors), shapes_in(data / "raft" / (architecture + ".shapes.json")));
    const auto config = NetworkConfig(nlohmann::json::parse(initial.config), "initial");
    const auto network =
        Raft::from_weights(Weights::from_tensors(initial.tensors, "initial", {}), config.choice("architecture", models::vision::raft_architectures()));
    const at::Tensor first = smooth_images("initial", 1, 128, 128, 24);
    const at::Tensor flow = models::vision::estimate_flow(network, first, first.roll({3, -5}, {2, 3}), 20);
    ASSERT_TRUE(at::isfinite(flow).all().item<bool>());
    std::printf("%s largest flow %.2f, deviation over the picture %.3f\n", architecture.c_str(), flow.abs().max().item<double>(),
                flow.std({2, 3}).min().item<double>());
    EXPECT_LT(flow.abs().max().item<double>(), 128);
    EXPECT_GT(flow.std({2, 3}).min().item<double>(), 1e-3);
  }
}

}  // namespace
}  // namespace magicid
