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
  std::vector<std::string> conditions;  // of each pair: the rendered prompt that it is trained under
  nlohmann::json candidates;            // list of {key, source, prompt, text, strength, raw and normalised rewards, front, rejection, preview}
  nlohmann::json ranges;                // raw minimum and maximum of each reward, behind the normalisation

  void save(const std::filesystem::path& path) const;
  // Throws as storage::Hdf5File does; so of version 1, which held no conditions: `select` makes it anew.
  static PairsFile load(const std::filesystem::path& path);
};

}  // namespace magicid::commands
