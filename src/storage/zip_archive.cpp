#include "storage/zip_archive.h"

#include <zlib.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/errors.h"

namespace magicid::storage {
namespace {

using base::UserError;

constexpr std::uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50;
constexpr std::uint64_t kEndSize = 22, kLocatorSize = 20, kEnd64Size = 56, kCentralSize = 46, kLocalSize = 30, kLongestComment = 0xffff;
constexpr std::uint64_t kEntryLimit = 1'000'000;

// Little-endian numbers of a file, each checked to lie within it.
class ZipReader {
 public:
  explicit ZipReader(const MappedFile& file) : file_(file) {}

  [[noreturn]] void fail(const std::string& problem) const { throw UserError(file_.path().string(), ": not a valid zip file: ", problem); }

  std::string_view bytes(std::uint64_t offset, std::uint64_t count, const std::string& what) const {
    if (offset > file_.size() || count > file_.size() - offset)
      fail(base::concat(what, " lies at bytes ", offset, " and ", count, " more, the file has ", file_.size(), ". Was the download cut off?"));
    return file_.view(offset, count);
  }

  static std::uint64_t number(std::string_view bytes, std::size_t at, std::size_t count) {
    std::uint64_t value = 0;
    for (std::size_t i = count; i-- > 0;) value = (value << 8) | static_cast<unsigned char>(bytes[at + i]);
    return value;
  }

  std::uint64_t size() const { return file_.size(); }

