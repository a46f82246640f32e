// Files that are whole or absent: written under a temporary name in the same folder, flushed, fsynced, renamed, folder fsynced.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace magicid::storage {

// Calls `write(temporary path)`, then makes the result durable under `path`. Leaves nothing behind when `write` throws.
// Throws SystemError (disk full, permission, ...) naming the path.
void write_atomically(const std::filesystem::path& path, const std::function<void(const std::filesystem::path&)>& write);
void write_text_atomically(const std::filesystem::path& path, std::string_view text);
// Throws MissingFileError, UserError when it is a folder, SystemError when it cannot be opened or read to its end.
std::string read_text(const std::filesystem::path& path);

}  // namespace magicid::storage
