// Zip files as torch.save writes them, stored entry after stored entry, and damaged ones.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace magicid::tests {

struct ZipEntry {
  std::string name, contents;
  std::uint16_t method = 0;  // 8: says that it is compressed
  bool wrong_checksum = false;
  std::int64_t more_bytes = 0;  // of the size that the list claims
};

inline std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i, value /= 256) text += static_cast<char>(value);
  return text;
}

inline std::string zip_bytes(const std::vector<ZipEntry>& entries) {
  std::string file, list;
  for (const auto& entry : entries) {
    const auto crc = static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(entry.contents.data()), static_cast<uInt>(entry.contents.size())));
    const std::uint64_t size = entry.contents.size() + static_cast<std::uint64_t>(entry.more_bytes);
    const std::string common = little_endian(0, 2) + little_endian(entry.method, 2) + little_endian(0, 4) +
                               little_endian(crc ^ (entry.wrong_checksum ? 1u : 0u), 4) + little_endian(size, 4) + little_endian(size, 4) +
                               little_endian(entry.name.size(), 2);
    list += little_endian(0x02014b50, 4) + little_endian(20, 2) + little_endian(20, 2) + common + little_endian(0, 2 + 2 + 2 + 2 + 4) +
            little_endian(file.size(), 4) + entry.name;
    // A local header's extra field brings the contents to a multiple of 64, as PyTorch does it.
    const std::uint64_t padding = (64 - (file.size() + 30 + entry.name.size()) % 64) % 64;
    file += little_endian(0x04034b50, 4) + little_endian(20, 2) + common + little_endian(padding, 2) + entry.name + std::string(padding, 'Z') + entry.contents;
  }
  return file + list + little_endian(0x06054b50, 4) + little_endian(0, 4) + little_endian(entries.size(), 2) + little_endian(entries.size(), 2) +
         little_endian(list.size(), 4) + little_endian(file.size(), 4) + little_endian(0, 2);
}

}  // namespace magicid::tests
