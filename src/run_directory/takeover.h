// Files of one run in another one. Names lead to the same bytes (hard links) where the file system allows it: results under their names are never written in
// place.
#pragma once

#include <cstddef>
#include <filesystem>

namespace magicid::run_directory {

// Gives `to` the bytes of `from`, under its name at once or not at all. HDF5 and MP4 files, which are only ever replaced whole, become hard links, and copies
// where linking fails (another file system); logs, which grow in place, are always copied. A file that is there is replaced, one that is the same link already
// stays. Throws SystemError.
void link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to);

// link_or_copy() for each finished HDF5 and MP4 file of folder `from` that folder `to` lacks by name: for stores, whose names follow from the contents and
// whose entries are checked when they are read. Files that go away meanwhile (the other run merges its store) are passed over. Returns how many were taken; 0
// when `from` does not exist.
std::size_t link_new_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace magicid::run_directory
