// model/pretraining.json: what each finished network was made with, and its figures (model_card.h lists the entries). Checkpoints hold the same of the network
// in training, so that weights are never taken for those of other options.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pretraining/options.h"

namespace magicid::pretraining {

// Of the pipeline folder `model`.
std::filesystem::path record_path(const std::filesystem::path& model);
// An empty object where there is none. Throws UserError when the file is not a record.
nlohmann::json read_record(const std::filesystem::path& model);
// Whole or not at all. Throws SystemError.
void write_record(const std::filesystem::path& model, const nlohmann::json& record);

// What determines the weights of the network `name`: {"world", "seed", "options"}, and "networks", the hashes of the folders of `model` in `needs`. Folders
// that are not there are left out: the network itself says what it lacks.
nlohmann::json determinants(const std::string& name, Options options, const std::filesystem::path& model, const std::vector<std::string>& needs);

// Both below: `stored` is of a checkpoint or a record, `present` what determinants() gives now. A key that `stored` lacks is younger than it and had its
// default; networks that it lacks are not known and pass.
bool same_determinants(const std::string& name, const nlohmann::json& stored, const nlohmann::json& present);
// Throws UserError with every difference. `where` holds what was trained; `end` says why it cannot go on under another schedule, and is empty where it can:
// steps, learning rate and their like are the only options that may change, while steps remain.
void refuse_others(const std::string& name, const std::filesystem::path& where, const nlohmann::json& stored, const nlohmann::json& present,
                   const std::string& end);

// The entry "starts" with one more, of now: who trains on how many ranks from which step on, under which schedule (in `options`, of determinants()). The same
// command under the same schedule is one start. A checkpoint from before starts were recorded has its schedule only.
nlohmann::json with_start(const nlohmann::json& stored, const std::string& command, int ranks, std::int64_t step, const nlohmann::json& options);

}  // namespace magicid::pretraining
