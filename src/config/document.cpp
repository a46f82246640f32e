#include "config/document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>

#include "base/errors.h"
#include "base/text.h"

namespace magicid::config {
namespace {

using base::UserError;

constexpr int depth_limit = 32;
constexpr std::size_t node_limit = 100'000;  // aliases of aliases grow exponentially

std::string line_of(const std::string& file, const YAML::Mark& mark) { return mark.is_null() ? file : base::concat(file, ":", mark.line + 1); }

struct Converter {
  std::string file;
  std::filesystem::path base;
  bool numbered = true;  // false for an override, whose origin is the option itself
  std::size_t nodes = 0;

  std::string where(const YAML::Mark& mark) const { return numbered ? line_of(file, mark) : file; }

  Node convert(const YAML::Node& yaml, int depth, const YAML::Mark& fallback) {
    const YAML::Mark mark = yaml.Mark().is_null() || yaml.IsNull() ? fallback : yaml.Mark();
    Node node;
    node.where = where(mark);
    node.base = base;
    if (depth > depth_limit) throw UserError(node.where, ": nested deeper than ", depth_limit, " levels. Does an alias contain itself?");
    if (++nodes > node_limit) throw UserError(node.where, ": the document has more than ", node_limit, " values once its aliases are expanded");
    const std::string& tag = yaml.Tag();
    if (!tag.empty() && tag != "?" && tag != "!") throw UserError(node.where, ": has the explicit tag '", tag, "'. Leave it out: each key knows its own type.");
    switch (yaml.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null: break;
      case YAML::NodeType::Scalar:
        node.kind = Node::Kind::scalar;
        node.text = yaml.Scalar();
        node.quoted = tag == "!";
        break;
      case YAML::NodeType::Sequence:
        node.kind = Node::Kind::sequence;
        for (const auto& element : yaml) node.elements.push_back(convert(element, depth + 1, mark));
        break;
      case YAML::NodeType::Map:
        node.kind = Node::Kind::mapping;
        for (const auto& pair : yaml) {
          const std::string key_where = where(pair.first.Mark());
          if (!pair.first.IsScalar()) throw UserError(key_where, ": a key must be a word");
          const std::string key = pair.first.Scalar();
          if (key == "<<") throw UserError(key_where, ": merge keys (<<) are not supported. Write the keys out, or alias single values.");
          for (std::size_t i = 0; i < node.members.size(); ++i)
            if (node.members[i].first == key) throw UserError(key_where, ": key '", key, "' stands twice; it was first given at ", node.key_where[i]);
          node.key_where.push_back(key_where);
          node.members.emplace_back(key, convert(pair.second, depth + 1, pair.first.Mark()));
        }
        break;
    }
    return node;
  }
};

// The parser's own words for a tab ("illegal map value" among them) do not say that it is one.
bool indented_with_tab(std::string_view yaml, int line) {
  for (int i = 0; i < line; ++i) {
    const auto end = yaml.find('\n');
    if (end == std::string_view::npos) return false;
    yaml.remove_prefix(end + 1);
  }
  const auto text = yaml.find_first_not_of(" \t");
  return yaml.substr(0, std::min(text, yaml.size())).find('\t') != std::string_view::npos;
}

// Only to count documents. YAML::LoadAll would do, but it never ends on a stream that begins with a comma (yaml-cpp 0.7), and
// YAML::Load silently drops whatever follows the first document.
struct Ignore : YAML::EventHandler {
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

bool has_second_document(const std::string& yaml) {
  std::istringstream in(yaml);
  YAML::Parser parser(in);
  Ignore ignore;
  return parser.HandleNextDocument(ignore) && parser.HandleNextDocument(ignore);
}

Node quoted_text(const std::string& text, const std::string& where) {
  Node node;
  node.kind = Node::Kind::scalar;
  node.text = text;
  node.quoted = true;
  node.where = where;
  return node;
}

// Later values win; sections are merged key by key.
void merge(Node& into, Node from) {
  if (into.kind != Node::Kind::mapping || from.kind != Node::Kind::mapping) {
    into = std::move(from);
    return;
  }
  for (std::size_t i = 0; i < from.members.size(); ++i) {
    auto& [key, value] = from.members[i];
    if (Node* old = into.find(key)) {
      merge(*old, std::move(value));
    } else {
      into.members.emplace_back(key, std::move(value));
      into.key_where.push_back(from.key_where[i]);
    }
  }
}

bool looks_like_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789+-.eE_") == std::string::npos && text.find_first_of("0123456789") != std::string::npos;
}

}  // namespace

Node* Node::find(std::string_view key) {
  for (auto& [name, value] : members)
    if (name == key) return &value;
  return nullptr;
}

const Node* Node::find(std::string_view key) const { return const_cast<Node*>(this)->find(key); }

std::string Node::kind_name() const {
  switch (kind) {
    case Kind::null: return "no value";
    case Kind::sequence: return "a list";
    case Kind::mapping: return "a section";
    case Kind::scalar: break;
  }
  const std::string shown = text.size() > 60 ? text.substr(0, 57) + "..." : text;
  if (quoted) return "the text \"" + shown + "\" in quotes";
  return (looks_like_number(text) ? "the number " : "the word ") + shown;
}

Node parse_yaml(std::string_view yaml, const std::filesystem::path& name) {
  const std::string text = base::decode_file(yaml, name.string());
  YAML::Node document;
  try {
    if (has_second_document(text))
      throw UserError(
          name.string(),
          ": holds several documents, or text that belongs to no key ('---' in the middle, a stray comma or bracket); a configuration is one document");
    document = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    if (!error.mark.is_null() && indented_with_tab(text, error.mark.line))
      throw UserError(line_of(name.string(), error.mark), ": the line is indented with a tab. YAML wants spaces.");
    throw UserError(line_of(name.string(), error.mark), ": not valid YAML: ", error.msg);
  }
  std::error_code code;
  const auto absolute = std::filesystem::absolute(name, code);
  Converter converter{name.string(), absolute.parent_path()};
  Node root;
  if (!document.IsNull()) root = converter.convert(document, 0, YAML::Mark::null_mark());
  if (root.kind == Node::Kind::null) {
    root.kind = Node::Kind::mapping;
    root.where = name.string();
    root.base = absolute.parent_path();
  }
  if (root.kind != Node::Kind::mapping) throw UserError(root.where, ": the file is ", root.kind_name(), "; lines of the form 'key: value' were expected");
  return root;
}

void apply_override(Node& root, const std::string& argument) {
  const std::string assignment = base::decode_text(argument, "--set " + base::escape_invalid_utf8(argument.substr(0, argument.find('='))));
  const auto equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) throw UserError("--set ", assignment, ": expected section.key=value, e.g. --set optimize.beta=50");
  const std::string key = assignment.substr(0, equals);
  const std::string raw = assignment.substr(equals + 1);
  const std::string where = "--set " + key;

