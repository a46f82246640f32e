#include "storage/hdf5.h"

#include <ATen/ops/empty.h>
#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <numeric>

#include "base/names.h"
#include "storage/atomic_file.h"
#include "storage/files.h"
#include "storage/hdf5_driver.h"

namespace magicid::storage {
namespace {

using base::concat;
using base::SystemError;
using base::UserError;

constexpr hsize_t chunk_bytes = 1 << 20;

// The library has global state; its own lock exists only in some builds.
std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

// Held around every use of the library; also keeps its error stack off stderr (a setting of each thread).
struct Library {
  std::lock_guard<std::recursive_mutex> lock{library_mutex()};
  Library() {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    H5Eclear2(H5E_DEFAULT);
  }
};

// What the innermost failing call said, and the errno that it mentions (0 when the system was not at fault; ENOMEM when the library got no memory).
struct Failure {
  std::string text;
  int error_number = 0;
};

Failure last_failure() {
  Failure failure;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned, const H5E_error2_t* entry, void* data) -> herr_t {
        auto& found = *static_cast<Failure*>(data);
        const std::string text = entry->desc ? entry->desc : "";
        if (found.text.empty()) found.text = text;
        if (const auto at = text.find("errno = "); at != std::string::npos && found.error_number == 0) found.error_number = std::atoi(text.c_str() + at + 8);
        const bool no_memory = entry->maj_num == H5E_RESOURCE && (entry->min_num == H5E_NOSPACE || entry->min_num == H5E_CANTALLOC);
        if (no_memory && found.error_number == 0) found.error_number = ENOMEM;
        return 0;
      },
      &failure);
  if (failure.error_number) failure.text = base::errno_text(failure.error_number);
  if (failure.text.empty()) failure.text = "no reason given";
  return failure;
}

using Close = herr_t (*)(hid_t);

class Handle {
 public:
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    reset();
    id_ = std::exchange(other.id_, -1);
    close_ = other.close_;
    return *this;
  }
  ~Handle() { reset(); }
  operator hid_t() const { return id_; }
  herr_t reset() {
    if (id_ < 0) return 0;
    Library library;
    return close_(std::exchange(id_, -1));
  }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

void check_name(const std::string& name) {
  std::size_t start = 0;
  for (;;) {
    const auto slash = name.find('/', start);
    const std::string part = name.substr(start, slash - start);
    base::check_invariant(!part.empty() && part != "." && part != ".." && part.find('\0') == std::string::npos, "'", name, "' cannot name an HDF5 dataset");
    if (slash == std::string::npos) return;
    start = slash + 1;
  }
}

// IEEE half precision, which h5py reads as float16.
Handle half_type() {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(type, 15, 10, 5, 0, 10);
  H5Tset_precision(type, 16);
  H5Tset_ebias(type, 15);
  H5Tset_size(type, 2);
  return type;
}

struct TypeRow {
  at::ScalarType type;
  const char* name;
};
constexpr TypeRow types[] = {{at::kFloat, "float32"}, {at::kDouble, "float64"}, {at::kHalf, "float16"}, {at::kBFloat16, "bfloat16"}, {at::kLong, "int64"},
                             {at::kInt, "int32"},     {at::kShort, "int16"},    {at::kChar, "int8"},    {at::kByte, "uint8"},        {at::kBool, "bool"}};

Handle stored_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return Handle(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
    case at::kDouble: return Handle(H5Tcopy(H5T_IEEE_F64LE), H5Tclose);
    case at::kHalf: return half_type();
    case at::kBFloat16: return Handle(H5Tcopy(H5T_STD_U16LE), H5Tclose);
    case at::kLong: return Handle(H5Tcopy(H5T_STD_I64LE), H5Tclose);
    case at::kInt: return Handle(H5Tcopy(H5T_STD_I32LE), H5Tclose);
    case at::kShort: return Handle(H5Tcopy(H5T_STD_I16LE), H5Tclose);
    case at::kChar: return Handle(H5Tcopy(H5T_STD_I8LE), H5Tclose);
    default: return Handle(H5Tcopy(H5T_STD_U8LE), H5Tclose);
  }
}

Handle text_type(std::size_t size) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, std::max<std::size_t>(1, size));
  H5Tset_cset(type, H5T_CSET_UTF8);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  return type;
}

