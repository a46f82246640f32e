#include "storage/torch_file.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>

#include "base/errors.h"
#include "base/names.h"
#include "storage/pickle.h"
#include "storage/zip_archive.h"

namespace magicid::storage {
namespace {

using base::UserError;
using Refuse = std::function<void(const std::string&)>;

// A pickle of the magic number with which torch.save's old format begins.
constexpr std::string_view kOldFormat("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14);
constexpr int kStorage = 1, kTensor = 2, kType = 3;  // of PickleObject
constexpr std::size_t kDepthLimit = 100, kWalkLimit = 5'000'000;

const std::map<std::string, at::ScalarType>& storage_types() {
  static const std::map<std::string, at::ScalarType> types = {
      {"torch.DoubleStorage", at::kDouble},     {"torch.FloatStorage", at::kFloat},         {"torch.HalfStorage", at::kHalf},
      {"torch.BFloat16Storage", at::kBFloat16}, {"torch.LongStorage", at::kLong},           {"torch.IntStorage", at::kInt},
      {"torch.ShortStorage", at::kShort},       {"torch.CharStorage", at::kChar},           {"torch.ByteStorage", at::kByte},
      {"torch.BoolStorage", at::kBool},         {"torch.storage.UntypedStorage", at::kByte}};
  return types;
}

const std::map<std::string, at::ScalarType>& element_types() {
  static const std::map<std::string, at::ScalarType> types = {{"torch.float64", at::kDouble},
                                                              {"torch.float32", at::kFloat},
                                                              {"torch.float16", at::kHalf},
                                                              {"torch.bfloat16", at::kBFloat16},
                                                              {"torch.int64", at::kLong},
                                                              {"torch.int32", at::kInt},
                                                              {"torch.int16", at::kShort},
                                                              {"torch.int8", at::kChar},
                                                              {"torch.uint8", at::kByte},
                                                              {"torch.bool", at::kBool},
                                                              {"torch.float8_e4m3fn", at::kFloat8_e4m3fn},
                                                              {"torch.float8_e5m2", at::kFloat8_e5m2}};
  return types;
}

struct Storage {
  std::string key;
  at::ScalarType type;
  std::int64_t count;  // of elements
};

struct StoredTensor {
  Storage storage;
  at::ScalarType type;
  std::int64_t offset;  // in elements of `type`
  std::vector<std::int64_t> shape, strides;

  std::int64_t elements() const {
    std::int64_t n = 1;
    for (const auto extent : shape) n *= extent;
    return n;
  }
  bool contiguous() const {
    std::int64_t expected = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (shape[d] != 1 && strides[d] != expected) return false;
      expected *= shape[d];
    }
    return true;
  }
};

template <class T>
const T& get(const PickleValue& value, const char* what, const Refuse& refuse) {
  const T* found = std::get_if<T>(&value.value);
  if (!found) refuse(base::concat(what, " was expected"));
  return *found;
}

template <class T>
PickleValue object(int kind, T value) {
  return {PickleObject{std::make_shared<const T>(std::move(value)), kind}};
}

template <class T>
const T& get_object(const PickleValue& value, int kind, const char* what, const Refuse& refuse) {
  const auto& found = get<PickleObject>(value, what, refuse);
  if (found.kind != kind) refuse(base::concat(what, " was expected"));
  return *static_cast<const T*>(found.object.get());
}

// ('storage', torch.FloatStorage, '0', 'cpu', number of elements)
PickleValue read_storage(const PickleValue& id, const Refuse& refuse) {
  const auto& parts = get<PickleSequence>(id, "a storage's description", refuse).items;
  if (parts.size() != 5 || get<std::string>(*parts[0], "'storage'", refuse) != "storage") refuse("a storage's description of five parts was expected");
  const auto& name = get<PickleGlobal>(*parts[1], "a storage's type", refuse).name;
  const auto type = storage_types().find(name);
  if (type == storage_types().end()) refuse("'" + name + "' is no type of storage");
  const auto count = get<std::int64_t>(*parts[4], "a storage's size", refuse);
  if (count < 0) refuse(base::concat("a storage of ", count, " elements"));
  return object(kStorage, Storage{get<std::string>(*parts[2], "a storage's name", refuse), type->second, count});
}

std::vector<std::int64_t> read_sizes(const PickleValue& value, const char* what, const Refuse& refuse) {
  std::vector<std::int64_t> sizes;
  for (const PicklePointer item : get<PickleSequence>(value, what, refuse).items) sizes.push_back(get<std::int64_t>(*item, what, refuse));
  return sizes;
}

// The last element that the tensor touches must lie in its storage; all in 64 bits without overflow. A stride below zero does not exist in PyTorch.
void check_extent(const StoredTensor& tensor, const Refuse& refuse) {
  if (tensor.shape.size() != tensor.strides.size() || tensor.shape.size() > 64) refuse("a tensor's shape and strides do not belong together");
  const auto element = static_cast<std::int64_t>(c10::elementSize(tensor.type));
  std::int64_t last = tensor.offset, elements = 1;
  bool overflow = tensor.offset < 0, empty = false;
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
    std::int64_t reach = 0;
    overflow |= tensor.shape[d] < 0 || tensor.strides[d] < 0;
    empty |= tensor.shape[d] == 0;
    overflow |= __builtin_mul_overflow(std::max<std::int64_t>(tensor.shape[d], 1) - 1, tensor.strides[d], &reach);
    overflow |= __builtin_add_overflow(last, reach, &last);
    overflow |= __builtin_mul_overflow(elements, std::max<std::int64_t>(tensor.shape[d], 1), &elements);
  }
  std::int64_t bytes = 0, available = 0;
  overflow |= __builtin_add_overflow(last, 1, &last);
  overflow |= __builtin_mul_overflow(last, element, &bytes);
  overflow |= __builtin_mul_overflow(tensor.storage.count, static_cast<std::int64_t>(c10::elementSize(tensor.storage.type)), &available);
  // Strides of zero repeat elements: a few bytes would ask for any amount of memory.
  overflow |= !empty && __builtin_mul_overflow(elements, element, &elements);
  if (overflow || (!empty && (bytes > available || elements > available)))
    refuse(base::concat("a tensor that reaches outside of its storage '", tensor.storage.key, "'"));
}

// _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks) and _v3(..., dtype, metadata).
PickleValue rebuild_tensor(const PickleSequence& arguments, bool typed, const Refuse& refuse) {
  const auto& a = arguments.items;
  if (a.size() < (typed ? 7u : 4u)) refuse("a tensor with too few arguments");
  StoredTensor tensor{get_object<Storage>(*a[0], kStorage, "a storage", refuse), at::kFloat, get<std::int64_t>(*a[1], "a tensor's offset", refuse),
                      read_sizes(*a[2], "a tensor's shape", refuse), read_sizes(*a[3], "a tensor's strides", refuse)};
  tensor.type = tensor.storage.type;
  if (typed) {
    const auto& name = get<PickleGlobal>(*a[6], "a tensor's dtype", refuse).name;
    const auto type = element_types().find(name);
    if (type == element_types().end()) refuse("'" + name + "' is no dtype that this program reads");
    tensor.type = type->second;
  }
  // A view that is conjugated or negated as it is read: its bytes are not its values.
  if (const std::size_t at = typed ? 7 : 6; a.size() > at)
    if (const auto* marks = std::get_if<PickleDictionary>(&a[at]->value); marks && !marks->items.empty())
      refuse("a tensor with marks (conj, neg); save its clone()");
  check_extent(tensor, refuse);
  return object(kTensor, std::move(tensor));
}

bool is_scripted_class(const std::string& name) { return name.starts_with("__torch__."); }

bool is_typed_list(const std::string& name) {
  return name == "torch.jit._pickle.build_intlist" || name == "torch.jit._pickle.build_doublelist" || name == "torch.jit._pickle.build_boollist" ||
         name == "torch.jit._pickle.build_tensorlist" || name == "torch.jit._pickle.restore_type_tag";
}

bool is_known(const std::string& name) {
  static const std::set<std::string> calls = {"collections.OrderedDict",
                                              "torch._utils._rebuild_tensor_v2",
                                              "torch._utils._rebuild_tensor_v3",
                                              "torch._utils._rebuild_parameter",
                                              "torch.Size",
                                              "torch.device"};
  return calls.contains(name) || storage_types().contains(name) || element_types().contains(name) || is_scripted_class(name) || is_typed_list(name);
}

PickleValue call(const std::string& name, const PickleSequence& arguments, const Refuse& refuse) {
  const auto& a = arguments.items;
  if (name == "torch._utils._rebuild_tensor_v2") return rebuild_tensor(arguments, false, refuse);
  if (name == "torch._utils._rebuild_tensor_v3") return rebuild_tensor(arguments, true, refuse);
  if (name == "torch._utils._rebuild_parameter") {
    if (a.empty()) refuse("a parameter without a tensor");
    get_object<StoredTensor>(*a[0], kTensor, "a parameter's tensor", refuse);
    return *a[0];
  }
  if (is_scripted_class(name)) return {PickleDictionary{}};
  if (name == "torch.Size" || is_typed_list(name)) return a.empty() ? PickleValue{PickleNone{}} : *a[0];
  if (name == "torch.device") return {PickleNone{}};
  if (name != "collections.OrderedDict") refuse("'" + name + "' is called, and is no function");
  PickleDictionary dictionary;
  if (a.empty()) return {dictionary};
  for (const PicklePointer pair : get<PickleSequence>(*a[0], "a list of items", refuse).items) {
    const auto& item = get<PickleSequence>(*pair, "a key and a value", refuse).items;
    if (item.size() != 2) refuse("a key and a value were expected");
    dictionary.items.emplace_back(item[0], item[1]);
  }
  return {std::move(dictionary)};
}

}  // namespace