 private:
  const MappedFile& file_;
};

struct Directory {
  std::uint64_t offset = 0, size = 0, count = 0;
};

// The record that ends every zip file stands behind all else, with a comment of up to 64 KiB after it.
Directory find_directory(const ZipReader& reader) {
  if (reader.size() < kEndSize) reader.fail(base::concat("it has ", reader.size(), " bytes. Was the download cut off?"));
  const std::uint64_t first = reader.size() - std::min(reader.size(), kEndSize + kLongestComment);
  for (std::uint64_t at = reader.size() - kEndSize;; --at) {
    const auto end = reader.bytes(at, kEndSize, "the end record");
    if (ZipReader::number(end, 0, 4) == kEnd && at + kEndSize + ZipReader::number(end, 20, 2) == reader.size()) {
      if (ZipReader::number(end, 4, 2) != ZipReader::number(end, 6, 2)) reader.fail("it is one part of several");
      Directory directory{ZipReader::number(end, 16, 4), ZipReader::number(end, 12, 4), ZipReader::number(end, 10, 2)};
      if (directory.offset != 0xffffffff && directory.size != 0xffffffff && directory.count != 0xffff) return directory;
      if (at < kLocatorSize) reader.fail("its zip64 locator is missing");
      const auto locator = reader.bytes(at - kLocatorSize, kLocatorSize, "the zip64 locator");
      if (ZipReader::number(locator, 0, 4) != kEnd64Locator) reader.fail("its zip64 locator is missing");
      const auto end64 = reader.bytes(ZipReader::number(locator, 8, 8), kEnd64Size, "the zip64 end record");
      if (ZipReader::number(end64, 0, 4) != kEnd64) reader.fail("its zip64 end record is missing");
      return {ZipReader::number(end64, 48, 8), ZipReader::number(end64, 40, 8), ZipReader::number(end64, 32, 8)};
    }
    if (at == first) break;
  }
  reader.fail("its list of entries, which stands at the end, is missing. Was the download cut off?");
}

// Sizes and offset that do not fit 32 bits stand in an extra field, in this order and only those that are needed.
void read_zip64(const ZipReader& reader, const std::string& name, std::string_view extra, const std::vector<std::uint64_t*>& wanted) {
  if (wanted.empty()) return;
  for (std::size_t at = 0; at + 4 <= extra.size();) {
    const std::uint64_t id = ZipReader::number(extra, at, 2), size = ZipReader::number(extra, at + 2, 2);
    if (size > extra.size() - at - 4) break;
    if (id == 1) {
      if (size < 8 * wanted.size()) break;
      for (std::size_t i = 0; i < wanted.size(); ++i) *wanted[i] = ZipReader::number(extra, at + 4 + 8 * i, 8);
      return;
    }
    at += 4 + size;
  }
  reader.fail("entry '" + name + "' needs zip64 sizes and has none");
}

}  // namespace

bool ZipArchive::is_zip(const MappedFile& file) { return file.size() >= 4 && ZipReader::number(file.view(0, 4), 0, 4) == kLocalHeader; }

ZipArchive ZipArchive::open(const std::shared_ptr<const MappedFile>& file) {
  const ZipReader reader(*file);
  const Directory directory = find_directory(reader);
  reader.bytes(directory.offset, directory.size, "its list of entries");
  if (directory.count > kEntryLimit) reader.fail(base::concat("it claims ", directory.count, " entries, the limit is ", kEntryLimit));
  ZipArchive archive;
  archive.file_ = file;
  std::uint64_t at = directory.offset;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> spans;  // where each entry, its local header included, begins and ends
  for (std::uint64_t i = 0; i < directory.count; ++i) {
    const auto central = reader.bytes(at, kCentralSize, base::concat("entry ", i, " of its list"));
    if (ZipReader::number(central, 0, 4) != kCentralHeader) reader.fail(base::concat("entry ", i, " of its list is none"));
    const std::uint64_t flags = ZipReader::number(central, 8, 2), method = ZipReader::number(central, 10, 2);
    const std::uint64_t name_size = ZipReader::number(central, 28, 2), extra_size = ZipReader::number(central, 30, 2);
    const std::string name(reader.bytes(at + kCentralSize, name_size, "a name of its list"));
    if (flags & 1) reader.fail("entry '" + name + "' is encrypted");
    std::uint64_t packed = ZipReader::number(central, 20, 4), size = ZipReader::number(central, 24, 4), header = ZipReader::number(central, 42, 4);
    std::vector<std::uint64_t*> wanted;
    for (std::uint64_t* value : {&size, &packed, &header})
      if (*value == 0xffffffff) wanted.push_back(value);
    read_zip64(reader, name, reader.bytes(at + kCentralSize + name_size, extra_size, "an extra field of its list"), wanted);
    if (method == 0 && packed != size) reader.fail("entry '" + name + "' is stored with two sizes");
    const auto local = reader.bytes(header, kLocalSize, "entry '" + name + "'");
    if (ZipReader::number(local, 0, 4) != kLocalHeader) reader.fail("entry '" + name + "' has no header where the list says it is");
    const std::uint64_t start = header + kLocalSize + ZipReader::number(local, 26, 2) + ZipReader::number(local, 28, 2);
    reader.bytes(start, packed, "entry '" + name + "'");
    spans.emplace_back(header, start + packed);
    if (!archive.entries_.emplace(name, Entry{start, size, static_cast<std::uint32_t>(ZipReader::number(central, 16, 4)), method != 0}).second)
      reader.fail("entry '" + name + "' stands twice in its list");
    at += kCentralSize + name_size + extra_size + ZipReader::number(central, 32, 2);
  }
  if (at > directory.offset + directory.size) reader.fail("its list of entries is longer than it says");
  std::sort(spans.begin(), spans.end());
  for (std::size_t i = 1; i < spans.size(); ++i)
    if (spans[i].first < spans[i - 1].second) reader.fail(base::concat("two of its entries overlap at byte ", spans[i].first));
  return archive;
}

const ZipArchive::Entry& ZipArchive::entry(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) throw UserError(file_->path().string(), ": has no entry '", name, "' (", entries_.size(), " entries)");
  if (it->second.compressed)
    throw UserError(file_->path().string(), ": entry '", name,
                    "' is compressed; torch.save stores tensors as they are. Was the file packed again by another program?");
  return it->second;
}

std::string_view ZipArchive::checked(const std::string& name) const {
  const Entry& found = entry(name);
  const std::string_view contents = file_->view(found.offset, found.size);
  const auto crc = static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(contents.data()), contents.size()));
  if (crc != found.crc)
    throw UserError(file_->path().string(), ": entry '", name, "' is damaged: its checksum is ", std::hex, crc, ", the file says ", found.crc,
                    ". Download it again; if torch.save wrote it with its checksums switched off (torch.serialization.set_crc32_options), write it with them");
  return contents;
}

}  // namespace magicid::storage
