#include "storage/onnx_file.h"

#include <ATen/ops/empty.h>

#include <bit>
#include <cstring>
#include <memory>
#include <optional>

#include "base/errors.h"
#include "base/names.h"

namespace magicid::storage {
namespace {

using base::UserError;

// One message of the wire format: fields with a number and one of four kinds of value.
class WireReader {
 public:
  struct Field {
    std::uint64_t number = 0;
    int kind = 0;             // 0 a number, 1 eight bytes, 2 bytes of any length, 5 four bytes
    std::uint64_t value = 0;  // of kinds 0, 1 and 5
    std::string_view bytes;   // of kind 2
  };

  WireReader(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  bool next(Field& field) {
    if (position_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    field = {tag >> 3, static_cast<int>(tag & 7), 0, {}};
    switch (field.kind) {
      case 0: field.value = varint(); break;
      case 1: field.value = fixed(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.value = fixed(4); break;
      default: fail(base::concat("a field of kind ", field.kind));
    }
    return true;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail("a number of more than ten bytes");
  }

  bool done() const { return position_ == bytes_.size(); }

  [[noreturn]] void fail(const std::string& problem) const {
    throw UserError(path_, ": not a valid ONNX file: ", problem, ". Was the download cut off, or is it another kind of file?");
  }

 private:
  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - position_) fail("it ends in the middle of a field");
    const auto part = bytes_.substr(position_, count);
    position_ += count;
    return part;
  }

  std::uint64_t fixed(std::size_t count) {
    const auto part = take(count);
    std::uint64_t value = 0;
    for (std::size_t i = count; i-- > 0;) value = (value << 8) | static_cast<unsigned char>(part[i]);
    return value;
  }

  std::string_view bytes_;
  const std::string& path_;
  std::size_t position_ = 0;
};

// TensorProto.DataType of onnx.proto.
std::optional<at::ScalarType> onnx_type(std::uint64_t code) {
  switch (code) {
    case 1: return at::kFloat;
    case 2: return at::kByte;
    case 3: return at::kChar;
    case 6: return at::kInt;
    case 7: return at::kLong;
    case 9: return at::kBool;
    case 10: return at::kHalf;
    case 11: return at::kDouble;
    case 16: return at::kBFloat16;
    default: return std::nullopt;
  }
}

// A repeated number: packed in one field or one field each.
void append_numbers(const WireReader::Field& field, const std::string& path, std::vector<std::int64_t>& numbers) {
  if (field.kind == 0) {
    numbers.push_back(static_cast<std::int64_t>(field.value));
    return;
  }
  WireReader packed(field.bytes, path);
  while (!packed.done()) numbers.push_back(static_cast<std::int64_t>(packed.varint()));
}

}  // namespace

struct OnnxParser {
  OnnxFile& file;
  const std::string path;

  void model(std::string_view bytes) {
    WireReader reader(bytes, path);
    bool graph_seen = false;
    for (WireReader::Field field; reader.next(field);)
      if (field.number == 7 && field.kind == 2) {
        graph(field.bytes);
        graph_seen = true;
      }
    if (!graph_seen) reader.fail("it holds no graph");
  }

  void graph(std::string_view bytes) {
    WireReader reader(bytes, path);
    for (WireReader::Field field; reader.next(field);) {
      if (field.kind != 2) continue;
      if (field.number == 1) file.nodes_.push_back(node(field.bytes));
      else if (field.number == 5) initializer(field.bytes, "");
      else if (field.number == 11) file.inputs_.push_back(first_text(field.bytes));
    }
  }

  // A ValueInfoProto's name.
  std::string first_text(std::string_view bytes) const {
    WireReader reader(bytes, path);
    for (WireReader::Field field; reader.next(field);)
      if (field.number == 1 && field.kind == 2) return std::string(field.bytes);
    return {};
  }

  OnnxNode node(std::string_view bytes) {
    OnnxNode node;
    std::string_view constant;
    WireReader reader(bytes, path);
    for (WireReader::Field field; reader.next(field);) {
      if (field.kind != 2) continue;
      if (field.number == 1) node.input.emplace_back(field.bytes);
      else if (field.number == 2) node.output.emplace_back(field.bytes);
      else if (field.number == 4) node.operation = field.bytes;
      else if (field.number == 5) attribute(field.bytes, node, constant);
    }
    // A tensor that stands as an operation of its own is one like the others.
    if (node.operation == "Constant" && !constant.empty() && !node.output.empty()) initializer(constant, node.output[0]);
    return node;
  }

