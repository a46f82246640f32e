#include "generation/acting_adapters.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"

namespace magicid::generation {

ActingAdapters::ActingAdapters(std::vector<AppliedAdapter> adapters, const models::nn::Placement& placement)
    : adapters_(std::move(adapters)), placement_(placement) {
  for (const auto& applied : adapters_)
    if (!(applied.sigmas.above >= 0 && applied.sigmas.above < applied.sigmas.up_to && applied.sigmas.up_to <= 1))
      throw base::UserError("an adapter's range of sigma is ", applied.sigmas.above, " to ", applied.sigmas.up_to,
                            "; two numbers within 0 (the video) and 1 (pure noise) were expected, the smaller one first");
}

std::size_t ActingAdapters::count(double sigma) const {
  return static_cast<std::size_t>(std::count_if(adapters_.begin(), adapters_.end(), [&](const auto& applied) { return applied.sigmas.contains(sigma); }));
}

const models::generator::Adapter* ActingAdapters::at(double sigma) {
  std::vector<bool> acting;
  std::vector<const models::generator::Adapter*> parts;
  for (const auto& applied : adapters_) {
    acting.push_back(applied.sigmas.contains(sigma));
    if (acting.back()) parts.push_back(applied.adapter);
  }
  if (parts.empty()) return nullptr;
  if (parts.size() == 1) return parts.front();
  const auto known = joined_.find(acting);
  if (known != joined_.end()) return &known->second;
  return &joined_.emplace(acting, models::generator::Adapter::joined(parts, placement_)).first->second;
}

}  // namespace magicid::generation
