#include "storage/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/errors.h"
#include "base/names.h"
#include "storage/atomic_file.h"
#include "storage/mapped_file.h"
#include "storage/safetensors_writer.h"

namespace magicid::storage {
namespace {

using base::SystemError;
using base::UserError;
using nlohmann::json;

constexpr std::uint64_t header_limit = 100'000'000;  // the reference reader's

struct FormatType {
  const char* name;
  at::ScalarType type;
  std::uint64_t bytes;
};
constexpr FormatType format_types[] = {{"F64", at::kDouble, 8},
                                       {"F32", at::kFloat, 4},
                                       {"F16", at::kHalf, 2},
                                       {"BF16", at::kBFloat16, 2},
                                       {"I64", at::kLong, 8},
                                       {"I32", at::kInt, 4},
                                       {"I16", at::kShort, 2},
                                       {"I8", at::kChar, 1},
                                       {"U8", at::kByte, 1},
                                       {"BOOL", at::kBool, 1},
                                       {"F8_E4M3", at::kFloat8_e4m3fn, 1},
                                       {"F8_E5M2", at::kFloat8_e5m2, 1}};
// Known to the format; no LibTorch type that we compute with.
constexpr struct {
  const char* name;
  std::uint64_t bytes;
} foreign_types[] = {{"U16", 2}, {"U32", 4}, {"U64", 8}, {"F8_E8M0", 1}, {"C64", 8}};

struct Entry {
  std::string dtype;
  std::optional<at::ScalarType> type;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

}  // namespace

struct SafetensorsFile::Contents {
  std::filesystem::path path;
  std::shared_ptr<const MappedFile> mapping;
  std::uint64_t data_start = 0;
  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;

  [[noreturn]] void fail(const std::string& problem) const { throw UserError(path.string(), ": not a valid safetensors file: ", problem); }

  const Entry& find(const std::string& name) const {
    const auto it = entries.find(name);
    if (it != entries.end()) return it->second;
    std::vector<std::string> known;
    for (const auto& [key, entry] : entries) known.push_back(key);
    throw UserError(path.string(), ": has no tensor '", name, "'", base::did_you_mean(name, known), " (", known.size(), " tensors)");
  }

  void map_file() {
    mapping = MappedFile::open(path);
    if (mapping->size() < 8) fail(base::concat("it has ", mapping->size(), " bytes, the header length alone needs 8. Was the download cut off?"));
  }

  void parse() {
    const char* bytes = mapping->data();
    if (std::string_view(bytes, std::min<std::size_t>(mapping->size(), 40)).starts_with("version https://git-lfs"))
      fail("it is a Git LFS pointer. Fetch the real file with `git lfs pull`.");
    std::uint64_t header_size = 0;
    for (int i = 7; i >= 0; --i) header_size = (header_size << 8) | static_cast<unsigned char>(bytes[i]);
    if (header_size > header_limit)
      fail(base::concat("its header claims ", header_size, " bytes, the limit is ", header_limit, ". Is it another kind of file?"));
    if (header_size > mapping->size() - 8)
      fail(base::concat("its header claims ", header_size, " bytes, the whole file has ", mapping->size(), ". Was the download cut off?"));
    data_start = 8 + header_size;

    const json header = parse_header(std::string_view(bytes + 8, header_size));
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") parse_metadata(value);
      else entries.emplace(name, parse_entry(name, value));
    }
    check_layout();
  }

  // What the format forbids and the JSON library lets pass: something before the '{' (it skips a byte order mark), NUL bytes (it takes the first for the end,
  // whatever stands behind) and names that stand twice (the last one would hide the others). Spaces behind the '}' are padding.
  json parse_header(std::string_view text) const {
    if (text.starts_with("\xEF\xBB\xBF"))
      fail("its header is not JSON: it begins with a byte order mark, '{' was expected. Was the file rewritten by a text editor?");
    if (!text.starts_with('{')) fail("its header is not JSON as the format has it: it does not begin with '{'");
    if (const auto at = text.find('\0'); at != std::string_view::npos)
      fail(base::concat("its header is not JSON: byte ", at, " of it is NUL; only spaces may pad it"));
    std::set<std::string> names, inner;  // of the header, and of the object in it that is being read
    std::string name;
    json header;
    try {
      header = json::parse(text.begin(), text.end(), [&](int depth, json::parse_event_t event, json& value) {
        if (event == json::parse_event_t::object_start && depth == 1) inner.clear();
        if (event != json::parse_event_t::key || depth > 2) return true;
        const std::string key = value.get<std::string>();
        if (depth == 1) name = key;
        if (depth == 1 && !names.insert(key).second) fail("tensor '" + key + "' stands twice in the header");
        if (depth == 2 && !inner.insert(key).second) fail("'" + key + "' stands twice in the header's '" + name + "'");
        return true;
      });
    } catch (const json::exception& error) {
      fail(std::string("its header is not JSON: ") + error.what());
    }
    return header;
  }

