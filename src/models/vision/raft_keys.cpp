#include "models/vision/raft_keys.h"

#include <regex>
#include <utility>

namespace magicid::models::vision {

std::string princeton_raft_name(const std::string& name, bool separable) {
  static const std::pair<std::regex, const char*> rules[] = {
      {std::regex(R"(^feature_encoder\.)"), "fnet."},
      {std::regex(R"(^context_encoder\.)"), "cnet."},
      {std::regex(R"(^([fc]net)\.conv\.)"), "$1.conv2."},
      {std::regex(R"(^([fc]net)\.convnormrelu\.0\.)"), "$1.conv1."},
      {std::regex(R"(^([fc]net)\.convnormrelu\.1\.)"), "$1.norm1."},
      {std::regex(R"(\.convnormrelu(\d)\.0\.)"), ".conv$1."},
      {std::regex(R"(\.convnormrelu(\d)\.1\.)"), ".norm$1."},
      {std::regex(R"(^update_block\.motion_encoder\.conv\.0\.)"), "update_block.encoder.conv."},
      {std::regex(R"(^update_block\.motion_encoder\.convcorr(\d)\.0\.)"), "update_block.encoder.convc$1."},
      {std::regex(R"(^update_block\.motion_encoder\.convflow(\d)\.0\.)"), "update_block.encoder.convf$1."},
      {std::regex(R"(^mask_predictor\.convrelu\.0\.)"), "update_block.mask.0."},
      {std::regex(R"(^mask_predictor\.conv\.)"), "update_block.mask.2."},
  };
  static const std::regex gate(R"(^update_block\.recurrent_block\.convgru(\d)\.conv([zrq])\.)");
  std::string result = name;
  for (const auto& [pattern, replacement] : rules) result = std::regex_replace(result, pattern, replacement);
  return std::regex_replace(result, gate, separable ? "update_block.gru.conv$2$1." : "update_block.gru.conv$2.");
}

}  // namespace magicid::models::vision
