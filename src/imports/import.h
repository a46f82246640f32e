// `magicid inspect` and `magicid import`: what weights are, and how they become a folder that this program reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/nn/published_network.h"

namespace magicid::imports {

// One network's weights as they are found.
struct Inspection {
  std::filesystem::path path;
  std::string format;
  std::string kind, what, prefix;      // empty kind: no network that is known
  models::nn::ImportPlan plan;         // of a known kind
  std::string problem;                 // why it cannot be read, beside what the plan lists
  std::vector<std::string> elsewhere;  // names outside of the network's prefix
  std::vector<std::string> names;      // all, for one that is not known
  std::vector<std::string> notes;
  std::int64_t parameters = 0;
  std::uint64_t bytes = 0;
  std::map<std::string, std::size_t> dtypes;  // how many tensors have each
  bool ready = false;                         // a folder that is used as it is

  // The command that makes the weights usable; empty when none is needed or none helps.
  std::string command() const;
  bool complete() const { return !kind.empty() && problem.empty() && plan.missing.empty() && plan.wrong.empty() && plan.surplus.empty(); }
};

// Looks at a file, a network's folder, or a folder with a model_index.json (each of its networks). Reads headers only. Throws UserError for a path that is not
// there or holds nothing that is read.
std::vector<Inspection> inspect(const std::filesystem::path& path);
std::string as_text(const Inspection& inspection);
nlohmann::json as_json(const Inspection& inspection);

struct ImportOptions {
  std::string kind = "auto";
  std::filesystem::path config;         // in place of the sizes that the shapes tell; empty: the source folder's config.json, if there is one
  bool drop_surplus = false;            // leaves out tensors that the network does not have, instead of refusing
  std::uint64_t shard = 4'900'000'000;  // bytes of tensors in one file at most
};

// Writes `out`: config.json and model.safetensors or diffusion_pytorch_model.safetensors, in shards with their index where they need more than one. One tensor
// is in memory at a time. config.json comes last, so that a folder without one is unfinished. Returns what to tell the user. Throws UserError that lists all
// that is missing, surplus or of another shape, and for an `out` that holds weights already; SystemError when the disk fails.
std::string import_weights(const std::filesystem::path& source, const std::filesystem::path& out, const ImportOptions& options);

}  // namespace magicid::imports
