#include "run_directory/metrics_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string_view>

#include "base/errors.h"
#include "base/log.h"
#include "storage/atomic_file.h"
#include "storage/files.h"

namespace magicid::run_directory {
namespace {

namespace fs = std::filesystem;
using base::SystemError;
using nlohmann::json;

// Calls visit(line with its newline, parsed line or discarded) for every whole line.
void for_each_line(const std::string& text, const std::function<void(std::string_view, const json&)>& visit) {
  std::size_t start = 0;
  for (;;) {
    const auto end = text.find('\n', start);
    if (end == std::string::npos) return;  // what is left was torn by a crash
    const std::string_view line(text.data() + start, end + 1 - start);
    json parsed = json::parse(line.begin(), line.end(), nullptr, false);
    if (!parsed.is_object() || !parsed.contains("step") || !parsed["step"].is_number_integer()) parsed = json(json::value_t::discarded);
    visit(line, parsed);
    start = end + 1;
  }
}

}  // namespace

MetricsLog::MetricsLog(fs::path path, std::int64_t last_step) : path_(std::move(path)) {
  std::error_code code;
  if (path_.has_parent_path()) fs::create_directories(path_.parent_path(), code);
  if (storage::exists(path_)) {
    const std::string text = storage::read_text(path_);
    std::string kept;
    for_each_line(text, [&](std::string_view line, const json& parsed) {
      if (!parsed.is_discarded() && parsed["step"].get<std::int64_t>() <= last_step) kept += line;
    });
    if (kept != text) storage::write_text_atomically(path_, kept);
  }
  fd_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) throw SystemError(path_.string(), ": cannot be opened for appending: ", base::errno_text(errno));
}

MetricsLog::~MetricsLog() {
  if (fd_ >= 0) ::close(fd_);
}

void MetricsLog::append(std::int64_t step, const std::map<std::string, double>& values, const json& more) {
  json line = more;
  for (const auto& [name, value] : values) line[name] = value;
  line["step"] = step;
  const std::string text = line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  struct stat before{};
  if (::fstat(fd_, &before) != 0) throw SystemError(path_.string(), ": cannot be examined: ", base::errno_text(errno));
  const ssize_t written = ::write(fd_, text.data(), text.size());
  if (written == static_cast<ssize_t>(text.size())) return;
  const int failure = written < 0 ? errno : ENOSPC;
  const bool restored = ::ftruncate(fd_, before.st_size) == 0;
  throw SystemError(path_.string(), ": appending step ", step, " failed: ", base::errno_text(failure),
                    restored ? "" : " (its last line is torn; the next start drops it)");
}

std::vector<json> read_metrics(const fs::path& path) {
  std::vector<json> lines;
  if (!storage::exists(path)) return lines;
  std::size_t skipped = 0;
  for_each_line(storage::read_text(path), [&](std::string_view, const json& parsed) {
    if (parsed.is_discarded()) ++skipped;
    else lines.push_back(parsed);
  });
  if (skipped) base::log::warning(base::concat(path.string(), ": ", skipped, " lines are not metrics and were skipped"));
  return lines;
}

}  // namespace magicid::run_directory
