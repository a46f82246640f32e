// A YAML document as a plain tree that remembers where each value was written. Internal to config/.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace magicid::config {

struct Node {
  enum class Kind { null, scalar, sequence, mapping };
  Kind kind = Kind::null;
  std::string text;                                   // of a scalar, as written
  bool quoted = false;                                // a scalar in quotes, or a block scalar: a text whatever it looks like
  std::string where;                                  // "configs/a.yaml:12" or "--set optimize.beta"
  std::filesystem::path base;                         // what relative paths are relative to
  std::vector<Node> elements;                         // of a sequence
  std::vector<std::pair<std::string, Node>> members;  // of a mapping, in the order of the file; `key_where` beside them
  std::vector<std::string> key_where;
  std::string raw;  // an override's value as typed, for options that are texts; empty otherwise

  Node* find(std::string_view key);
  const Node* find(std::string_view key) const;
  std::string kind_name() const;  // "a list", "the number 3", "the text \"x\"", "a section", "no value"
};

// Parses one document; an empty one is an empty mapping. Throws UserError with file and line for bytes that are not UTF-8, broken YAML, several documents,
// duplicate keys, explicit tags and nesting beyond any configuration.
Node parse_yaml(std::string_view yaml, const std::filesystem::path& name);

// Puts "optimize.beta=50" into the tree; the value is YAML, so lists are written [a, b]. Throws UserError.
void apply_override(Node& root, const std::string& assignment);

}  // namespace magicid::config
