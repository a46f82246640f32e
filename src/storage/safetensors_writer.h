// A safetensors file whose tensors are made while it is written.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "storage/safetensors.h"

namespace magicid::storage {

// A tensor of a file that is not yet there.
struct PlannedTensor {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
};

// As write_safetensors(), from tensors that are made one after another in the file's order, each let go before the next: `make` gives that of a name, of the
// planned dtype and shape.
void write_safetensors_one_by_one(const std::filesystem::path& path, const std::vector<PlannedTensor>& plan,
                                  const std::function<at::Tensor(const std::string& name)>& make, const std::map<std::string, std::string>& metadata = {});

}  // namespace magicid::storage