  void parse_metadata(const json& value) {
    if (!value.is_object()) fail("__metadata__ is not an object of strings");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fail("__metadata__." + key + " is not a string");
      metadata[key] = text.get<std::string>();
    }
  }

  Entry parse_entry(const std::string& name, const json& value) {
    const auto unsigned_at = [&](const json& number, const char* what) {
      if (!number.is_number_unsigned()) fail("tensor '" + name + "': " + what + " is not a non-negative integer");
      return number.get<std::uint64_t>();
    };
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets") || !value["dtype"].is_string() ||
        !value["shape"].is_array() || !value["data_offsets"].is_array() || value["data_offsets"].size() != 2)
      fail("tensor '" + name + "' lacks dtype, shape or two data_offsets");
    Entry entry;
    entry.dtype = value["dtype"].get<std::string>();
    std::uint64_t element = 0;
    for (const auto& row : format_types)
      if (entry.dtype == row.name) entry.type = row.type, element = row.bytes;
    for (const auto& row : foreign_types)
      if (entry.dtype == row.name) element = row.bytes;
    if (element == 0) fail("tensor '" + name + "' has the unknown dtype '" + entry.dtype + "'");
    std::uint64_t size = element;
    for (const auto& extent : value["shape"]) {
      const std::uint64_t n = unsigned_at(extent, "a shape entry");
      if (__builtin_mul_overflow(size, n, &size) || n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        fail("tensor '" + name + "': its shape overflows 64 bits");
      entry.shape.push_back(static_cast<std::int64_t>(n));
    }
    entry.begin = unsigned_at(value["data_offsets"][0], "data_offsets[0]");
    entry.end = unsigned_at(value["data_offsets"][1], "data_offsets[1]");
    if (entry.begin > entry.end || entry.end - entry.begin != size)
      fail(base::concat("tensor '", name, "' spans bytes ", entry.begin, " to ", entry.end, ", its shape and dtype need ", size));
    return entry;
  }

  // Tensors must tile the data section: no overlap, no gap, no rest.
  void check_layout() {
    std::vector<std::pair<const std::string*, const Entry*>> order;
    for (const auto& [name, entry] : entries) order.emplace_back(&name, &entry);
    std::sort(order.begin(), order.end(),
              [](const auto& a, const auto& b) { return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end); });
    std::uint64_t position = 0;
    for (const auto& [name, entry] : order) {
      if (entry->begin != position)
        fail(base::concat("tensor '", *name, "' begins at byte ", entry->begin, " of the data, ", position, " was expected (",
                          entry->begin < position ? "overlap" : "gap", ")"));
      position = entry->end;
    }
    const std::uint64_t available = mapping->size() - data_start;
    if (position > available) fail(base::concat("its tensors need ", position, " bytes of data, it has ", available, ". Was the download cut off?"));
    if (position < available) fail(base::concat("it has ", available - position, " bytes after its last tensor"));
  }
};

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  auto contents = std::make_shared<Contents>();
  contents->path = path;
  contents->map_file();
  contents->parse();
  SafetensorsFile file;
  file.contents_ = std::move(contents);
  return file;
}

const std::filesystem::path& SafetensorsFile::path() const { return contents_->path; }
const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return contents_->metadata; }
bool SafetensorsFile::contains(const std::string& name) const { return contents_->entries.contains(name); }
std::vector<std::int64_t> SafetensorsFile::shape(const std::string& name) const { return contents_->find(name).shape; }

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : contents_->entries) names.push_back(name);
  return names;
}

at::ScalarType SafetensorsFile::dtype(const std::string& name) const {
  const Entry& entry = contents_->find(name);
  if (!entry.type)
    throw UserError(path().string(), ": tensor '", name, "' has dtype ", entry.dtype, ", which is not supported; convert it to F32, F16 or BF16");
  return *entry.type;
}

