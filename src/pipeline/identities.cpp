#include "pipeline/identities.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/hash.h"
#include "base/stop_signals.h"
#include "base/text.h"
#include "media/faces.h"
#include "rewards/reward_networks.h"

namespace magicid::pipeline {

namespace fs = std::filesystem;
using nlohmann::json;

std::string folder_identity(const fs::path& folder) {
  if (!fs::is_directory(folder))
    throw base::UserError(folder.string(), ": no such folder; a network's folder with config.json and model.safetensors was expected");
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& entry : fs::directory_iterator(folder)) {
    base::stop_if_asked("hashing " + folder.string());
    if (entry.is_regular_file()) entries.emplace_back(base::file_name(entry.path()), base::hash_file(entry.path()));
  }
  std::sort(entries.begin(), entries.end());
  return base::hash_json(json(entries));
}

json template_identity(const ModelOptions& options) { return options.template_file.empty() ? json() : json(base::hash_file(options.template_file)); }

std::string adapter_identity(const fs::path& path, const AdapterFiles& files_of) {
  std::vector<std::string> hashes;
  for (const auto& file : files_of(path)) hashes.push_back(base::hash_file(file));
  return hashes.size() == 1 ? hashes.front() : base::hash_json(json(hashes));
}

json further_adapters_identity(const SamplingOptions& options, const AdapterFiles& files_of) {
  if (options.with_adapters.empty()) return nullptr;
  json list = json::array();
  for (std::size_t i = 0; i < options.with_adapters.size(); ++i) {
    const auto range = options.further_sigmas(i);
    list.push_back({{"file", adapter_identity(options.with_adapters[i].second, files_of)},
                    {"strength", options.further_strength(i)},
                    {"sigmas", json::array({range.above, range.up_to})}});
  }
  return list;
}

json face_detector_identity(const Configuration& configuration) {
  const auto& wanted = configuration.rewards.scoring.face_detector;
  if (wanted.kind == "landmarks")
    return {{"kind", wanted.kind}, {"contents", folder_identity(rewards::landmark_folder(configuration.rewards, configuration.model.folder))}};
  const fs::path file = media::face_detector_file(wanted);
  if (!file.empty() && !fs::is_regular_file(file))
    throw base::UserError("rewards.face_detector.file: ", file.string(), ": there is no such file; kind ", wanted.kind, " expects ",
                          wanted.kind == "yunet" ? "YuNet's ONNX file" : "a cascade's XML file");
  return {{"kind", wanted.kind}, {"contents", file.empty() ? json() : json(base::hash_file(file))}};
}

json reward_network_identities(const Configuration& configuration) {
  const rewards::RewardFolders folders = rewards::reward_folders(configuration.rewards, configuration.model.folder);
  return {{"arcface", folder_identity(folders.arcface)},
          {"raft", folder_identity(folders.raft)},
          {"clip", folder_identity(folders.clip)},
          {"face_detector", face_detector_identity(configuration)}};
}

}  // namespace magicid::pipeline
