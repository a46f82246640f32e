// What a description prints: the resolved configuration, the reference for the manual, JSON for fingerprints.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "config/reader.h"

namespace magicid::config {

// Every key with its present value, as YAML that read_text() reads back to the same values, and that YAML 1.1 and 1.2 readers agree
// on: texts in double quotes, numbers with all their digits. With `comments`, each key's help and bounds stand above it.
std::string resolved_yaml(const Describe& describe, bool comments = true);

// Markdown for docs/configuration.md: for each section a heading and a table of key, type, default (the present value), range, help.
std::string reference_markdown(const Describe& describe);

enum class FieldSet {
  all,
  fingerprint,  // fields whose Help says that they change results
};
// Nested objects of the values, sections as objects (to_json(...)["optimize"] is one stage's options). Sections without fields are
// left out. Canonical once dumped: keys are sorted and numbers are their shortest round-trip form; a double is a JSON float even when it is whole.
nlohmann::json to_json(const Describe& describe, FieldSet fields);

// For one room's options.
template <class Options>
Describe described(Options& options) {
  return [&options](Fields& fields) { describe(fields, options); };
}

}  // namespace magicid::config
