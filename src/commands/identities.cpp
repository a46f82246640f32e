#include "commands/identities.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/hash.h"
#include "base/stop_signals.h"
#include "base/text.h"

namespace magicid::commands {

namespace fs = std::filesystem;
using nlohmann::json;

std::string folder_identity(const fs::path& folder) {
  if (!fs::is_directory(folder))
    throw base::UserError(folder.string(), ": no such folder; a network's folder with config.json and model.safetensors was expected");
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& entry : fs::directory_iterator(folder)) {
    base::stop_if_asked("hashing " + folder.string());
    if (entry.is_regular_file()) entries.emplace_back(base::file_name(entry.path()), base::hash_file(entry.path()));
  }
  std::sort(entries.begin(), entries.end());
  return base::hash_json(json(entries));
}

json template_identity(const ModelOptions& options) { return options.template_file.empty() ? json() : json(base::hash_file(options.template_file)); }

}  // namespace magicid::commands
