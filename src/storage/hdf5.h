// HDF5 files of tensors, texts and attributes: the program's own formats. HDF5 is known only here.
//
// Every file names its schema and version, every dataset is chunked and carries a Fletcher32 checksum, and metadata is written in
// HDF5 1.10's format, which checksums it too. Files are written whole (temporary name, fsync, rename) and never appended to.
// Source: HDF5 File Format Specification 3.0. Thread-safe (calls are serialised); not collective: a file belongs to one process.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "storage/files.h"
#include "storage/safetensors.h"

namespace magicid::storage {

// The file was read, and it is torn or its bytes changed: set it aside, do not trust it.
class DamagedFileError : public base::UserError {
  using UserError::UserError;
};
// A whole file, but of another schema or of a version that this program does not read.
class ForeignFileError : public base::UserError {
  using UserError::UserError;
};

struct Schema {
  std::string name;  // "magicid.checkpoint"
  std::int64_t version = 1;
};

// Names of datasets are paths: "tensors/a.weight" makes the group "tensors". A path has no empty, "." or ".." component.
class Hdf5Writer {
 public:
  // Any shape (scalars, zero sizes), stride and device; fp64, fp32, fp16, bf16, int8 to int64, uint8, bool: lossless. The dataset's
  // attribute `dtype` names the type; bf16 is stored as uint16 with its bits.
  void tensor(const std::string& name, const at::Tensor& value);
  // UTF-8 text of any length, stored as bytes.
  void text(const std::string& name, const std::string& value);
  void group(const std::string& name);
  // Attributes of a group or dataset written before; "/" is the file itself.
  void attribute(const std::string& object, const std::string& name, std::int64_t value);
  void attribute(const std::string& object, const std::string& name, double value);
  void attribute(const std::string& object, const std::string& name, const std::string& value);

 private:
  friend void write_hdf5(const std::filesystem::path&, const Schema&, const std::function<void(Hdf5Writer&)>&);
  struct State;
  explicit Hdf5Writer(State& state) : state_(state) {}
  State& state_;
};

// Creates the file, calls `fill`, makes the result durable under `path`. Throws SystemError (disk full, permission, ...) naming the
// file and the dataset; nothing is left behind then, and an earlier file of that name is unchanged.
void write_hdf5(const std::filesystem::path& path, const Schema& schema, const std::function<void(Hdf5Writer&)>& fill);

// A file opened for reading. Every reading call throws DamagedFileError naming file and dataset when a checksum fails, SystemError when
// the disk or the memory does (the file may be intact then), and UserError with the nearest name when there is no such dataset.
class Hdf5File {
 public:
  // Throws MissingFileError, UserError (not a regular file), SystemError (it cannot be opened or read now), DamagedFileError (not HDF5, truncated),
  // ForeignFileError (another schema, or a version outside oldest_version..schema.version).
  static Hdf5File open(const std::filesystem::path& path, const Schema& schema, std::int64_t oldest_version = 1);

  const std::filesystem::path& path() const;
  std::int64_t version() const;
  bool contains(const std::string& name) const;
  // Children of a group, sorted; "/" is the root.
  std::vector<std::string> names(const std::string& group = "/") const;

  at::Tensor tensor(const std::string& name) const;  // on the CPU, contiguous
  std::vector<std::int64_t> shape(const std::string& name) const;
  at::ScalarType dtype(const std::string& name) const;
  std::string text(const std::string& name) const;
  // All tensors below a group, with names relative to it.
  NamedTensors tensors(const std::string& group) const;

  std::int64_t integer_attribute(const std::string& object, const std::string& name) const;
  double number_attribute(const std::string& object, const std::string& name) const;
  std::string text_attribute(const std::string& object, const std::string& name) const;
  bool has_attribute(const std::string& object, const std::string& name) const;

  // Reads every dataset, so that every checksum is checked. Throws as reading does.
  void verify() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace magicid::storage
