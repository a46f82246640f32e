// Checkpoints of training: "checkpoint-000500.h5" in a stage's folder, written whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "storage/hdf5.h"

namespace magicid::run_directory {

struct StoredCheckpoint {
  std::int64_t step = 0;
  storage::NamedTensors tensors;  // adapter, optimizer moments, ...
  nlohmann::json state;           // position of the sampler, configuration, code version, layout, ...
  std::filesystem::path path;     // where it was read from
};

struct SaveOptions {
  int generations = 2;  // how many of the newest stay
  std::string keep_as;  // also kept as "keep-<name>.h5" ("best"), replacing an earlier keep of that name; written before the checkpoint itself
};

// Writes the checkpoint of `step` durably, then deletes generations that are too old. Files of later steps (the run went back to an earlier one) are
// set aside, so that they are never mistaken for this run's future. Returns the path. Throws SystemError; the earlier checkpoints then still stand.
std::filesystem::path save_checkpoint(const std::filesystem::path& folder, std::int64_t step, const storage::NamedTensors& tensors, const nlohmann::json& state,
                                      const SaveOptions& options = {});

// Reads and checks everything. Throws DamagedFileError, ForeignFileError, MissingFileError, or SystemError (it cannot be opened or read now).
StoredCheckpoint load_checkpoint(const std::filesystem::path& path);

// The newest checkpoint that reads intact, named keeps included where no generation is left; damaged ones on the way are set aside with a
// warning. Generations before the newest `keep` are deleted: a process that died between writing and deleting leaves one too many. Nothing when there is none.
// Throws SystemError, and sets nothing aside, when the folder or a checkpoint on the way cannot be read now (permission, EIO, memory): it may be intact.
std::optional<StoredCheckpoint> latest_intact(const std::filesystem::path& folder, int keep = SaveOptions().generations);

std::string step_name(std::int64_t step);  // "000500"
std::filesystem::path checkpoint_path(const std::filesystem::path& folder, std::int64_t step);
// Of a path that checkpoint_path() gave.
std::int64_t step_of(const std::filesystem::path& checkpoint);
std::filesystem::path keep_path(const std::filesystem::path& folder, const std::string& name);

}  // namespace magicid::run_directory
