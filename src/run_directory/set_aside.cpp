#include "run_directory/set_aside.h"

#include "base/errors.h"
#include "base/log.h"
#include "storage/files.h"

namespace magicid::run_directory {

namespace fs = std::filesystem;

fs::path set_aside(const fs::path& path, const std::string& why) {
  std::error_code code;
  fs::path target;
  for (int n = 1;; ++n) {
    target = path.string() + ".damaged-" + std::to_string(n);
    if (!fs::exists(fs::symlink_status(target, code))) break;
  }
  fs::rename(path, target, code);
  if (code == std::errc::no_such_file_or_directory) return target;  // another rank met the same damage and was faster
  if (code) throw base::SystemError(path.string(), ": is not usable (", why, ") and cannot be renamed to ", target.filename().string(), ": ", code.message());
  base::log::warning(base::concat(path.string(), ": set aside as ", target.filename().string(), ": ", why));
  return target;
}

void remove_leftovers(const fs::path& folder) {
  std::error_code code;
  for (const auto& path : storage::list_folder(folder)) {
    const std::string name = path.filename().string();
    if (name.starts_with('.') && name.ends_with(".tmp") && fs::is_regular_file(fs::symlink_status(path, code))) fs::remove(path, code);
  }
}

}  // namespace magicid::run_directory
