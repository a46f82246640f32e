#include "config/reader.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/errors.h"
#include "base/names.h"
#include "base/text.h"
#include "config/document.h"

namespace magicid::config {
namespace {

using base::concat;

std::string shown(double value) {
  char buffer[40];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

// "at least 1 and at most 8"
std::string bounds_text(const Help& help) {
  std::string text;
  const auto add = [&](const char* words, const std::optional<double>& bound) {
    if (bound) text += (text.empty() ? "" : " and ") + std::string(words) + shown(*bound);
  };
  add("at least ", help.minimum);
  add("above ", help.above);
  add("at most ", help.maximum);
  return text;
}

bool within(const Help& help, double value) {
  return !(help.minimum && value < *help.minimum) && !(help.maximum && value > *help.maximum) && !(help.above && value <= *help.above);
}

// Full names of every key, to say in which section a misplaced one belongs.
class KeyCollector : public Fields {
 public:
  std::vector<std::string> keys;
  std::string prefix;

  void integer(const std::string& key, std::int64_t&, const Help&) override { keys.push_back(prefix + key); }
  void number(const std::string& key, double&, const Help&) override { keys.push_back(prefix + key); }
  void boolean(const std::string& key, bool&, const Help&) override { keys.push_back(prefix + key); }
  void text(const std::string& key, std::string&, const Help&) override { keys.push_back(prefix + key); }
  void path(const std::string& key, std::string&, const Help&) override { keys.push_back(prefix + key); }
  void choice(const std::string& key, std::string&, const std::vector<std::string>&, const Help&) override { keys.push_back(prefix + key); }
  void numbers(const std::string& key, std::vector<double>&, const Help&) override { keys.push_back(prefix + key); }
  void integers(const std::string& key, std::vector<std::int64_t>&, const Help&) override { keys.push_back(prefix + key); }
  void texts(const std::string& key, std::vector<std::string>&, const Help&) override { keys.push_back(prefix + key); }
  void choices(const std::string& key, std::vector<std::string>&, const std::vector<std::string>&, const Help&) override { keys.push_back(prefix + key); }
  void named_paths(const std::string& key, NamedPaths&, const Help&) override { keys.push_back(prefix + key); }
  void section(const std::string& key, const std::string&, const std::function<void(Fields&)>& inside) override {
    keys.push_back(prefix + key);
    const std::string outer = prefix;
    prefix += key + ".";
    inside(*this);
    prefix = outer;
  }
  void require(const std::string&, bool, const std::string&) override {}
};

// What all sections of one reading share.
struct Reading {
  std::string file;
  std::vector<std::string> all_keys;
  std::vector<std::string> problems;      // of single values
  std::vector<std::string> broken_rules;  // of combinations: meaningful only when every value was read
};

class SectionReader : public Fields {
 public:
  SectionReader(Reading& reading, const Node* node, std::string prefix) : reading_(reading), node_(node), prefix_(std::move(prefix)) {}

  void integer(const std::string& key, std::int64_t& value, const Help& help) override {
    if (const Node* node = take(key, help)) read_integer(key, *node, value, help);
  }
  void number(const std::string& key, double& value, const Help& help) override {
    if (const Node* node = take(key, help)) read_number(key, *node, value, help);
  }
  void boolean(const std::string& key, bool& value, const Help& help) override {
    const Node* node = take(key, help);
    if (!node) return;
    if (node->kind == Node::Kind::scalar && !node->quoted) {
      const std::string& text = node->text;
      if (text == "true" || text == "True" || text == "TRUE") {
        value = true;
        return;
      }
      if (text == "false" || text == "False" || text == "FALSE") {
        value = false;
        return;
      }
    }
    wrong_type(key, *node, "true or false");
  }
  void text(const std::string& key, std::string& value, const Help& help) override {
    if (const Node* node = take(key, help)) read_text(key, *node, value);
  }
  void path(const std::string& key, std::string& value, const Help& help) override {
    const Node* node = take(key, help);
    std::string text;
    if (node && read_string(key, *node, text, "a path")) value = resolve(key, text, *node);
  }
  void choice(const std::string& key, std::string& value, const std::vector<std::string>& allowed, const Help& help) override {
    if (const Node* node = take(key, help)) read_choice(key, *node, value, allowed);
  }
  void numbers(const std::string& key, std::vector<double>& value, const Help& help) override {
    list<double>(key, value, help, "numbers", "[0.1, 0.2]", [&](const Node& node, double& element) { read_number(key, node, element, help); });
  }
  void integers(const std::string& key, std::vector<std::int64_t>& value, const Help& help) override {
    list<std::int64_t>(key, value, help, "integers", "[1, 2]", [&](const Node& node, std::int64_t& element) { read_integer(key, node, element, help); });
  }
  void texts(const std::string& key, std::vector<std::string>& value, const Help& help) override {
    list<std::string>(key, value, help, "texts", "[one, two]", [&](const Node& node, std::string& element) { read_text(key, node, element); });
  }
  void choices(const std::string& key, std::vector<std::string>& value, const std::vector<std::string>& allowed, const Help& help) override {
    std::vector<std::string> seen;
    list<std::string>(key, value, help, "names", "[" + base::join_names(allowed) + "]", [&](const Node& node, std::string& element) {
      if (!read_choice(key, node, element, allowed)) return;
      if (std::find(seen.begin(), seen.end(), element) != seen.end()) problem(node.where, key, "lists '" + element + "' twice");
      seen.push_back(element);
    });
  }
  void named_paths(const std::string& key, NamedPaths& value, const Help& help) override {
    const Node* node = take(key, help);
    if (!node) return;
    if (node->kind == Node::Kind::null) return value.clear();  // "--set name="
    if (node->kind != Node::Kind::mapping) return wrong_type(key, *node, "names with paths such as {name: path}");
    NamedPaths result;
    for (const auto& [name, member] : node->members) {
      std::string text;
      if (member.kind == Node::Kind::null) {
        problem(member.where, key, "'" + name + "' has no path");
      } else if (read_string(key + "." + name, member, text, "a path")) {
        if (text.empty()) problem(member.where, key, "'" + name + "' has no path");
        const std::string composed = base::compose(name);
        for (const auto& [earlier, path] : result)
          if (earlier == composed) problem(member.where, key, "'" + name + "' stands twice");  // in two spellings: the document's own check compares bytes
        result.emplace_back(composed, resolve(key, text, member));
      }
    }
    value = std::move(result);
  }
  void section(const std::string& key, const std::string& help, const std::function<void(Fields&)>& inside) override {
    const Node* node = take(key, Help{}, true);
    if (node && node->kind != Node::Kind::mapping && node->kind != Node::Kind::null) {
      wrong_type(key, *node, "a section with keys of its own");
      return;
    }
    SectionReader reader(reading_, node && node->kind == Node::Kind::mapping ? node : nullptr, prefix_ + key + ".");
    inside(reader);
    reader.refuse_unknown();
  }
  void require(const std::string& key, bool holds, const std::string& what) override {
    if (holds) return;
    const Node* node = node_ ? node_->find(key) : nullptr;
    reading_.broken_rules.push_back(concat(node ? node->where : reading_.file, ": ", prefix_, key, ": ", what));
  }

  void refuse_unknown() {
    if (!node_) return;
    for (std::size_t i = 0; i < node_->members.size(); ++i) {
      const std::string& key = node_->members[i].first;
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      std::string hint = base::did_you_mean(key, known_);
      if (hint.empty()) hint = elsewhere(key);
      if (hint.empty()) hint = ". Valid keys here: " + base::join_names(known_);
      reading_.problems.push_back(concat(node_->key_where[i], ": unknown key '", prefix_, key, "'", hint));
    }
  }

 private:
  // " (did you mean 'optimize.beta'?)" for a key that is right, but in another section.
  std::string elsewhere(const std::string& key) const {
    for (const auto& full : reading_.all_keys) {
      const auto dot = full.rfind('.');
      if (full.substr(dot == std::string::npos ? 0 : dot + 1) == key) return " (did you mean '" + full + "'?)";
    }
    return {};
  }

  const Node* take(const std::string& key, const Help& help, bool is_section = false) {
    base::check_invariant(std::find(known_.begin(), known_.end(), key) == known_.end(), "option ", prefix_, key, " is described twice");
    known_.push_back(key);
    const Node* node = node_ ? node_->find(key) : nullptr;
    if (!node && help.required)
      reading_.problems.push_back(concat(node_ ? node_->where : reading_.file, ": key '", prefix_, key, "' is missing; it has no default (", help.help, ")"));
    if (node && node->kind == Node::Kind::null && !is_section && node->raw.empty()) {
      // An override "--set name=" gives the empty text; a key without value in a file is more likely a slip.
      if (node->where.starts_with("--set ")) return node;
      problem(node->where, key, "has no value. Leave the line out for the default, or write \"\" for an empty text or [] for an empty list.");
      return nullptr;
    }
    return node;
  }

  void problem(const std::string& where, const std::string& key, const std::string& what) {
    reading_.problems.push_back(concat(where, ": ", prefix_, key, ": ", what));
  }

  void wrong_type(const std::string& key, const Node& node, const std::string& expected, const std::string& advice = {}) {
    std::string hint = advice;
    static const std::vector<std::string> switches{"yes", "Yes", "YES", "on", "On", "ON", "no", "No", "NO", "off", "Off", "OFF", "y", "n"};
    if (hint.empty() && expected == "true or false" && !node.quoted && std::find(switches.begin(), switches.end(), node.text) != switches.end())
      hint = ". YAML versions disagree about yes, no, on and off";
    if (hint.empty() && node.kind == Node::Kind::scalar && node.quoted &&
        (expected.starts_with("a number") || expected.starts_with("an integer") || expected == "true or false"))
      hint = ". Leave the quotes away";
    problem(node.where, key, concat("found ", node.kind_name(), ", expected ", expected, hint));
  }

  void check_bounds(const std::string& key, const Node& node, double value, const Help& help) {
    if (!within(help, value)) problem(node.where, key, concat("is ", node.text, ", must be ", bounds_text(help)));
  }

  void read_integer(const std::string& key, const Node& node, std::int64_t& value, const Help& help) {
    if (node.kind != Node::Kind::scalar || node.quoted) return wrong_type(key, node, "an integer");
    std::string_view text = node.text;
    if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
    std::int64_t result = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
    if (end == text.data() + text.size() && error == std::errc::result_out_of_range)
      return problem(node.where, key, "is " + node.text + ", which does not fit 64 bits");
    if (error != std::errc() || end != text.data() + text.size()) return wrong_type(key, node, "an integer");
    const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
    // YAML 1.1 reads 010 as eight, 1.2 as ten.
    if (digits.size() > 1 && digits[0] == '0') return wrong_type(key, node, "an integer", " without leading zeros");
    value = result;
    check_bounds(key, node, static_cast<double>(result), help);
  }

  void read_number(const std::string& key, const Node& node, double& value, const Help& help) {
    if (node.kind != Node::Kind::scalar || node.quoted) return wrong_type(key, node, "a number");
    std::string_view text = node.text;
    if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
    double result = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
    if (error == std::errc::result_out_of_range) return problem(node.where, key, "is " + node.text + ", which is too large or too small for a double");
    if (error != std::errc() || end != text.data() + text.size())
      return wrong_type(key, node, "a number", node.text.find(',') != std::string::npos ? " with a decimal point, e.g. 0.5" : "");
    if (!std::isfinite(result)) return wrong_type(key, node, "a finite number");
    value = result;
    check_bounds(key, node, result, help);
  }

  bool read_string(const std::string& key, const Node& node, std::string& value, const char* expected) {
    // On the command line `--set prompt=a: b` means the text, although YAML sees a section.
    if (!node.raw.empty()) return value = node.raw, true;
    if (node.kind == Node::Kind::null && node.where.starts_with("--set ")) return value.clear(), true;
    if (node.kind != Node::Kind::scalar) return wrong_type(key, node, expected), false;
    if (node.text.find('\0') != std::string::npos) return problem(node.where, key, "holds a zero byte (\\0), which no text does"), false;
    value = node.text;
    return true;
  }

  // In Unicode's form NFC: the same word is the same bytes here and in prompts. Paths stay as they are, for the file system compares bytes.
  void read_text(const std::string& key, const Node& node, std::string& value) {
    if (read_string(key, node, value, "a text")) value = base::compose(value);
  }

  bool read_choice(const std::string& key, const Node& node, std::string& value, const std::vector<std::string>& allowed) {
    std::string text;
    if (!read_string(key, node, text, concat("one of ", base::join_names(allowed)).c_str())) return false;
    if (std::find(allowed.begin(), allowed.end(), text) == allowed.end()) {
      problem(node.where, key, concat("found '", text, "'", base::did_you_mean(text, allowed), ", expected one of ", base::join_names(allowed)));
      return false;
    }
    value = text;
    return true;
  }

  template <class T, class ReadElement>
  void list(const std::string& key, std::vector<T>& value, const Help& help, const char* of, const std::string& example, const ReadElement& read_element) {
    const Node* node = take(key, help);
    if (!node) return;
    if (node->kind != Node::Kind::sequence) return wrong_type(key, *node, concat("a list of ", of, " such as ", example));
    std::vector<T> result;
    for (const Node& element : node->elements) {
      if (element.kind == Node::Kind::null) {
        problem(element.where, key, "has an element without value");
        continue;
      }
      T item{};
      read_element(element, item);
      result.push_back(std::move(item));
    }
    value = std::move(result);
  }

  std::string resolve(const std::string& key, const std::string& text, const Node& node) {
    if (text.empty()) return text;
    std::filesystem::path path(text);
    const char* home = std::getenv("HOME");
    if (home && (text == "~" || text.starts_with("~/"))) path = std::filesystem::path(home) / text.substr(std::min<std::size_t>(2, text.size()));
    std::string result = (path.is_absolute() ? path : node.base / path).lexically_normal().string();
    if (result.size() > 1 && result.back() == '/') result.pop_back();  // "photos/" and "photos" are one folder, and one fingerprint
    if (!base::is_utf8(result))
      problem(node.where, key, "leads into a folder whose name is not UTF-8: " + base::escape_invalid_utf8(result) + ". Rename the folder");
    return result;
  }

  Reading& reading_;
  const Node* node_;  // null when the section is absent
  std::string prefix_;
  std::vector<std::string> known_;
};

}  // namespace

void read_text(std::string_view yaml, const std::filesystem::path& name, const Describe& describe, const std::vector<std::string>& overrides) {
  Node root = parse_yaml(yaml, name);
  for (const auto& assignment : overrides) apply_override(root, assignment);

  Reading reading;
  reading.file = name.string();
  KeyCollector collector;
  describe(collector);
  reading.all_keys = std::move(collector.keys);

  SectionReader reader(reading, &root, "");
  describe(reader);
  reader.refuse_unknown();

  const auto& problems = reading.problems.empty() ? reading.broken_rules : reading.problems;
  if (problems.empty()) return;
  if (problems.size() == 1) throw base::UserError(problems[0]);
  std::string message = concat(name.string(), ": ", problems.size(), " problems:");
  for (const auto& problem : problems) message += "\n  " + problem;
  throw base::UserError(message);
}

void read(const std::filesystem::path& file, const Describe& describe, const std::vector<std::string>& overrides) {
  std::error_code code;
  if (!std::filesystem::exists(file, code)) throw base::UserError(file.string(), ": no such configuration file");
  if (!std::filesystem::is_regular_file(file, code)) throw base::UserError(file.string(), ": is not a file; a YAML configuration was expected");
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (!(in && (in.peek() == std::ifstream::traits_type::eof() || text << in.rdbuf())))
    throw base::SystemError(file.string(), ": cannot be read: ", base::errno_text(errno));
  read_text(text.str(), file, describe, overrides);
}

}  // namespace magicid::config