at::Tensor SafetensorsFile::at(const std::string& name) const {
  const Entry& entry = contents_->find(name);
  const at::ScalarType type = dtype(name);
  char* data = contents_->mapping->data() + contents_->data_start + entry.begin;
  const auto alignment = c10::elementSize(type);
  const auto options = at::TensorOptions().dtype(type);
  if (reinterpret_cast<std::uintptr_t>(data) % alignment != 0) {  // a header that is not padded to 8: legal, so copy
    at::Tensor copy = at::empty(entry.shape, options);
    std::memcpy(copy.data_ptr(), data, entry.end - entry.begin);
    return copy;
  }
  return at::from_blob(data, entry.shape, [keep = contents_](void*) {}, options);
}

namespace {

const FormatType& format_of(const std::filesystem::path& path, const std::string& name, at::ScalarType type) {
  const auto row = std::find_if(std::begin(format_types), std::end(format_types), [&](const FormatType& r) { return r.type == type; });
  base::check_invariant(row != std::end(format_types), path.string(), ": tensor '", name, "' has a dtype that safetensors cannot hold");
  return *row;
}

}  // namespace

std::uint64_t LazyTensor::bytes() const {
  std::uint64_t count = c10::elementSize(dtype);
  for (const auto extent : shape) count *= static_cast<std::uint64_t>(extent);
  return count;
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  std::vector<LazyTensor> lazy;
  for (const auto& [name, tensor] : tensors) {
    base::check_invariant(tensor.defined(), path.string(), ": tensor '", name, "' is undefined");
    lazy.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), [&tensor = tensor] { return tensor; }});
  }
  write_safetensors(path, std::move(lazy), metadata);
}

void write_safetensors(const std::filesystem::path& path, std::vector<LazyTensor> tensors, const std::map<std::string, std::string>& metadata,
                       const std::function<void(std::uint64_t bytes)>& written) {
  std::sort(tensors.begin(), tensors.end(), [](const LazyTensor& a, const LazyTensor& b) {
    return std::pair(c10::elementSize(b.dtype), std::string_view(a.name)) < std::pair(c10::elementSize(a.dtype), std::string_view(b.name));
  });
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const LazyTensor& tensor : tensors) {
    const FormatType& row = format_of(path, tensor.name, tensor.dtype);
    base::check_invariant(!header.contains(tensor.name), path.string(), ": tensor '", tensor.name, "' is written twice");
    header[tensor.name] = {{"dtype", row.name}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& error) {
    throw UserError(path.string(), ": a tensor name or metadata entry is not UTF-8: ", error.what());
  }
  text.append((8 - text.size() % 8) % 8, ' ');

  write_atomically(path, [&](const std::filesystem::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    unsigned char length[8];
    for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(text.size() >> (8 * i));
    out.write(reinterpret_cast<const char*>(length), 8);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    for (const LazyTensor& tensor : tensors) {
      const at::Tensor given = tensor.read();
      base::check_invariant(given.scalar_type() == tensor.dtype && given.sizes() == c10::IntArrayRef(tensor.shape), path.string(), ": tensor '", tensor.name,
                            "' is not what its header says");
      const auto size = static_cast<std::streamsize>(tensor.bytes());
      if (given.is_meta()) {
        out.seekp(size, std::ios::cur);
      } else {
        const at::Tensor values = given.detach().cpu().contiguous();
        out.write(static_cast<const char*>(values.const_data_ptr()), size);
      }
      if (!out) break;
      if (written) written(tensor.bytes());
    }
    out.close();
    // A hole at the end of a file needs its length told.
    if (out && ::truncate(temporary.c_str(), static_cast<off_t>(8 + text.size() + offset)) != 0) out.setstate(std::ios::failbit);
    if (!out) throw SystemError(path.string(), ": write of ", 8 + text.size() + offset, " bytes failed: ", base::errno_text(errno), ". Is the disk full?");
  });
}

void write_safetensors_one_by_one(const std::filesystem::path& path, const std::vector<PlannedTensor>& plan,
                                  const std::function<at::Tensor(const std::string& name)>& make, const std::map<std::string, std::string>& metadata) {
  std::vector<LazyTensor> lazy;
  for (const auto& tensor : plan) lazy.push_back({tensor.name, tensor.dtype, tensor.shape, [&make, &tensor] { return make(tensor.name); }});
  write_safetensors(path, std::move(lazy), metadata);
}

}  // namespace magicid::storage
