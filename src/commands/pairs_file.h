// pairs.h5: what `select` decided and from which numbers.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "preference/pairs.h"

namespace magicid::commands {

struct PairsFile {
  preference::Selection selection;
  nlohmann::json candidates;  // list of {key, source, prompt, text, strength, raw and normalised rewards, front, rejection, preview}
  nlohmann::json ranges;      // raw minimum and maximum of each reward, behind the normalisation

  void save(const std::filesystem::path& path) const;
  static PairsFile load(const std::filesystem::path& path);
};

}  // namespace magicid::commands
