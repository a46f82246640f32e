// Zip files as torch.save writes them: entries that are stored, not compressed, so that they can be looked at where they lie.
// Source: APPNOTE.TXT 6.3 of PKWARE (zip, zip64).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "storage/mapped_file.h"

namespace magicid::storage {

class ZipArchive {
 public:
  struct Entry {
    std::uint64_t offset = 0, size = 0;  // of the contents in the file
    std::uint32_t crc = 0;
    bool compressed = false;  // its contents cannot be looked at
  };

  // Reads the central directory and the local headers it points to. Everything is checked: each entry lies within the file, none overlaps another, no name
  // stands twice. Throws UserError that names the file and the entry: not a zip file, cut off, encrypted entries, several disks.
  static ZipArchive open(const std::shared_ptr<const MappedFile>& file);
  // Whether the file begins as a zip file does.
  static bool is_zip(const MappedFile& file);

  const std::map<std::string, Entry>& entries() const { return entries_; }
  bool contains(const std::string& name) const { return entries_.contains(name); }
  // Throws UserError when there is no such entry, or it is compressed (as the code of scripted modules is, which nobody looks at).
  const Entry& entry(const std::string& name) const;
  // The contents, compared with the checksum that the archive holds: every byte is read. Throws UserError when they differ.
  std::string_view checked(const std::string& name) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, Entry> entries_;
};

}  // namespace magicid::storage
