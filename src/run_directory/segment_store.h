// Finished pieces of work as immutable files, found by the hash of what determines them.
//
// Each entry is first a segment file of its own ("segment-<key>.h5", written whole or not at all, by whichever rank made it); when a stage
// ends, segments are merged into few files ("merged-<hash>.h5"). Appending to one open file instead would lose finished work in a kill.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "storage/hdf5.h"

namespace magicid::run_directory {

struct Entry {
  nlohmann::json description;  // everything that determines the contents
  nlohmann::json metadata;     // what is good to know and determines nothing (seconds, host)
  storage::NamedTensors tensors;
};

// xxh128 of the canonical JSON.
std::string content_key(const nlohmann::json& description);

// Several processes may put and find at the same time; only one may merge, and no other uses the folder meanwhile. An entry whose
// checksum fails, or whose description does not hash to its key, is absent: its file is set aside after the intact entries of a merged file were saved as
// segments. A file that cannot be opened or read now (permission, EIO, too many open files) is neither absent nor damaged: every method then throws
// SystemError, which names it and the reason.
class SegmentStore {
 public:
  // `folder` need not exist yet.
  SegmentStore(std::filesystem::path folder, storage::Schema schema);

  // Makes the entry durable and returns its key. The same key again replaces the file by equal contents. Throws SystemError.
  std::string put(const Entry& entry);
  // Reads and checks everything of the entry.
  std::optional<Entry> find(const std::string& key);
  // As find() is not empty; the answer "yes" is remembered.
  bool contains(const std::string& key);
  // Keys of all files present, sorted; contents are checked by find().
  std::vector<std::string> list();
  // Those of `keys` that no file of the store has, in their order: after merge(), what was finished and could not be read back.
  std::vector<std::string> absent(const std::vector<std::string>& keys);
  // Looks again at what other processes have written.
  void refresh();

  // Merges segments and small merged files into files of about `file_bytes`, checks these, then deletes their sources. Interrupted
  // anywhere it loses nothing: both are there, which reading does not mind. Returns all files of the store, sorted.
  std::vector<std::filesystem::path> merge(std::uint64_t file_bytes = std::uint64_t{1} << 30);
  // All files of the store, sorted, e.g. for the manifest.
  std::vector<std::filesystem::path> files();

 private:
  using Path = std::filesystem::path;
  std::vector<std::string> keys_of(const Path& file);
  Entry read(const storage::Hdf5File& file, const std::string& key) const;
  void retire(const Path& file, const std::string& why);
  void forget(const Path& file);
  Path segment_path(const std::string& key) const;

  Path folder_;
  storage::Schema schema_;
  std::map<Path, std::vector<std::string>> merged_;  // merged files and their keys
  std::multimap<std::string, Path> index_;           // key -> files that have it
  std::map<std::string, bool> verified_;
};

}  // namespace magicid::run_directory
