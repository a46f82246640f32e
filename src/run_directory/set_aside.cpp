#include "run_directory/set_aside.h"

#include <vector>

#include "base/errors.h"
#include "base/log.h"

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
  if (code) throw base::SystemError(path.string(), ": is not usable (", why, ") and cannot be renamed to ", target.filename().string(), ": ", code.message());
  base::log::warning(base::concat(path.string(), ": set aside as ", target.filename().string(), ": ", why));
  return target;
}

void remove_leftovers(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> leftovers;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with('.') && name.ends_with(".tmp") && it->is_regular_file(code)) leftovers.push_back(it->path());
  }
  for (const auto& path : leftovers) fs::remove(path, code);
}

}  // namespace magicid::run_directory