// At most a mebibyte a chunk: the leading dimensions are halved first, so that a chunk is contiguous in the tensor.
std::vector<hsize_t> chunk_shape(std::vector<hsize_t> shape, hsize_t element) {
  hsize_t bytes = std::accumulate(shape.begin(), shape.end(), element, std::multiplies<>());
  for (auto& extent : shape)
    while (bytes > chunk_bytes && extent > 1) {
      bytes /= extent;
      extent = (extent + 1) / 2;
      bytes *= extent;
    }
  return shape;
}

Handle access_list() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);  // checksums on metadata
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access, false, true);  // Lustre and NFS often refuse locks; files are immutable once named
#endif
  return access;
}

}  // namespace

// ---- writing ----

struct Hdf5Writer::State {
  std::filesystem::path path;  // the final name, for messages
  WriteLog log;
  Handle file;  // closed before the log goes

  [[noreturn]] void fail(const std::string& what) const {
    Failure failure = last_failure();
    if (log.error_number) failure = {base::errno_text(log.error_number), log.error_number};
    throw SystemError(path.string(), ": writing ", what, " failed: ", failure.text,
                      failure.error_number == ENOSPC || failure.error_number == EFBIG ? ". Free some space, then start again." : "");
  }

  // Creates the groups of a path that are not there yet. (HDF5 can do so itself, but then stores the time, and the same contents
  // would not be the same bytes.)
  void groups(const std::string& name) {
    for (std::size_t end = name.find('/');; end = name.find('/', end + 1)) {
      const std::string part = name.substr(0, end);
      const htri_t found = H5Lexists(file, part.c_str(), H5P_DEFAULT);
      if (found < 0) fail("group '" + part + "'");
      if (found == 0) {
        Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
        H5Pset_obj_track_times(creation, false);
        Handle group(H5Gcreate2(file, part.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT), H5Gclose);
        if (group < 0) fail("group '" + part + "'");
      }
      if (end == std::string::npos) return;
    }
  }