struct TorchFile::Contents {
  std::filesystem::path path;
  std::shared_ptr<const MappedFile> file;
  ZipArchive archive;
  std::string root;  // the folder inside of the archive, with its slash
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, double> numbers;
  std::size_t walked = 0;
  mutable std::mutex mutex;
  mutable std::set<std::string> checked;  // storages whose checksum was compared

  [[noreturn]] void fail(const std::string& problem) const { throw UserError(path.string(), ": ", problem); }

  void read() {
    if (file->size() >= kOldFormat.size() && file->view(0, kOldFormat.size()) == kOldFormat)
      fail(
          "is in torch.save's format from before version 1.6, which is not read; write it again with any newer PyTorch: "
          "torch.save(torch.load(\"old.pth\", map_location=\"cpu\", weights_only=True), \"new.pth\")");
    if (!ZipArchive::is_zip(*file)) fail("is no file of torch.save: it does not begin as a zip file does");
    archive = ZipArchive::open(file);
    std::vector<std::string> pickles;
    for (const auto& [name, entry] : archive.entries())
      if (name.ends_with("/data.pkl") && std::count(name.begin(), name.end(), '/') == 1) pickles.push_back(name);
    if (pickles.size() != 1) fail(base::concat("is a zip file with ", pickles.size(), " data.pkl in it; torch.save writes one"));
    root = pickles[0].substr(0, pickles[0].size() - std::string_view("data.pkl").size());
    if (archive.contains(root + "byteorder"))
      if (const auto order = archive.checked(root + "byteorder"); order != "little") fail("was written on a machine of another byte order");
    const Pickle pickle = read_pickle(archive.checked(pickles[0]), path.string() + ": " + pickles[0], {is_known, call, read_storage});
    walk("", *pickle.root, 0);
    for (const auto& [name, tensor] : tensors) check_storage(name, tensor);
  }

