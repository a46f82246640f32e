#include "run_directory/takeover.h"

#include <algorithm>
#include <ctime>
#include <vector>

#include "base/errors.h"
#include "base/hash.h"
#include "run_directory/run_directory.h"
#include "storage/atomic_file.h"
#include "storage/files.h"

namespace magicid::run_directory {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool replaced_whole(const fs::path& path) { return path.extension() == ".h5" || path.extension() == ".mp4"; }

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code code;
  return fs::exists(b, code) && fs::equivalent(a, b, code) && !code;
}

}  // namespace

void link_or_copy(const fs::path& from, const fs::path& to) {
  // Renaming one link of a file over another does nothing and would leave the temporary name.
  if (same_file(from, to)) return;
  storage::write_atomically(to, [&](const fs::path& temporary) {
    std::error_code code;
    if (replaced_whole(to)) {
      fs::create_hard_link(from, temporary, code);
      if (!code) return;
    }
    fs::copy_file(from, temporary, code);
    if (code) throw base::SystemError(from.string(), ": can be neither linked nor copied to ", to.string(), ": ", code.message());
  });
}

std::size_t link_new_files(const fs::path& from, const fs::path& to) {
  std::error_code code;
  std::size_t taken = 0;
  for (const auto& path : storage::list_folder(from)) {
    if (!replaced_whole(path) || path.filename().string().starts_with('.') || fs::exists(fs::symlink_status(to / path.filename(), code))) continue;
    try {
      link_or_copy(path, to / path.filename());
      ++taken;
    } catch (const base::SystemError&) {
      if (storage::exists(path)) throw;
    }
  }
  return taken;
}

Takeover RunDirectory::take_over(StageOfRound stage, const Fingerprint& fingerprint, const fs::path& other_root) {
  require_writable();
  RunDirectory other = view(other_root);
  const StageState state = other.stage_state(stage, fingerprint);
  if (!state.current) return {false, state.reason, 0};
  const json record = *other.record_of(stage);
  std::vector<std::string> files;
  for (const auto& [file, expected] : record["files"].items()) {
    const fs::path relative = fs::path(file).lexically_normal();
    if (relative.is_absolute() || relative.native().starts_with("..")) return {false, "its manifest names " + file + ", which lies outside the run", 0};
    files.push_back(file);
  }
  // What a killed takeover leaves must be something that the stage's own work can go on from: a checkpoint without its log is not.
  std::stable_partition(files.begin(), files.end(), [](const std::string& file) { return !replaced_whole(file); });
  const auto intact = [&](const fs::path& path, const std::string& file) {
    return base::hash_file(path) == record["files"][file]["xxh128"].get<std::string>();
  };
  json records = record["files"];
  try {
    // Sizes and times of change say that nobody wrote to the files; whether the disk still holds the bytes only reading tells.
    for (const auto& file : files)
      if (!intact(other_root / file, file)) return {false, file + " is damaged there: its bytes are not those that were written", 0};
    begin_stage(stage, fingerprint);
    for (const auto& file : files) {
      const fs::path own = layout_.root / file;
      link_or_copy(other_root / file, own);
      if (!same_file(other_root / file, own) && !intact(own, file)) {
        std::error_code code;
        fs::remove(own, code);
        return {false, file + " changed there while it was taken over", 0};
      }
      records[file]["changed_ns"] = changed_ns(own);
    }
  } catch (const base::SystemError& error) {
    // The other run may be at work: what it removes meanwhile is not taken. What is there and cannot be read now is no reason to do the work again.
    for (const auto& file : files)
      if (!storage::exists(other_root / file)) return {false, error.what(), 0};
    throw;
  }
  json& own = record_to_write(stage);
  own = {{"fingerprint", fingerprint.hash()},
         {"options", fingerprint.options},
         {"inputs", fingerprint.inputs},
         {"done", true},
         {"files", records},
         {"result", record["result"]},
         {"code_version", record.value("code_version", "")},
         {"finished", static_cast<std::int64_t>(std::time(nullptr))},
         {"taken_from", fs::absolute(other_root).lexically_normal().string()}};
  save();
  return {true, "", files.size()};
}

}  // namespace magicid::run_directory