  void dataset(const std::string& name, const Handle& type, std::vector<hsize_t> shape, const void* data) {
    const std::string what = "dataset '" + name + "'";
    const hsize_t elements = std::accumulate(shape.begin(), shape.end(), hsize_t{1}, std::multiplies<>());
    if (const auto slash = name.rfind('/'); slash != std::string::npos) groups(name.substr(0, slash));
    Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose);
    Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_obj_track_times(creation, false);  // the same contents are the same bytes
    if (elements > 0) {
      const auto chunk = chunk_shape(shape, H5Tget_size(type));
      H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data());
      H5Pset_fletcher32(creation);
    }
    Handle set(H5Dcreate2(file, name.c_str(), type, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose);
    if (set < 0) fail(what);
    if (elements > 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) fail(what);
    if (set.reset() < 0 || log.error_number) fail(what);
  }

  void attribute(const std::string& object, const std::string& name, const Handle& type, const void* data) {
    const std::string what = "attribute '" + name + "' of '" + object + "'";
    Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    Handle attribute(H5Acreate_by_name(file, object.c_str(), name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (attribute < 0 || H5Awrite(attribute, type, data) < 0 || attribute.reset() < 0 || log.error_number) fail(what);
  }
};

void Hdf5Writer::tensor(const std::string& name, const at::Tensor& value) {
  check_name(name);
  base::check_invariant(value.defined(), state_.path.string(), ": tensor '", name, "' is undefined");
  const auto row = std::find_if(std::begin(types), std::end(types), [&](const TypeRow& r) { return r.type == value.scalar_type(); });
  base::check_invariant(row != std::end(types), state_.path.string(), ": tensor '", name, "' has a dtype that HDF5 files of this program do not hold");
  const at::Tensor data = value.detach().cpu().contiguous();
  Library library;
  std::vector<hsize_t> shape(data.sizes().begin(), data.sizes().end());
  if (shape.empty()) shape = {1};
  state_.dataset(name, stored_type(row->type), shape, data.const_data_ptr());
  attribute(name, "dtype", std::string(row->name));
  if (data.dim() == 0) attribute(name, "scalar", std::int64_t{1});  // a scalar dataset cannot have a checksum
}

void Hdf5Writer::text(const std::string& name, const std::string& value) {
  check_name(name);
  Library library;
  state_.dataset(name, stored_type(at::kByte), {value.size()}, value.data());
  attribute(name, "dtype", std::string("utf-8"));
}

void Hdf5Writer::group(const std::string& name) {
  check_name(name);
  Library library;
  state_.groups(name);
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, std::int64_t value) {
  Library library;
  state_.attribute(object, name, stored_type(at::kLong), &value);
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, double value) {
  Library library;
  state_.attribute(object, name, stored_type(at::kDouble), &value);
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, const std::string& value) {
  // Attributes live in the object's header, which holds 64 KiB; long texts are datasets.
  base::check_invariant(value.size() < 60'000, "attribute '", name, "' is too long: write it with text()");
  Library library;
  state_.attribute(object, name, text_type(value.size()), value.empty() ? "\0" : value.data());
}

void write_hdf5(const std::filesystem::path& path, const Schema& schema, const std::function<void(Hdf5Writer&)>& fill) {
  write_atomically(path, [&](const std::filesystem::path& temporary) {
    Library library;
    Hdf5Writer::State state;
    state.path = path;
    Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
    H5Pset_obj_track_times(creation, false);
    Handle access = access_list();
    if (set_write_driver(access, state.log) < 0) state.fail("the file");
    state.file = Handle(H5Fcreate(temporary.c_str(), H5F_ACC_TRUNC, creation, access), H5Fclose);
    if (state.file < 0) state.fail("the file");
    Hdf5Writer writer(state);
    writer.attribute("/", "schema", schema.name);
    writer.attribute("/", "schema_version", schema.version);
    fill(writer);
    // Most of a small file reaches the disk only here.
    if (H5Fflush(state.file, H5F_SCOPE_GLOBAL) < 0 || state.file.reset() < 0 || state.log.error_number) state.fail("the file");
  });
}

// ---- reading ----

struct Hdf5File::State {
  std::filesystem::path path;
  Handle file;
  std::int64_t version = 0;

  [[noreturn]] void fail(const std::string& what) const {
    const Failure failure = last_failure();
    // Bytes that never came say nothing about the file. EINVAL alone is its own fault: a place in it that cannot be.
    if (failure.error_number != 0 && failure.error_number != EINVAL)
      throw SystemError(path.string(), ": reading ", what, " failed: ", failure.text, ". The file stays as it is.");
    throw DamagedFileError(path.string(), ": ", what, " is damaged: ", failure.text);
  }

  bool exists(const std::string& name) const {
    if (name == "/") return true;
    std::size_t slash = 0;
    while (slash != std::string::npos) {  // H5Lexists wants every group on the way to exist
      slash = name.find('/', slash + 1);
      const htri_t found = H5Lexists(file, name.substr(0, slash).c_str(), H5P_DEFAULT);
      if (found < 0) fail("'" + name + "'");
      if (found == 0) return false;
    }
    return true;
  }

  std::vector<std::string> names(const std::string& group) const {
    Handle opened(H5Gopen2(file, group.c_str(), H5P_DEFAULT), H5Gclose);
    if (opened < 0) fail("group '" + group + "'");
    std::vector<std::string> names;
    hsize_t index = 0;
    const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* data) -> herr_t {
      static_cast<std::vector<std::string>*>(data)->emplace_back(name);
      return 0;
    };
    if (H5Literate(opened, H5_INDEX_NAME, H5_ITER_INC, &index, collect, &names) < 0) fail("group '" + group + "'");
    std::sort(names.begin(), names.end());
    return names;
  }

  void require(const std::string& name) const {
    if (exists(name)) return;
    const auto slash = name.rfind('/');
    const std::string group = slash == std::string::npos ? "/" : name.substr(0, slash);
    const std::string last = slash == std::string::npos ? name : name.substr(slash + 1);
    throw UserError(path.string(), ": has no dataset '", name, "'", exists(group) ? base::did_you_mean(last, names(group)) : "");
  }

  Handle open_dataset(const std::string& name) const {
    require(name);
    Handle set(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
    if (set < 0) fail("dataset '" + name + "'");
    return set;
  }

  Handle open_attribute(const std::string& object, const std::string& name, H5T_class_t wanted) const {
    Handle attribute(H5Aopen_by_name(file, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (attribute < 0) fail("attribute '" + name + "' of '" + object + "'");
    Handle type(H5Aget_type(attribute), H5Tclose);
    Handle space(H5Aget_space(attribute), H5Sclose);
    if (type < 0 || space < 0 || H5Tget_class(type) != wanted || H5Sget_simple_extent_npoints(space) != 1 ||
        (wanted == H5T_STRING && H5Tis_variable_str(type) > 0))
      throw DamagedFileError(path.string(), ": attribute '", name, "' of '", object, "' has an unexpected type");
    return attribute;
  }

  std::string text_attribute(const std::string& object, const std::string& name) const {
    Handle attribute = open_attribute(object, name, H5T_STRING);
    Handle type(H5Aget_type(attribute), H5Tclose);
    std::string value(H5Tget_size(type), '\0');
    if (H5Aread(attribute, type, value.data()) < 0) fail("attribute '" + name + "' of '" + object + "'");
    while (!value.empty() && value.back() == '\0') value.pop_back();
    return value;
  }

  template <class T>
  T value_attribute(const std::string& object, const std::string& name, H5T_class_t wanted, hid_t type) const {
    Handle attribute = open_attribute(object, name, wanted);
    T value{};
    if (H5Aread(attribute, type, &value) < 0) fail("attribute '" + name + "' of '" + object + "'");
    return value;
  }

  std::vector<hsize_t> extents(const Handle& set, const std::string& name) const {
    Handle space(H5Dget_space(set), H5Sclose);
    const int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    if (rank < 0) fail("dataset '" + name + "'");
    std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
    if (rank > 0 && H5Sget_simple_extent_dims(space, extents.data(), nullptr) < 0) fail("dataset '" + name + "'");
    return extents;
  }

  // Reads all elements as `type` into memory from `allocate(shape)`.
  template <class Allocate>
  void read(const std::string& name, const Handle& type, const Allocate& allocate) const {
    Handle set = open_dataset(name);
    Handle found(H5Dget_type(set), H5Tclose);
    if (found < 0 || H5Tequal(found, type) <= 0) throw DamagedFileError(path.string(), ": dataset '", name, "' is not stored as its dtype attribute says");
    const auto shape = extents(set, name);
    hsize_t elements = 1;
    for (const hsize_t extent : shape)
      if (__builtin_mul_overflow(elements, extent, &elements) || elements > (hsize_t{1} << 48))
        throw DamagedFileError(path.string(), ": dataset '", name, "' claims an impossible size");
    if (elements > 0) {
      Handle creation(H5Dget_create_plist(set), H5Pclose);
      if (H5Pget_layout(creation) != H5D_CHUNKED || H5Pget_nfilters(creation) != 1)
        throw DamagedFileError(path.string(), ": dataset '", name, "' has no checksum");
      if (H5Dget_storage_size(set) == 0) throw DamagedFileError(path.string(), ": dataset '", name, "' was never written");
    }
    void* data = allocate(shape);
    if (elements > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) fail("dataset '" + name + "'");
  }

  at::ScalarType dtype(const std::string& name) const {
    require(name);
    const std::string stored = text_attribute(name, "dtype");
    for (const auto& row : types)
      if (stored == row.name) return row.type;
    throw UserError(path.string(), ": dataset '", name, "' holds ", stored, ", not a tensor");
  }

  at::Tensor tensor(const std::string& name) const {
    const at::ScalarType type = dtype(name);
    const bool scalar = H5Aexists_by_name(file, name.c_str(), "scalar", H5P_DEFAULT) > 0;
    at::Tensor result;
    read(name, stored_type(type), [&](const std::vector<hsize_t>& shape) {
      std::vector<std::int64_t> sizes(shape.begin(), shape.end());
      if (scalar && sizes != std::vector<std::int64_t>{1}) throw DamagedFileError(path.string(), ": dataset '", name, "' is no scalar");
      if (scalar) sizes.clear();
      result = at::empty(sizes, at::TensorOptions().dtype(type));
      return result.mutable_data_ptr();
    });
    return result;
  }

  std::string text(const std::string& name) const {
    require(name);
    if (text_attribute(name, "dtype") != "utf-8") throw UserError(path.string(), ": dataset '", name, "' is not a text");
    std::string value;
    read(name, stored_type(at::kByte), [&](const std::vector<hsize_t>& shape) {
      value.resize(shape.empty() ? 1 : shape[0]);
      return value.data();
    });
    return value;
  }

  bool is_group(const std::string& name) const {
    Handle object(H5Oopen(file, name.c_str(), H5P_DEFAULT), H5Oclose);
    if (object < 0) fail("'" + name + "'");
    return H5Iget_type(object) == H5I_GROUP;
  }

  // Calls visit(name) for every dataset below `group` ("" is the root).
  void walk(const std::string& group, const std::function<void(const std::string&)>& visit, int depth = 0) const {
    if (depth > 64) throw DamagedFileError(path.string(), ": its groups contain themselves");
    for (const auto& child : names(group.empty() ? "/" : group)) {
      const std::string name = group.empty() ? child : group + "/" + child;
      if (is_group(name)) walk(name, visit, depth + 1);
      else visit(name);
    }
  }
};

Hdf5File Hdf5File::open(const std::filesystem::path& path, const Schema& schema, std::int64_t oldest_version) {
  // HDF5 has one answer for many reasons why a file does not open: the system is asked first, with the first byte.
  const int fd = open_for_reading(path);
  char byte = 0;
  const bool readable = ::pread(fd, &byte, 1, 0) >= 0;
  const int failure = errno;
  ::close(fd);
  if (!readable) throw SystemError(path.string(), ": reading the file failed: ", base::errno_text(failure), ". The file stays as it is.");
  Library library;
  auto state = std::make_shared<State>();
  state->path = path;
  state->file = Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access_list()), H5Fclose);
  if (state->file < 0) state->fail("the file (truncated, or not HDF5)");
  if (H5Aexists(state->file, "schema") <= 0 || H5Aexists(state->file, "schema_version") <= 0)
    throw ForeignFileError(path.string(), ": is an HDF5 file, but not one of this program's (it names no schema); '", schema.name, "' was expected");
  const std::string found = state->text_attribute("/", "schema");
  state->version = state->value_attribute<std::int64_t>("/", "schema_version", H5T_INTEGER, H5T_NATIVE_INT64);
  if (found != schema.name) throw ForeignFileError(path.string(), ": holds '", found, "', '", schema.name, "' was expected");
  if (state->version < oldest_version || state->version > schema.version)
    throw ForeignFileError(path.string(), ": has version ", state->version, " of '", schema.name, "', this program reads ", oldest_version, " to ",
                           schema.version, state->version > schema.version ? ". It was written by a newer program." : "");
  Hdf5File file;
  file.state_ = std::move(state);
  return file;
}

const std::filesystem::path& Hdf5File::path() const { return state_->path; }
std::int64_t Hdf5File::version() const { return state_->version; }

bool Hdf5File::contains(const std::string& name) const {
  Library library;
  return state_->exists(name);
}

std::vector<std::string> Hdf5File::names(const std::string& group) const {
  Library library;
  state_->require(group);
  return state_->names(group);
}

at::Tensor Hdf5File::tensor(const std::string& name) const {
  Library library;
  return state_->tensor(name);
}

std::vector<std::int64_t> Hdf5File::shape(const std::string& name) const {
  Library library;
  if (H5Aexists_by_name(state_->file, name.c_str(), "scalar", H5P_DEFAULT) > 0) return {};
  const auto extents = state_->extents(state_->open_dataset(name), name);
  return {extents.begin(), extents.end()};
}

at::ScalarType Hdf5File::dtype(const std::string& name) const {
  Library library;
  return state_->dtype(name);
}

std::string Hdf5File::text(const std::string& name) const {
  Library library;
  return state_->text(name);
}

NamedTensors Hdf5File::tensors(const std::string& group) const {
  Library library;
  state_->require(group);
  NamedTensors tensors;
  state_->walk(group == "/" ? "" : group, [&](const std::string& name) {
    if (state_->text_attribute(name, "dtype") != "utf-8") tensors[group == "/" ? name : name.substr(group.size() + 1)] = state_->tensor(name);
  });
  return tensors;
}

std::int64_t Hdf5File::integer_attribute(const std::string& object, const std::string& name) const {
  Library library;
  state_->require(object);
  return state_->value_attribute<std::int64_t>(object, name, H5T_INTEGER, H5T_NATIVE_INT64);
}

double Hdf5File::number_attribute(const std::string& object, const std::string& name) const {
  Library library;
  state_->require(object);
  return state_->value_attribute<double>(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE);
}

std::string Hdf5File::text_attribute(const std::string& object, const std::string& name) const {
  Library library;
  state_->require(object);
  return state_->text_attribute(object, name);
}

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
  Library library;
  state_->require(object);
  return H5Aexists_by_name(state_->file, object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

void Hdf5File::verify() const {
  Library library;
  state_->walk("", [&](const std::string& name) {
    if (state_->text_attribute(name, "dtype") == "utf-8") state_->text(name);
    else state_->tensor(name);
  });
}

}  // namespace magicid::storage
