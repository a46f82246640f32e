#include "models/generator/adapter_file.h"

#include <utility>

#include "base/log.h"
#include "models/generator/backbone.h"

namespace magicid::models::generator {

Adapter take_adapter(LoadedAdapter&& file) {
  for (const auto& warning : file.warnings) base::log::warning(warning);
  return std::move(file.adapter);
}

Adapter Backbone::load_adapter(const std::filesystem::path& path, const nn::Placement& placement) const { return take_adapter(read_adapter(path, placement)); }

}  // namespace magicid::models::generator
