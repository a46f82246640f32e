#include "run_directory/segment_store.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "run_directory/set_aside.h"
#include "storage/files.h"

namespace magicid::run_directory {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool is_key(const std::string& text) { return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos; }

void write_entry(storage::Hdf5Writer& out, const std::string& key, const Entry& entry) {
  const std::string at = "entries/" + key + "/";
  out.text(at + "description", entry.description.dump());
  out.text(at + "metadata", entry.metadata.dump(-1, ' ', false, json::error_handler_t::replace));
  out.group(at + "tensors");
  for (const auto& [name, tensor] : entry.tensors) out.tensor(at + "tensors/" + name, tensor);
}

}  // namespace

std::string content_key(const json& description) { return base::hash_hex(std::string_view(description.dump())); }

SegmentStore::SegmentStore(fs::path folder, storage::Schema schema) : folder_(std::move(folder)), schema_(std::move(schema)) { refresh(); }

fs::path SegmentStore::segment_path(const std::string& key) const { return folder_ / ("segment-" + key + ".h5"); }

void SegmentStore::refresh() {
  const std::vector<fs::path> found = storage::list_folder(folder_);
  index_.clear();
  std::map<fs::path, std::vector<std::string>> known;
  known.swap(merged_);
  for (const auto& path : found) {
    const std::string name = path.filename().string();
    if (!name.ends_with(".h5")) continue;
    if (name.starts_with("segment-")) {
      const std::string key = name.substr(8, name.size() - 11);
      if (is_key(key)) index_.emplace(key, path);
    } else if (name.starts_with("merged-")) {
      try {
        const auto it = known.find(path);
        merged_[path] = it != known.end() ? it->second : keys_of(path);
        for (const auto& key : merged_[path]) index_.emplace(key, path);
      } catch (const base::UserError& error) {
        set_aside(path, error.what());  // its very table of contents is wrong
        merged_.erase(path);
      }
    }
  }
}

std::vector<std::string> SegmentStore::keys_of(const fs::path& file) {
  std::vector<std::string> keys;
  for (auto& key : storage::Hdf5File::open(file, schema_).names("entries"))
    if (is_key(key)) keys.push_back(std::move(key));
  return keys;
}

std::string SegmentStore::put(const Entry& entry) {
  const std::string key = content_key(entry.description);
  const fs::path path = segment_path(key);
  storage::write_hdf5(path, schema_, [&](storage::Hdf5Writer& out) { write_entry(out, key, entry); });
  const auto [first, last] = index_.equal_range(key);
  if (std::none_of(first, last, [&](const auto& item) { return item.second == path; })) index_.emplace(key, path);
  verified_.erase(key);
  return key;
}

Entry SegmentStore::read(const storage::Hdf5File& file, const std::string& key) const {
  const std::string at = "entries/" + key + "/";
  Entry entry;
  entry.description = json::parse(file.text(at + "description"), nullptr, false);
  entry.metadata = json::parse(file.text(at + "metadata"), nullptr, false);
  if (entry.description.is_discarded() || entry.metadata.is_discarded() || content_key(entry.description) != key)
    throw storage::DamagedFileError(file.path().string(), ": entry ", key, " does not hold what its key says");
  entry.tensors = file.tensors(at + "tensors");
  return entry;
}

void SegmentStore::forget(const fs::path& path) {
  merged_.erase(path);
  std::erase_if(index_, [&](const auto& item) { return item.second == path; });
}

void SegmentStore::retire(const fs::path& path, const std::string& why) {
  if (const auto it = merged_.find(path); it != merged_.end() && storage::exists(path)) {
    int saved = 0;
    for (const auto& key : std::vector<std::string>(it->second)) {
      if (storage::exists(segment_path(key))) continue;
      try {
        put(read(storage::Hdf5File::open(path, schema_), key));
        ++saved;
      } catch (const base::UserError&) {  // this entry is what is damaged
      }
    }
    base::log::warning(base::concat(path.string(), ": saved ", saved, " of ", it->second.size(), " entries"));
  }
  set_aside(path, why);
  forget(path);
}

