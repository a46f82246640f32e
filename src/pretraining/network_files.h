// What the training of one network leaves below training/: checkpoints, figures and pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "pretraining/network.h"
#include "run_directory/checkpoints.h"
#include "run_directory/event_file.h"
#include "run_directory/metrics_log.h"
#include "training/step_loop.h"

namespace magicid::pretraining {

// Its functions are called on rank 0 alone; other ranks hold one without files.
class NetworkFiles {
 public:
  // `about` goes into every checkpoint; `found` is the one to go on from. `network` must outlive this.
  NetworkFiles(std::filesystem::path folder, std::string name, Network& network, nlohmann::json about, std::optional<run_directory::StoredCheckpoint> found);

  // For training::StepHooks: opens the logs and gives the checkpoint to go on from; a checkpoint's writing; the figures of a step.
  std::optional<training::Checkpoint> load();
  training::Write save(const training::Checkpoint& checkpoint);
  void record(const training::StepRecord& step);

  // Figures and pictures of the network as it is. Grad mode off. After load().
  void validate(std::int64_t step);
  // What the record says of the finished network: steps, hours, and the figures of the last validation.
  nlohmann::json summary(std::int64_t steps) const;

 private:
  void write(std::int64_t step, const std::string& kind, const std::map<std::string, double>& values);

  std::filesystem::path folder_;
  std::string name_;
  Network& network_;
  nlohmann::json about_;
  std::optional<run_directory::StoredCheckpoint> found_;
  double seconds_ = 0;  // of all steps, those before a restart included
  std::map<std::string, double> last_;
  std::optional<run_directory::MetricsLog> metrics_;
  std::optional<run_directory::EventFile> events_;
};

}  // namespace magicid::pretraining
