// What is damaged, foreign or out of date is renamed, never deleted and never read again.
#pragma once

#include <filesystem>
#include <string>

namespace magicid::run_directory {

// For what was read and is wrong, never for what could not be read. Renames `path` to "<path>.damaged-N" (the first free N), warns with `why`, and returns the
// new name; does nothing when `path` is gone, because ranks may meet the same damage. Throws SystemError.
std::filesystem::path set_aside(const std::filesystem::path& path, const std::string& why);

// Deletes what killed writers of atomic files left in `folder` (".<name>.<host>.<pid>.<n>.tmp"): names that were never promised to
// anyone. Only for the holder of the run's lock, while no rank writes. A folder that does not exist has none. Throws SystemError when it cannot be listed.
void remove_leftovers(const std::filesystem::path& folder);

}  // namespace magicid::run_directory