  std::error_code code;
  Node value;
  try {
    Converter converter{where, std::filesystem::current_path(code), false};
    value = converter.convert(YAML::Load(raw), 0, YAML::Mark::null_mark());
  } catch (const YAML::Exception&) {  // a prompt with a colon or a bracket is a text, not broken YAML
    value = quoted_text(raw, where);
    value.base = std::filesystem::current_path(code);
  }
  if (!(value.kind == Node::Kind::scalar && value.quoted)) value.raw = raw;

  // optimize.beta=50 is the tree {optimize: {beta: 50}}.
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (;;) {
    const auto dot = key.find('.', start);
    parts.push_back(key.substr(start, dot - start));
    if (parts.back().empty()) throw UserError("--set ", assignment, ": '", key, "' has an empty part");
    if (dot == std::string::npos) break;
    start = dot + 1;
  }
  const Node* at = &root;
  std::string path;
  for (std::size_t i = 0; i + 1 < parts.size() && at; ++i) {
    path += (i ? "." : "") + parts[i];
    at = at->find(parts[i]);
    if (at && at->kind != Node::Kind::mapping && at->kind != Node::Kind::null)
      throw UserError("--set ", assignment, ": '", path, "' is ", at->kind_name(), " at ", at->where, ", not a section");
  }
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    Node parent;
    parent.kind = Node::Kind::mapping;
    parent.where = where;
    parent.base = value.base;
    parent.members.emplace_back(*part, std::move(value));
    parent.key_where.push_back(where);
    value = std::move(parent);
  }
  merge(root, std::move(value));
}

}  // namespace magicid::config