  void walk(const std::string& name, const PickleValue& value, std::size_t depth) {
    if (depth > kDepthLimit || ++walked > kWalkLimit) fail("its dictionaries are nested too deeply, or hold themselves, at '" + name.substr(0, 100) + "'");
    const auto below = [&](const std::string& key) { return name.empty() ? key : name + "." + key; };
    if (const auto* dictionary = std::get_if<PickleDictionary>(&value.value)) {
      for (const auto& [key, item] : dictionary->items) {
        if (const auto* text = std::get_if<std::string>(&key->value)) walk(below(*text), *item, depth + 1);
        else if (const auto* number = std::get_if<std::int64_t>(&key->value)) walk(below(std::to_string(*number)), *item, depth + 1);
      }
    } else if (const auto* sequence = std::get_if<PickleSequence>(&value.value)) {
      for (std::size_t i = 0; i < sequence->items.size(); ++i) walk(below(std::to_string(i)), *sequence->items[i], depth + 1);
    } else if (const auto* object = std::get_if<PickleObject>(&value.value); object && object->kind == kTensor) {
      if (!tensors.emplace(name, *static_cast<const StoredTensor*>(object->object.get())).second) fail("holds two tensors under the name '" + name + "'");
    } else if (const auto* real = std::get_if<double>(&value.value)) {
      numbers[name] = *real;
    } else if (const auto* whole = std::get_if<std::int64_t>(&value.value)) {
      numbers[name] = static_cast<double>(*whole);
    }
  }

