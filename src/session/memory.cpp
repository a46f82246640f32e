#include "session/memory.h"

#include <c10/core/ScalarType.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "session/gpu.h"
#include "storage/safetensors.h"

namespace magicid::session {
namespace {

namespace fs = std::filesystem;

// The limit of the process's own control group (version 2: one line "0::/path"), or of the version 1 memory controller; none: infinite.
double group_limit() {
  double limit = std::numeric_limits<double>::infinity();
  const auto look = [&](const fs::path& file) {
    std::ifstream in(file);
    if (double bytes = 0; in >> bytes) limit = std::min(limit, bytes);  // "max" is no number
  };
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::")) {
      // A group is bound by the limits of those above it too.
      for (fs::path at = fs::path("/sys/fs/cgroup") / fs::path(line.substr(3)).relative_path(); at.string().starts_with("/sys/fs/cgroup");
           at = at.parent_path())
        look(at / "memory.max");
    } else if (const auto name = line.find(":memory:"); name != std::string::npos) {
      look(fs::path("/sys/fs/cgroup/memory") / fs::path(line.substr(name + 8)).relative_path() / "memory.limit_in_bytes");
    }
  }
  return limit;
}

}  // namespace

double host_memory() {
  const double pages = static_cast<double>(::sysconf(_SC_PHYS_PAGES)), size = static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  return std::min(pages > 0 && size > 0 ? pages * size : 0.0, group_limit());
}

double memory_of(const models::nn::Placement& placement, int ranks_of_node) {
  if (placement.device.is_cuda()) return gpu_memory(placement.device.index());
  return host_memory() / std::max(1, ranks_of_node);
}

double weights_in_memory(const fs::path& folder, at::ScalarType dtype) {
  double bytes = 0;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto file = storage::SafetensorsFile::open(entry.path());
    for (const auto& name : file.names()) {
      double numbers = 1;
      for (const auto size : file.shape(name)) numbers *= static_cast<double>(size);
      bytes += numbers * static_cast<double>(c10::elementSize(dtype));
    }
  }
  return bytes;
}

}  // namespace magicid::session
