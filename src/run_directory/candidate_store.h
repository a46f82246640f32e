// Candidates and their scores in a run directory.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "run_directory/segment_store.h"

namespace magicid::run_directory {

struct StoredCandidate {
  nlohmann::json description;  // backbone, adapter, rendered prompt, seed, sampler, size, dtype: its hash is the candidate's key
  nlohmann::json metadata;     // kind, prompt index, seconds, ...
  at::Tensor latents;          // [C,T,H,W] or [1,C,T,H,W], as generation gives them; any dtype
};

class CandidateStore {
 public:
  explicit CandidateStore(std::filesystem::path folder);  // Layout::candidates()

  static std::string key_of(const nlohmann::json& description) { return content_key(description); }
  std::string put(const StoredCandidate& candidate);
  std::optional<StoredCandidate> find(const std::string& key);
  bool contains(const std::string& key) { return store_.contains(key); }
  std::vector<std::string> list() { return store_.list(); }
  std::vector<std::string> absent(const std::vector<std::string>& keys) { return store_.absent(keys); }
  void refresh() { store_.refresh(); }
  std::vector<std::filesystem::path> merge(std::uint64_t file_bytes = std::uint64_t{1} << 30) { return store_.merge(file_bytes); }
  std::vector<std::filesystem::path> files() { return store_.files(); }

 private:
  SegmentStore store_;
};

struct Score {
  std::string candidate;  // the candidate's key
  nlohmann::json scorer;  // what else determines the numbers: reward models' hashes, references, options
  nlohmann::json metadata;
  std::map<std::string, double> values;  // "identity", "dynamics", "semantics", ...; NaN and infinities are kept
  at::Tensor face_embeddings;            // [F,D] fp32, rows of zeros where a frame shows no face; undefined when no frame shows one
};

class ScoreStore {
 public:
  explicit ScoreStore(std::filesystem::path folder);  // Layout::scores()

  static std::string key_of(const std::string& candidate, const nlohmann::json& scorer);
  std::string put(const Score& score);
  std::optional<Score> find(const std::string& key);
  std::optional<Score> find(const std::string& candidate, const nlohmann::json& scorer) { return find(key_of(candidate, scorer)); }
  bool contains(const std::string& key) { return store_.contains(key); }
  std::vector<std::string> list() { return store_.list(); }
  void refresh() { store_.refresh(); }
  std::vector<std::filesystem::path> merge(std::uint64_t file_bytes = std::uint64_t{1} << 30) { return store_.merge(file_bytes); }
  std::vector<std::filesystem::path> files() { return store_.files(); }

 private:
  SegmentStore store_;
};

}  // namespace magicid::run_directory
