// Questions to the file system where "no" means no. What the system cannot tell now (no permission, EIO, a stale handle, too many open files) is a SystemError
// with the file and the system's reason: whoever took such a file for an absent or a damaged one would lose finished work.
#pragma once

#include <filesystem>
#include <vector>

#include "base/errors.h"

namespace magicid::storage {

// There is no file of that name: nothing is wrong with its contents.
class MissingFileError : public base::UserError {
  using UserError::UserError;
};

// Whether something is there under this name, symbolic links followed. Throws SystemError when that cannot be told.
bool exists(const std::filesystem::path& path);

// Everything in `folder`, sorted; empty when there is no such folder. Throws SystemError when it cannot be listed.
std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder);

// A file open for reading; the caller closes the descriptor. Throws MissingFileError, UserError when it is a folder or, where only a `regular` file will do, a
// pipe or a device, SystemError when it cannot be opened.
int open_for_reading(const std::filesystem::path& path, bool regular = true);

}  // namespace magicid::storage
