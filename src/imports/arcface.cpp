#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "imports/arcface_onnx.h"
#include "imports/kinds.h"
#include "imports/whole_network.h"
#include "models/nn/network_config.h"
#include "models/vision/face_embedder.h"

namespace magicid::imports {
namespace {

using base::UserError;
using models::nn::ImportPlan;
using models::nn::WeightSource;
using models::vision::FaceEmbedderConfig;

// Whose names a face embedder's tensors have, each told by one of them.
constexpr std::pair<const char*, const char*> kFaceLayouts[] = {{"layer1.0.prelu.weight", "arcface_torch's names (IResNet)"},
                                                                {"conv_sep.layers.0.weight", "arcface_torch's names (MobileFaceNet)"},
                                                                {"dw_conv1.conv.weight", "Xiaoccer's names (MobileFaceNet)"},
                                                                {"conv2_dw.conv.weight", "TreB1eN's names (MobileFaceNet)"}};

std::string iresnet_of(const WeightSource& source) {
  std::vector<std::int64_t> counts;
  for (int layer = 1; layer <= 4; ++layer) counts.push_back(source.count(base::concat("layer", layer, "."), "."));
  for (const auto& name : models::vision::face_embedder_architectures())
    if (name.starts_with("iresnet")) {
      const auto blocks = models::vision::iresnet_blocks(name);
      if (std::equal(blocks.begin(), blocks.end(), counts.begin())) return name;
    }
  throw UserError(source.path.string(), ": an IResNet with ", counts[0], ", ", counts[1], ", ", counts[2], " and ", counts[3],
                  " blocks in its layers; those of 18, 34, 50, 100 or 200 layers were expected (2,2,2,2 to 6,26,60,6). Was the download complete?");
}

FaceEmbedderConfig face_config(const WeightSource& source, const std::string& signature) {
  FaceEmbedderConfig config;
  if (signature == kFaceLayouts[0].first) {
    config.architecture = iresnet_of(source);
    config.embedding_size = source.size("fc.weight", 0);
  } else if (signature == kFaceLayouts[2].first) {
    config.architecture = "mobilefacenet_112x96";
    config.embedding_size = source.size("linear1.conv.weight", 0);
  } else if (signature == kFaceLayouts[1].first) {
    config.architecture = "mobilefacenet_112x112";
    config.embedding_size = source.size("features.layers.2.weight", 0);
  } else {
    config.architecture = "mobilefacenet_112x112";
    config.embedding_size = source.size("linear.weight", 0);
    config.shape.channels = {source.size("conv1.conv.weight", 0), source.size("conv_34.project.conv.weight", 0), source.size("conv_45.project.conv.weight", 0),
                             source.size("conv_6_sep.conv.weight", 0)};
    config.shape.blocks = {source.count("conv_3.model.", "."), source.count("conv_4.model.", "."), source.count("conv_5.model.", ".")};
  }
  return config;
}

ImportPlan plan_arcface(const WeightSource& given, const std::optional<nlohmann::json>& json) {
  const WeightSource source = given.onnx ? named_face_tensors(given) : given;
  const auto layout = std::find_if(std::begin(kFaceLayouts), std::end(kFaceLayouts), [&](const auto& row) { return source.contains(row.first); });
  base::check_invariant(layout != std::end(kFaceLayouts), "an import of a face embedder from a source that is none");
  ImportPlan plan;
  plan.layout = given.onnx ? "ONNX, as arcface_torch exports it" : layout->second;
  const FaceEmbedderConfig config = json ? FaceEmbedderConfig::from_json({*json, "the given config.json"}) : face_config(source, layout->first);
  plan.config = nlohmann::json::parse(config.to_json());
  plan_whole_network(plan, source, [&](const models::nn::Weights& weights) { models::vision::FaceEmbedder::from_weights(weights, config); });
  return plan;
}

}  // namespace

models::nn::PublishedNetwork published_arcface() {
  return {"arcface", "a face embedder",
          [](const WeightSource& source) -> std::optional<std::string> {
            if (source.onnx) return "";
            for (const auto& [signature, layout] : kFaceLayouts)
              if (const auto prefix = source.prefix_of(signature)) return prefix;
            return std::nullopt;
          },
          plan_arcface};
}

}  // namespace magicid::imports
