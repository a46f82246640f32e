#include "models/generator/stored_linears.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <sstream>

#include "base/errors.h"
#include "models/nn/weight_files.h"

namespace magicid::models::generator {

StoredLinears StoredLinears::open(const Adaptable& network, const StoredParts& parts, const std::filesystem::path& folder) {
  StoredLinears stored;
  stored.folder_ = folder;
  std::map<std::filesystem::path, std::size_t> known;
  for (const auto& [name, file] : nn::find_weights(folder)) {
    const auto [place, fresh] = known.emplace(file.path(), stored.files_.size());
    if (fresh) stored.files_.push_back(file);
    stored.file_of_.emplace(name, place->second);
  }

  std::vector<std::string> problems;
  const auto find = [&](const std::string& tensor, std::int64_t rows, std::int64_t columns) {
    const auto found = stored.file_of_.find(tensor);
    if (found == stored.file_of_.end()) return problems.push_back(tensor + ": missing");
    const auto& file = stored.files_[found->second];
    const auto shape = file.shape(tensor);
    if (shape != std::vector<std::int64_t>{rows, columns})
      problems.push_back(base::concat(tensor, ": has shape ", c10::IntArrayRef(shape), "; expected [", rows, ", ", columns, "]"));
    const auto dtype = file.dtype(tensor);
    if (dtype != at::kDouble && dtype != at::kFloat && dtype != at::kHalf && dtype != at::kBFloat16)
      problems.push_back(base::concat(tensor, ": is of type ", dtype, "; expected float32, float16 or bfloat16"));
  };
  for (const auto& linear : network.linears) {
    auto& rows = stored.rows_[linear.name];
    if (stored.file_of_.contains(linear.name + ".weight")) {
      rows.push_back({linear.name + ".weight", 0, linear.out});
    } else {
      std::int64_t first = 0;
      for (const auto& part : parts.at(linear.name)) {
        rows.push_back({part.name + ".weight", first, part.rows});
        first += part.rows;
      }
    }
    for (const auto& part : rows) find(part.tensor, part.count, linear.in);
  }
  if (problems.empty()) return stored;
  std::ostringstream text;
  text << folder.string() << ": " << problems.size() << " weights of the blocks are not as the configuration says:";
  for (std::size_t i = 0; i < problems.size() && i < 20; ++i) text << "\n  " << problems[i];
  if (problems.size() > 20) text << "\n  and " << problems.size() - 20 << " more";
  throw base::UserError(text.str());
}

const std::vector<StoredLinears::Rows>& StoredLinears::rows_of(const std::string& module) const {
  const auto found = rows_.find(module);
  base::check_invariant(found != rows_.end(), "no Linear '", module, "' is stored");
  return found->second;
}

double StoredLinears::norm(const std::string& module) const {
  const c10::AutoGradMode no_grad(false);
  double square = 0;
  for (const auto& rows : rows_of(module)) {
    const double part = files_[file_of_.at(rows.tensor)].at(rows.tensor).to(at::kFloat).norm().item<double>();
    square += part * part;
  }
  return std::sqrt(square);
}

}  // namespace magicid::models::generator
