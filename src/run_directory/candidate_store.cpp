#include "run_directory/candidate_store.h"

#include <ATen/ops/empty.h>

#include "base/errors.h"

namespace magicid::run_directory {
namespace {

using nlohmann::json;

json score_description(const std::string& candidate, const json& scorer) { return {{"candidate", candidate}, {"scorer", scorer}}; }

}  // namespace

CandidateStore::CandidateStore(std::filesystem::path folder) : store_(std::move(folder), {"magicid.candidates", 1}) {}

std::string CandidateStore::put(const StoredCandidate& candidate) {
  return store_.put({candidate.description, candidate.metadata, {{"latents", candidate.latents}}});
}

std::optional<StoredCandidate> CandidateStore::find(const std::string& key) {
  auto entry = store_.find(key);
  if (!entry) return std::nullopt;
  const auto latents = entry->tensors.find("latents");
  base::check_invariant(latents != entry->tensors.end(), "candidate ", key, " was stored without latents");
  return StoredCandidate{std::move(entry->description), std::move(entry->metadata), latents->second};
}

ScoreStore::ScoreStore(std::filesystem::path folder) : store_(std::move(folder), {"magicid.scores", 1}) {}

std::string ScoreStore::key_of(const std::string& candidate, const json& scorer) { return content_key(score_description(candidate, scorer)); }

std::string ScoreStore::put(const Score& score) {
  // JSON has no NaN: the numbers are a tensor, in the order of their names.
  at::Tensor values = at::empty({static_cast<std::int64_t>(score.values.size())}, at::TensorOptions().dtype(at::kDouble));
  json names = json::array();
  for (const auto& [name, value] : score.values) {
    values.mutable_data_ptr<double>()[names.size()] = value;
    names.push_back(name);
  }
  storage::NamedTensors tensors{{"values", values}};
  if (score.face_embeddings.defined()) tensors["face_embeddings"] = score.face_embeddings;
  return store_.put({score_description(score.candidate, score.scorer), {{"names", names}, {"metadata", score.metadata}}, std::move(tensors)});
}

std::optional<Score> ScoreStore::find(const std::string& key) {
  auto entry = store_.find(key);
  if (!entry) return std::nullopt;
  Score score;
  score.candidate = entry->description.at("candidate").get<std::string>();
  score.scorer = entry->description.at("scorer");
  score.metadata = entry->metadata.at("metadata");
  const at::Tensor& values = entry->tensors.at("values");
  const json& names = entry->metadata.at("names");
  base::check_invariant(names.size() == static_cast<std::size_t>(values.numel()), "score ", key, " has ", values.numel(), " numbers and ", names.size(),
                        " names");
  for (std::size_t i = 0; i < names.size(); ++i) score.values[names[i].get<std::string>()] = values.const_data_ptr<double>()[i];
  if (const auto it = entry->tensors.find("face_embeddings"); it != entry->tensors.end()) score.face_embeddings = it->second;
  return score;
}

}  // namespace magicid::run_directory
