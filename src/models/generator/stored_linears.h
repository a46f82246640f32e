// The weights of a model's adaptable Linears as its folder holds them, without loading the network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "models/generator/adaptable.h"
#include "storage/safetensors.h"

namespace magicid::models::generator {

// A tensor NAME.weight that holds some rows of a Linear.
struct StoredRows {
  std::string name;
  std::int64_t rows = 0;
};
// Of each module, in row order. A folder may instead hold the whole under the module's own name.
using StoredParts = std::map<std::string, std::vector<StoredRows>>;

class StoredLinears {
 public:
  // Reads headers only. `folder` is the denoiser's. Throws UserError as nn::Weights::open_folder, and, in one message, for every Linear that is not there as a
  // whole or in its parts, has another shape, or is of a type that nothing can be added to (fp8, integers).
  static StoredLinears open(const Adaptable& network, const StoredParts& parts, const std::filesystem::path& folder);

  // Rows of a module in one tensor of a file.
  struct Rows {
    std::string tensor;  // with ".weight"
    std::int64_t first = 0, count = 0;
  };
  const std::vector<Rows>& rows_of(const std::string& module) const;
  const std::vector<storage::SafetensorsFile>& files() const { return files_; }
  const std::filesystem::path& folder() const { return folder_; }

  // The Frobenius norm of the module's weight; reads it.
  double norm(const std::string& module) const;

 private:
  std::filesystem::path folder_;
  std::vector<storage::SafetensorsFile> files_;
  std::map<std::string, std::size_t> file_of_;  // by tensor
  std::map<std::string, std::vector<Rows>> rows_;
};

}  // namespace magicid::models::generator