  // What the pickle says of a storage must be what the archive holds.
  void check_storage(const std::string& name, const StoredTensor& tensor) const {
    const std::string entry = root + "data/" + tensor.storage.key;
    if (!archive.contains(entry))
      fail("tensor '" + name + "' lies in storage '" + tensor.storage.key + "', which the archive does not hold. Was the file cut?");
    const auto bytes = static_cast<std::uint64_t>(tensor.storage.count) * c10::elementSize(tensor.storage.type);
    if (archive.entry(entry).size != bytes)
      fail(base::concat("storage '", tensor.storage.key, "' of tensor '", name, "' has ", archive.entry(entry).size, " bytes, ", bytes, " were expected"));
  }

  const StoredTensor& find(const std::string& name) const {
    const auto it = tensors.find(name);
    if (it != tensors.end()) return it->second;
    std::vector<std::string> known;
    for (const auto& [key, tensor] : tensors) known.push_back(key);
    throw UserError(path.string(), ": has no tensor '", name, "'", base::did_you_mean(name, known), " (", known.size(), " tensors)");
  }

  char* storage_bytes(const StoredTensor& tensor) const {
    const std::string entry = root + "data/" + tensor.storage.key;
    const std::lock_guard lock(mutex);
    if (checked.insert(entry).second) {
      try {
        archive.checked(entry);
      } catch (...) {
        checked.erase(entry);
        throw;
      }
    }
    return file->data() + archive.entry(entry).offset;
  }
};

bool TorchFile::is_torch_file(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return ZipArchive::is_zip(*file) || (file->size() >= kOldFormat.size() && file->view(0, kOldFormat.size()) == kOldFormat);
}

TorchFile TorchFile::open(const std::filesystem::path& path) {
  auto contents = std::make_shared<Contents>();
  contents->path = path;
  contents->file = MappedFile::open(path);
  contents->read();
  TorchFile file;
  file.contents_ = std::move(contents);
  return file;
}

const std::filesystem::path& TorchFile::path() const { return contents_->path; }
bool TorchFile::contains(const std::string& name) const { return contents_->tensors.contains(name); }
std::vector<std::int64_t> TorchFile::shape(const std::string& name) const { return contents_->find(name).shape; }
at::ScalarType TorchFile::dtype(const std::string& name) const { return contents_->find(name).type; }
const std::map<std::string, double>& TorchFile::numbers() const { return contents_->numbers; }

std::vector<std::string> TorchFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : contents_->tensors) names.push_back(name);
  return names;
}

at::Tensor TorchFile::at(const std::string& name) const {
  const StoredTensor& tensor = contents_->find(name);
  const auto options = at::TensorOptions().dtype(tensor.type);
  if (tensor.elements() == 0) return at::empty(tensor.shape, options);
  char* const data = contents_->storage_bytes(tensor) + static_cast<std::uint64_t>(tensor.offset) * c10::elementSize(tensor.type);
  const bool aligned = reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(tensor.type) == 0;
  if (aligned) return at::from_blob(data, tensor.shape, tensor.strides, [keep = contents_](void*) {}, options).contiguous();
  // torch.save aligns storages to 64 bytes; another writer need not. What the view spans is copied as bytes.
  std::int64_t span = 1;
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) span += (tensor.shape[d] - 1) * tensor.strides[d];
  at::Tensor copy = at::empty({span}, options);
  std::memcpy(copy.data_ptr(), data, static_cast<std::size_t>(span) * c10::elementSize(tensor.type));
  return copy.as_strided(tensor.shape, tensor.strides).contiguous();
}

}  // namespace magicid::storage
