// Training that begins with another adapter's values.
#pragma once

#include <string>
#include <vector>

#include "models/generator/adapter.h"

namespace magicid::models::generator {

// The modules that Adapter::create() makes, without their values. Throws as it does.
std::vector<AdapterModule> planned_modules(const Adaptable& network, const AdapterOptions& options);

// Whether `from` can be what an adapter of these modules begins with: the same modules at the same ranks, all numbers finite. The alphas may differ. Throws
// UserError naming `origin` and every difference, with the settings that would fit where there are some.
void check_beginning(const std::vector<AdapterModule>& wanted, const Adapter& from, const std::string& origin);

// Sets the parameters to those of `from`: the same bits where the scales agree; else B is scaled, so that the adapter computes the same with its own alpha.
// Throws as check_beginning.
void begin_with(Adapter& adapter, const Adapter& from, const std::string& origin);

}  // namespace magicid::models::generator