std::optional<Entry> SegmentStore::find(const std::string& key) {
  if (!is_key(key)) return std::nullopt;
  for (;;) {
    // Written meanwhile, by another process or by retire().
    if (!index_.contains(key) && storage::exists(segment_path(key))) index_.emplace(key, segment_path(key));
    const auto it = index_.find(key);
    if (it == index_.end()) return std::nullopt;
    const fs::path path = it->second;
    try {
      return read(storage::Hdf5File::open(path, schema_), key);
    } catch (const storage::MissingFileError&) {  // another process set it aside
      forget(path);
    } catch (const base::UserError& error) {
      retire(path, error.what());
    }
  }
}

bool SegmentStore::contains(const std::string& key) {
  if (verified_.contains(key)) return true;
  if (!find(key)) return false;
  verified_[key] = true;
  return true;
}

std::vector<std::string> SegmentStore::list() {
  std::vector<std::string> keys;
  for (const auto& [key, path] : index_)
    if (keys.empty() || keys.back() != key) keys.push_back(key);
  return keys;
}

std::vector<std::string> SegmentStore::absent(const std::vector<std::string>& keys) {
  std::vector<std::string> found;
  std::copy_if(keys.begin(), keys.end(), std::back_inserter(found), [&](const auto& key) { return !index_.contains(key); });
  return found;
}

std::vector<fs::path> SegmentStore::files() {
  std::set<fs::path> paths;
  for (const auto& [key, path] : index_) paths.insert(path);
  return {paths.begin(), paths.end()};
}

std::vector<fs::path> SegmentStore::merge(std::uint64_t file_bytes) {
  refresh();
  // Large merged files stay as they are.
  std::map<fs::path, std::uint64_t> sources;  // with the bytes of one entry
  std::error_code code;
  for (const auto& path : files()) {
    const auto it = merged_.find(path);
    const std::uint64_t bytes = fs::file_size(path);
    if (it == merged_.end() || bytes < file_bytes / 2) sources[path] = it == merged_.end() ? bytes : bytes / std::max<std::size_t>(1, it->second.size());
  }
  const bool any_segment = std::any_of(sources.begin(), sources.end(), [&](const auto& source) { return !merged_.contains(source.first); });
  if (sources.empty() || (sources.size() == 1 && !any_segment)) return files();

  std::vector<std::vector<std::string>> groups;
  std::uint64_t bytes = 0;
  for (const auto& key : list()) {
    const auto [first, last] = index_.equal_range(key);
    const auto source = std::find_if(first, last, [&](const auto& item) { return sources.contains(item.second); });
    if (source == last) continue;
    const std::uint64_t size = sources[source->second];
    if (groups.empty() || bytes + size > file_bytes) groups.emplace_back(), bytes = 0;
    groups.back().push_back(key);
    bytes += size;
  }

  std::set<fs::path> targets;
  std::set<std::string> written;
  for (const auto& keys : groups) {
    const fs::path target = folder_ / ("merged-" + content_key(keys).substr(0, 16) + ".h5");
    std::set<std::string> inside;
    storage::write_hdf5(target, schema_, [&](storage::Hdf5Writer& out) {
      out.group("entries");
      for (const auto& key : keys)
        if (const auto entry = find(key)) {
          write_entry(out, key, *entry);
          inside.insert(key);
        }
    });
    try {
      storage::Hdf5File::open(target, schema_).verify();
    } catch (const storage::DamagedFileError& error) {
      set_aside(target, error.what());
      throw base::SystemError(error.what(), ". It was written just now: the disk does not keep what is written to it. What was to be merged is still there.");
    }
    targets.insert(target);
    written.merge(inside);
  }
  // Only now, with the new files durable and read back, may their sources go.
  for (const auto& [path, size] : sources) {
    if (targets.contains(path)) continue;
    std::vector<std::string> keys;
    if (const auto it = merged_.find(path); it != merged_.end()) keys = it->second;
    else keys = {path.filename().string().substr(8, 32)};
    if (std::all_of(keys.begin(), keys.end(), [&](const auto& key) { return written.contains(key); })) fs::remove(path, code);
  }
  for (const auto& target : targets) merged_.erase(target);  // its table of contents may have changed
  refresh();
  return files();
}

}  // namespace magicid::run_directory