  void attribute(std::string_view bytes, OnnxNode& node, std::string_view& constant) const {
    std::string name;
    std::vector<std::int64_t> list;
    bool has_list = false;
    std::optional<double> number;
    WireReader reader(bytes, path);
    for (WireReader::Field field; reader.next(field);) {
      if (field.number == 1 && field.kind == 2) name = field.bytes;
      else if (field.number == 2 && field.kind == 5) number = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
      else if (field.number == 3 && field.kind == 0) number = static_cast<double>(static_cast<std::int64_t>(field.value));
      else if (field.number == 5 && field.kind == 2) constant = field.bytes;
      else if (field.number == 8) append_numbers(field, path, list), has_list = true;
    }
    if (number) node.numbers[name] = *number;
    if (has_list) node.number_lists[name] = list;
  }

  void initializer(std::string_view bytes, std::string name) {
    OnnxFile::Entry entry;
    std::uint64_t type = 0;
    std::vector<std::int64_t> loose;  // int32_data or int64_data
    WireReader reader(bytes, path);
    for (WireReader::Field field; reader.next(field);) {
      if (field.number == 1) append_numbers(field, path, entry.shape);
      else if (field.number == 2 && field.kind == 0) type = field.value;
      else if (field.number == 8 && field.kind == 2 && name.empty()) name = field.bytes;
      else if ((field.number == 9 || field.number == 4 || field.number == 10) && field.kind == 2) entry.packed.push_back(field.bytes);
      else if (field.number == 13) throw UserError(path, ": tensor '", name, "' lies in another file beside it; write the model as one file (onnx.save_model)");
      else if (field.number == 5 || field.number == 7) append_numbers(field, path, loose);
    }
    // What is no weight (a shape to reshape to, a text) is not needed: it is asked for by nobody that we know.
    const auto known = onnx_type(type);
    std::uint64_t wanted = known ? c10::elementSize(*known) : 0, have = 0;
    for (const auto extent : entry.shape)
      if (extent < 0 || __builtin_mul_overflow(wanted, static_cast<std::uint64_t>(extent), &wanted))
        reader.fail("tensor '" + name + "' has an impossible shape");
    for (const auto& run : entry.packed) have += run.size();
    if (!known || !loose.empty()) return;
    entry.type = *known;
    if (have != wanted) reader.fail(base::concat("tensor '", name, "' has ", have, " bytes, its shape and type need ", wanted));
    if (!file.tensors_.emplace(name, std::move(entry)).second) reader.fail("tensor '" + name + "' stands twice");
  }
};

bool OnnxFile::is_onnx(const MappedFile& file) {
  // ModelProto begins with ir_version: field 1, a small number.
  // (A safetensors file whose header has that many bytes goes on with its brace.)
  return file.size() > 16 && file.data()[8] != '{' && file.data()[0] == 0x08 && file.data()[1] > 0 && file.data()[1] < 64;
}

OnnxFile OnnxFile::open(const std::filesystem::path& path) {
  OnnxFile file;
  file.file_ = MappedFile::open(path);
  OnnxParser{file, path.string()}.model(file.file_->view(0, file.file_->size()));
  return file;
}

const OnnxFile::Entry& OnnxFile::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end())
    throw UserError(path().string(), ": has no tensor '", name, "'", base::did_you_mean(name, names()), " (", tensors_.size(), " tensors)");
  return it->second;
}

std::vector<std::string> OnnxFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : tensors_) names.push_back(name);
  return names;
}

std::vector<std::int64_t> OnnxFile::shape(const std::string& name) const { return find(name).shape; }
at::ScalarType OnnxFile::dtype(const std::string& name) const { return find(name).type; }

at::Tensor OnnxFile::at(const std::string& name) const {
  const Entry& entry = find(name);
  at::Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.type));
  char* out = static_cast<char*>(tensor.data_ptr());
  for (const auto& run : entry.packed) {
    std::memcpy(out, run.data(), run.size());
    out += run.size();
  }
  return tensor;
}

}  // namespace magicid::storage
