// Scalars for TensorBoard: TFRecord frames of Event messages, encoded by hand because only four message fields are needed.
// Sources: tensorflow/core/util/event.proto, summary.proto; tensorflow/core/lib/io/record_writer.cc (framing, masked CRC-32C).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace magicid::run_directory {

class EventFile {
 public:
  // Creates a new "events.out.tfevents.*" file in `folder`. `last_step` as for MetricsLog: TensorBoard is told to forget
  // what earlier files of the folder say about later steps. Throws SystemError.
  EventFile(const std::filesystem::path& folder, std::int64_t last_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // Tags with a slash ("loss/hpo") are grouped by TensorBoard. Throws SystemError.
  void scalars(std::int64_t step, const std::map<std::string, double>& values);
  const std::filesystem::path& path() const { return path_; }

 private:
  void record(const std::string& event);

  std::filesystem::path path_;
  int fd_ = -1;
};

// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78).
std::uint32_t crc32c(std::string_view bytes);

}  // namespace magicid::run_directory
