// What an adapter does to its model, in figures.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/generator/adapter.h"

namespace magicid::models::generator {

struct ModuleNorms {
  AdapterModule module;
  double product = 0;            // Frobenius norm of scale * B A; NaN when A or B is not finite
  std::optional<double> weight;  // of the model's own weight
  bool finite = true;
};

struct BlockNorms {
  std::string block;   // "double_blocks.0"
  double product = 0;  // over the block's modules, as one vector
  std::optional<double> weight;
};

struct AdapterSummary {
  std::vector<ModuleNorms> modules;  // in the blocks' order
  std::vector<BlockNorms> blocks;
  double product = 0;
  std::int64_t parameters = 0;
  std::vector<std::string> warnings;  // it does nothing, it is not finite, ...
};

// `weight_norm` gives the Frobenius norm of a module's own weight; may be empty. In fp64 from the factors' Gram matrices: no matrix of the model's size is
// made.
AdapterSummary summarize(const Adapter& adapter, const std::function<double(const std::string& module)>& weight_norm = {});

// Names of modules with a number in A or B that is not finite.
std::vector<std::string> modules_not_finite(const Adapter& adapter);

}  // namespace magicid::models::generator
