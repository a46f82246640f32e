// Reading a configuration: YAML, overrides of the command line, checks. The only place that knows YAML is config/.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"

namespace magicid::config {

// Names the fields of the root options, with their present values as defaults.
using Describe = std::function<void(Fields&)>;

// Reads `file` into the described options, then `overrides` ("optimize.beta=50", as --set takes them), which win.
//
// A key's type is decided by its description, never by the look of its value: `name: no` is the text "no", `1e-4` is a number,
// `beta: "50"` is a mistake. Throws one UserError that lists every problem with file:line or --set and the key: unknown keys with the
// nearest valid name, wrong types (found, expected), values out of bounds, missing required keys; when there is none of these, the
// broken rules of require(). Duplicate keys and broken YAML end reading at once. Options are unspecified after an error.
void read(const std::filesystem::path& file, const Describe& describe, const std::vector<std::string>& overrides = {});
// The same for text in memory; `name` stands for the file in messages, and relative paths are relative to its folder.
void read_text(std::string_view yaml, const std::filesystem::path& name, const Describe& describe, const std::vector<std::string>& overrides = {});

template <class Options>
void read_into(const std::filesystem::path& file, Options& options, const std::vector<std::string>& overrides = {}) {
  read(file, [&](Fields& fields) { describe(fields, options); }, overrides);
}

}  // namespace magicid::config
