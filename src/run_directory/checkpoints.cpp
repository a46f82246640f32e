#include "run_directory/checkpoints.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <vector>

#include "base/errors.h"
#include "base/log.h"
#include "run_directory/set_aside.h"
#include "storage/atomic_file.h"
#include "storage/files.h"

namespace magicid::run_directory {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const storage::Schema schema{"magicid.checkpoint", 1};

struct Generation {
  std::int64_t step;
  fs::path path;
};

// Newest first.
std::vector<Generation> generations(const fs::path& folder) {
  std::vector<Generation> found;
  for (const auto& path : storage::list_folder(folder)) {
    const std::string name = path.filename().string();
    if (!name.starts_with("checkpoint-") || !name.ends_with(".h5")) continue;
    const char* last = name.data() + name.size() - 3;
    std::int64_t step = 0;
    const auto [stop, error] = std::from_chars(name.data() + 11, last, step);
    if (error == std::errc() && stop == last) found.push_back({step, path});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return found;
}

std::vector<fs::path> keeps(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& path : storage::list_folder(folder)) {
    const std::string name = path.filename().string();
    if (name.starts_with("keep-") && name.ends_with(".h5")) found.push_back(path);
  }
  return found;
}

// The bytes of `from` under the name `to` too, durably; no second copy of them where links exist.
void duplicate(const fs::path& from, const fs::path& to) {
  std::error_code code;
  if (fs::equivalent(from, to, code)) return;  // renaming one of two links to the same bytes would do nothing and leave the temporary name
  storage::write_atomically(to, [&](const fs::path& temporary) {
    fs::create_hard_link(from, temporary, code);
    if (code) fs::copy_file(from, temporary, fs::copy_options::overwrite_existing, code);
    if (code) throw base::SystemError(temporary.string(), ": copying ", from.filename().string(), " failed: ", code.message());
  });
}

// Reads it or sets it aside. One that cannot be opened now is neither: the SystemError passes, for training from an earlier step, or from none, would throw
// away work that is there.
std::optional<StoredCheckpoint> try_load(const fs::path& path) {
  try {
    return load_checkpoint(path);
  } catch (const base::UserError& error) {
    set_aside(path, error.what());
    return std::nullopt;
  }
}

}  // namespace

std::string step_name(std::int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "%06lld", static_cast<long long>(step));
  return name;
}

fs::path checkpoint_path(const fs::path& folder, std::int64_t step) { return folder / ("checkpoint-" + step_name(step) + ".h5"); }

std::int64_t step_of(const fs::path& checkpoint) {
  const std::string stem = checkpoint.stem().string(), digits = stem.substr(std::min(stem.size(), std::string("checkpoint-").size()));
  base::check_invariant(!digits.empty() && digits.size() < 19 && digits.find_first_not_of("0123456789") == std::string::npos, checkpoint.string(),
                        ": is not the name of a checkpoint");
  return std::stoll(digits);
}

fs::path keep_path(const fs::path& folder, const std::string& name) { return folder / ("keep-" + name + ".h5"); }

fs::path save_checkpoint(const fs::path& folder, std::int64_t step, const storage::NamedTensors& tensors, const json& state, const SaveOptions& options) {
  base::check_invariant(step >= 0 && options.generations >= 1, "checkpoint of step ", step, " with ", options.generations, " generations");
  const fs::path path = checkpoint_path(folder, step);
  // The keep comes first: were it to come second, a process that dies between the two would go on from this step and never make it.
  const fs::path first = options.keep_as.empty() ? path : keep_path(folder, options.keep_as);
  storage::write_hdf5(first, schema, [&](storage::Hdf5Writer& out) {
    out.attribute("/", "step", step);
    out.text("state", state.dump());
    out.group("tensors");
    for (const auto& [name, tensor] : tensors) out.tensor("tensors/" + name, tensor);
  });
  if (first != path) duplicate(first, path);
  std::error_code code;
  int kept = 0;
  for (const auto& generation : generations(folder)) {
    if (generation.step > step) set_aside(generation.path, base::concat("it is of step ", generation.step, ", and the run went back to before step ", step));
    else if (++kept > options.generations) fs::remove(generation.path, code);
  }
  return path;
}

StoredCheckpoint load_checkpoint(const fs::path& path) {
  const auto file = storage::Hdf5File::open(path, schema);
  StoredCheckpoint checkpoint;
  checkpoint.path = path;
  checkpoint.step = file.integer_attribute("/", "step");
  checkpoint.state = json::parse(file.text("state"), nullptr, false);
  if (checkpoint.state.is_discarded()) throw storage::DamagedFileError(path.string(), ": its state is not JSON");
  checkpoint.tensors = file.tensors("tensors");
  return checkpoint;
}

std::optional<StoredCheckpoint> latest_intact(const fs::path& folder, int keep) {
  std::optional<StoredCheckpoint> newest;
  int kept = 0;
  for (const auto& generation : generations(folder)) {
    std::error_code code;
    if (!newest) newest = try_load(generation.path);
    if (newest && ++kept > keep) fs::remove(generation.path, code);
  }
  if (newest) return newest;
  for (const auto& path : keeps(folder)) {
    auto checkpoint = try_load(path);
    if (checkpoint && (!newest || checkpoint->step > newest->step)) newest = std::move(checkpoint);
  }
  if (newest)
    base::log::warning(base::concat(folder.string(), ": no generation is left; going on from ", newest->path.filename().string(), " of step ", newest->step));
  return newest;
}

}  // namespace magicid::run_directory
