#include "models/nn/weight_source.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/clone.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/errors.h"
#include "base/names.h"
#include "storage/files.h"
#include "storage/mapped_file.h"
#include "storage/onnx_file.h"
#include "storage/safetensors.h"
#include "storage/torch_file.h"

namespace magicid::models::nn {
namespace {

using base::UserError;
namespace fs = std::filesystem;

void add_tensor(WeightSource& source, const std::string& name, SourceTensor tensor) {
  tensor.name = name;
  if (!source.tensors.emplace(name, std::move(tensor)).second) throw UserError(source.path.string(), ": tensor '", name, "' stands in two of its files");
}

// A tensor of its own, after which the pages of the mapping that it came from are let go: else a file that is read from end to end would stand in memory whole,
// in the account of a job's memory too. They are read again when they are looked at again, for nobody writes to them.
at::Tensor detached(const at::Tensor& view) {
  if (view.nbytes() == 0 || view.storage().unsafeGetStorageImpl()->resizable()) return view;  // a copy already: a view on foreign memory cannot be resized
  at::Tensor copy = view.clone();
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(view.const_data_ptr()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(view.const_data_ptr()) + view.nbytes();
  ::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
  return copy;
}

template <class File>
void add_tensors(WeightSource& source, const File& file) {
  for (const auto& name : file.names()) add_tensor(source, name, {file.dtype(name), file.shape(name), [file, name] { return detached(file.at(name)); }, {}});
}

void add_file(WeightSource& source, const fs::path& path) {
  const auto mapped = storage::MappedFile::open(path);
  const auto head = mapped->view(0, std::min<std::uint64_t>(mapped->size(), 8));
  if (head.starts_with("GGUF"))
    throw UserError(path.string(),
                    ": is a GGUF file, whose weights are quantised in blocks; they are not read. Take the model's safetensors in bf16, fp16 or fp8");
  if (head.starts_with("\x89HDF")) throw UserError(path.string(), ": is an HDF5 file: one of this program's own, or another program's; weights were expected");
  if (storage::TorchFile::is_torch_file(path)) {
    source.format = "torch.save";
    const auto file = storage::TorchFile::open(path);
    add_tensors(source, file);
    source.numbers.insert(file.numbers().begin(), file.numbers().end());
  } else if (storage::OnnxFile::is_onnx(*mapped) && path.extension() != ".safetensors") {
    source.format = "ONNX";
    const auto file = std::make_shared<const storage::OnnxFile>(storage::OnnxFile::open(path));
    for (const auto& name : file->names()) add_tensor(source, name, {file->dtype(name), file->shape(name), [file, name] { return file->at(name); }, {}});
    source.onnx = file;
  } else {
    source.format = "safetensors";
    const auto file = storage::SafetensorsFile::open(path);
    add_tensors(source, file);
    source.metadata.insert(file.metadata().begin(), file.metadata().end());
  }
}

// The weights of a folder: safetensors where there are any, else what torch.save wrote.
std::vector<fs::path> weight_files(const fs::path& folder) {
  std::vector<fs::path> safetensors, pickles;
  for (const auto& path : storage::list_folder(folder)) {
    const std::string extension = path.extension().string();
    if (extension == ".safetensors") safetensors.push_back(path);
    else if (extension == ".bin" || extension == ".pt" || extension == ".pth") pickles.push_back(path);
  }
  if (safetensors.empty() && pickles.empty())
    throw UserError(folder.string(),
                    ": holds no weights; *.safetensors, *.bin, *.pt or *.pth was expected. Of a folder of several networks name the network's own");
  return safetensors.empty() ? pickles : safetensors;
}

}  // namespace

WeightSource WeightSource::open(const fs::path& path) {
  WeightSource source;
  source.path = path;
  if (!fs::is_directory(path)) {
    add_file(source, path);
    return source;
  }
  for (const auto& file : weight_files(path)) add_file(source, file);
  return source;
}

std::int64_t WeightSource::size(const std::string& name, std::size_t dimension) const {
  const auto it = tensors.find(name);
  if (it == tensors.end()) throw UserError(path.string(), ": has no tensor '", name, "', from which a size of the network is read. Was the download complete?");
  if (it->second.shape.size() <= dimension || it->second.shape[dimension] < 1)
    throw UserError(path.string(), ": tensor '", it->second.name, "' has ", it->second.shape.size(),
                    " dimensions, from which a size of the network cannot be read");
  return it->second.shape[dimension];
}

std::int64_t WeightSource::count(const std::string& before, const std::string& after) const {
  for (std::int64_t n = 0;; ++n) {
    const std::string name = before + std::to_string(n) + after;
    const auto it = tensors.lower_bound(name);
    if (it == tensors.end() || !it->first.starts_with(name)) return n;
  }
}

std::optional<std::string> WeightSource::prefix_of(const std::string& signature) const {
  std::vector<std::string> prefixes;
  for (const auto& [name, tensor] : tensors)
    if (name == signature || name.ends_with("." + signature)) prefixes.push_back(name.substr(0, name.size() - signature.size()));
  if (prefixes.empty()) return std::nullopt;
  if (prefixes.size() == 1) return prefixes[0];
  for (const char* usual : {"", "module.", "state_dict."})
    if (std::find(prefixes.begin(), prefixes.end(), usual) != prefixes.end()) return usual;
  throw UserError(path.string(), ": holds the same network several times, below ", base::join_names(prefixes), ". Keep one of them in a file of its own");
}

WeightSource WeightSource::below(const std::string& prefix) const {
  WeightSource part = *this;
  part.tensors.clear();
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) part.tensors.emplace(name.substr(prefix.size()), tensor);
  return part;
}

WeightSource WeightSource::renamed(const std::function<std::string(const std::string&)>& rename) const {
  WeightSource result = *this;
  result.tensors.clear();
  for (const auto& [name, tensor] : tensors)
    if (const auto [it, added] = result.tensors.emplace(rename(name), tensor); !added)
      throw UserError(path.string(), ": tensors '", it->second.name, "' and '", tensor.name, "' are two names of one");
  return result;
}

}  // namespace magicid::models::nn
