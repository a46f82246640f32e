// metrics.jsonl: one JSON object a line, {"step": 12, "loss": 0.69, ...}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace magicid::run_directory {

class MetricsLog {
 public:
  // Opens for appending after `last_step`: lines of later steps (work that a crash undid and that is done again) and a torn last
  // line are dropped, the rest stays byte for byte. last_step 0 keeps what stands at step 0, negative starts anew.
  // Throws SystemError.
  MetricsLog(std::filesystem::path path, std::int64_t last_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  // One line, handed to the system in one write: it survives a kill of the process. NaN and infinities become null, JSON has none.
  // `more` is merged in (texts, lists). Throws SystemError and leaves no torn line when the disk is full.
  void append(std::int64_t step, const std::map<std::string, double>& values, const nlohmann::json& more = nlohmann::json::object());

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

// All whole lines that are JSON objects with a step; others are skipped with a warning. Empty when there is no file.
std::vector<nlohmann::json> read_metrics(const std::filesystem::path& path);

}  // namespace magicid::run_directory
