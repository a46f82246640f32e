#include <ATen/ops/zeros.h>

#include <regex>
#include <utility>

#include "base/errors.h"
#include "imports/kinds.h"
#include "imports/whole_network.h"
#include "models/vision/raft.h"

namespace magicid::imports {
namespace {

using models::nn::ImportPlan;
using models::nn::WeightSource;

constexpr const char* kTorchvision = "feature_encoder.convnormrelu.0.weight";
constexpr const char* kPrinceton = "fnet.conv1.weight";

// The way back of models::vision::princeton_raft_name.
std::string torchvision_name(std::string name) {
  static const std::pair<std::regex, const char*> rules[] = {
      {std::regex(R"(^([fc]net)\.conv2\.)"), "$1.conv."},
      {std::regex(R"(^([fc]net)\.conv1\.)"), "$1.convnormrelu.0."},
      {std::regex(R"(^([fc]net)\.norm1\.)"), "$1.convnormrelu.1."},
      {std::regex(R"((\.layer\d\.\d)\.conv(\d)\.)"), "$1.convnormrelu$2.0."},
      {std::regex(R"((\.layer\d\.\d)\.norm(\d)\.)"), "$1.convnormrelu$2.1."},
      {std::regex(R"(^fnet\.)"), "feature_encoder."},
      {std::regex(R"(^cnet\.)"), "context_encoder."},
      {std::regex(R"(^update_block\.encoder\.conv\.)"), "update_block.motion_encoder.conv.0."},
      {std::regex(R"(^update_block\.encoder\.convc(\d)\.)"), "update_block.motion_encoder.convcorr$1.0."},
      {std::regex(R"(^update_block\.encoder\.convf(\d)\.)"), "update_block.motion_encoder.convflow$1.0."},
      {std::regex(R"(^update_block\.gru\.conv([zrq])(\d)\.)"), "update_block.recurrent_block.convgru$2.conv$1."},
      {std::regex(R"(^update_block\.gru\.conv([zrq])\.)"), "update_block.recurrent_block.convgru1.conv$1."},
      {std::regex(R"(^update_block\.mask\.0\.)"), "mask_predictor.convrelu.0."},
      {std::regex(R"(^update_block\.mask\.2\.)"), "mask_predictor.conv."},
  };
  for (const auto& [pattern, replacement] : rules) name = std::regex_replace(name, pattern, replacement);
  return name;
}

ImportPlan plan_raft(const WeightSource& given, const std::optional<nlohmann::json>& json) {
  const bool princeton = given.contains(kPrinceton);
  WeightSource source = given;
  // Princeton's blocks that shrink hold the norm of their shortcut under a second name.
  if (princeton) {
    std::erase_if(source.tensors, [](const auto& item) {
      static const std::regex doubled(R"(\.layer[23]\.0\.norm3\..*)");
      return std::regex_search(item.first, doubled);
    });
    source = source.renamed(torchvision_name);
  }
  ImportPlan plan;
  plan.layout = princeton ? "princeton-vl's names" : "torchvision's names";
  const bool large = source.contains("mask_predictor.conv.weight");
  plan.config = json ? *json : nlohmann::json{{"architecture", large ? "raft_large" : "raft_small"}};
  plan_whole_network(plan, source,
                     [&](const models::nn::Weights& weights) { models::vision::Raft::from_weights(weights, plan.config.value("architecture", "")); });
  return plan;
}

}  // namespace

models::nn::PublishedNetwork published_raft() {
  return {"raft", "RAFT, optical flow",
          [](const WeightSource& source) {
            const auto prefix = source.prefix_of(kTorchvision);
            return prefix ? prefix : source.prefix_of(kPrinceton);
          },
          plan_raft};
}

}  // namespace magicid::imports
