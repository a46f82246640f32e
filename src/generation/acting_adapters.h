// Adapters that act in a part of the denoising each.
#pragma once

#include <map>
#include <vector>

#include "models/generator/adapter.h"

namespace magicid::generation {

// Noise levels, from pure noise (1) to the video (0).
struct SigmaRange {
  double above = 0, up_to = 1;
  bool contains(double sigma) const { return sigma > above && sigma <= up_to; }
  bool operator==(const SigmaRange&) const = default;
};

struct AppliedAdapter {
  const models::generator::Adapter* adapter = nullptr;
  SigmaRange sigmas = {};
};

// Which adapter the network is called with at each noise level: none, the one that acts there itself, or one joined of all that do, made once for each set.
class ActingAdapters {
 public:
  // `adapters` must outlive this object. Throws UserError for a range that holds no sigma of 0..1.
  ActingAdapters(std::vector<AppliedAdapter> adapters, const models::nn::Placement& placement);

  // Null: the bare model.
  const models::generator::Adapter* at(double sigma);
  // How many act at once there.
  std::size_t count(double sigma) const;

 private:
  std::vector<AppliedAdapter> adapters_;
  models::nn::Placement placement_;
  std::map<std::vector<bool>, models::generator::Adapter> joined_;  // by which of the adapters act
};

}  // namespace magicid::generation
