// What the files are that a run reads from outside its directory. Keys and fingerprints take these identities: contents count, where a file lies does not.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pipeline/configuration.h"

namespace magicid::pipeline {

// Of a network's folder: names and contents of its files (config.json, weights, tokeniser), read whole. Hexadecimal. Throws UserError when there is no such
// folder. Not collective; of large files, so one rank calls it once a process.
std::string folder_identity(const std::filesystem::path& folder);

// Of the language model's prompt template: the hash of model.template_file, null for HunyuanVideo's own. Throws SystemError when the file cannot be read. Not
// collective.
nlohmann::json template_identity(const ModelOptions& options);

// What each reward network is, by its contents and never by its path: "arcface", "raft", "clip" as folder_identity() gives them, "face_detector" as
// face_detector_identity() does; with rewards.semantics: vqa also "vqa", its folder and the question that is asked. Reads every byte of them:
// Run::reward_networks() keeps the result. Throws as rewards::reward_folders() does. Not collective.
nlohmann::json reward_network_identities(const Configuration& configuration);
// The detector's kind and a hash of the file or folder that it is read from; the threshold and the choice of a face are options. Not collective.
nlohmann::json face_detector_identity(const Configuration& configuration);

// The files that reading an adapter's path reads: models::generator::Backbone::adapter_files().
using AdapterFiles = std::function<std::vector<std::filesystem::path>(const std::filesystem::path& path)>;
// Of an adapter's file, and of what is read beside it. Hexadecimal. Throws SystemError when a file cannot be read. Not collective.
std::string adapter_identity(const std::filesystem::path& path, const AdapterFiles& files_of);

// Of generate.with_adapters: a list with each one's identity, strength and range of sigma; null where there are none. Throws as adapter_identity(). Not
// collective.
nlohmann::json further_adapters_identity(const SamplingOptions& options, const AdapterFiles& files_of);

// What every stage's keys stand on, read once a process (Run::open).
struct ModelIdentity {
  std::string model;               // backbone::ModelFolder::fingerprint()
  nlohmann::json prompt_template;  // template_identity()
  std::string dtype;               // "float32" or "bfloat16": what the networks compute in
  nlohmann::json adapters;         // further_adapters_identity()
  nlohmann::json beginning;        // adapter_identity() of adapter.initialize_from; null where it is not set
};

}  // namespace magicid::pipeline
