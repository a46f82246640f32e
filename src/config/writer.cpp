#include "config/writer.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/errors.h"

namespace magicid::config {
namespace {

using nlohmann::json;

// One field, whatever its type: what the three printers need.
struct Field {
  const std::string& key;
  const char* type;
  json value;
  const Help& help;
  const std::vector<std::string>* allowed = nullptr;
  std::string yaml = {};  // how it is written, where `value` does not keep the order
};

// JSON strings are YAML's double-quoted scalars.
std::string quoted(const std::string& text) { return json(text).dump(-1, ' ', false, json::error_handler_t::replace); }

// Folds the typed calls into one.
class FieldVisitor : public Fields {
 public:
  virtual void field(const Field& field) = 0;

  void integer(const std::string& key, std::int64_t& value, const Help& help) override { field({key, "integer", value, help}); }
  void number(const std::string& key, double& value, const Help& help) override { field({key, "number", value, help}); }
  void boolean(const std::string& key, bool& value, const Help& help) override { field({key, "true or false", value, help}); }
  void text(const std::string& key, std::string& value, const Help& help) override { field({key, "text", value, help}); }
  void path(const std::string& key, std::string& value, const Help& help) override { field({key, "path", value, help}); }
  void choice(const std::string& key, std::string& value, const std::vector<std::string>& allowed, const Help& help) override {
    field({key, "choice", value, help, &allowed});
  }
  void numbers(const std::string& key, std::vector<double>& value, const Help& help) override { field({key, "list of numbers", value, help}); }
  void integers(const std::string& key, std::vector<std::int64_t>& value, const Help& help) override { field({key, "list of integers", value, help}); }
  void texts(const std::string& key, std::vector<std::string>& value, const Help& help) override { field({key, "list of texts", value, help}); }
  void choices(const std::string& key, std::vector<std::string>& value, const std::vector<std::string>& allowed, const Help& help) override {
    field({key, "list of choices", value, help, &allowed});
  }
  void named_paths(const std::string& key, NamedPaths& value, const Help& help) override {
    json object = json::object();
    std::string yaml = "{";
    for (const auto& [name, path] : value) {
      object[name] = path;
      yaml += (yaml.size() > 1 ? ", " : "") + quoted(name) + ": " + quoted(path);
    }
    field({key, "names with paths", object, help, nullptr, yaml + "}"});
  }
  void require(const std::string&, bool, const std::string&) override {}
};

// Shortest digits that read back to the same double. YAML 1.1 wants a point in the mantissa and a sign in the exponent: 1.0e-04.
std::string number_text(double value) {
  char buffer[40];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
  const auto exponent = text.find('e');
  if (text.find('.') == std::string::npos) text.insert(exponent == std::string::npos ? text.size() : exponent, ".0");
  return text;
}

std::string value_text(const json& value) {
  if (value.is_number_float()) return number_text(value.get<double>());
  if (value.is_array()) {
    std::string text = "[";
    for (std::size_t i = 0; i < value.size(); ++i) text += (i ? ", " : "") + value_text(value[i]);
    return text + "]";
  }
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string value_text(const Field& field) { return field.yaml.empty() ? value_text(field.value) : field.yaml; }

std::string bare(double value) {
  char buffer[40];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

std::string range_text(const Field& field) {
  const Help& help = field.help;
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (field.allowed)
    for (const auto& name : *field.allowed) add(name);
  if (help.minimum) add(">= " + bare(*help.minimum));
  if (help.above) add("> " + bare(*help.above));
  if (help.maximum) add("<= " + bare(*help.maximum));
  return text;
}

class YamlWriter : public FieldVisitor {
 public:
  YamlWriter(std::string& out, bool comments, int depth) : out_(out), comments_(comments), indent_(static_cast<std::size_t>(2 * depth), ' '), depth_(depth) {}

  void field(const Field& field) override {
    if (comments_) {
      const std::string range = range_text(field);
      comment(field.help.help + (range.empty() ? "" : " [" + range + "]"));
    }
    out_ += indent_ + field.key + ": " + value_text(field) + "\n";
  }
  void section(const std::string& key, const std::string& help, const std::function<void(Fields&)>& inside) override {
    if (comments_ && depth_ == 0) out_ += "\n";
    if (comments_) comment(help);
    std::string body;
    YamlWriter writer(body, comments_, depth_ + 1);
    inside(writer);
    out_ += indent_ + key + ":" + (body.empty() ? " {}\n" : "\n" + body);
  }

 private:
  void comment(const std::string& text) {
    if (text.empty()) return;
    out_ += indent_ + "# ";
    for (const char c : text) out_ += c == '\n' ? "\n" + indent_ + "# " : std::string(1, c);
    out_ += "\n";
  }

  std::string& out_;
  bool comments_;
  std::string indent_;
  int depth_;
};

std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += "\\|";
    else if (c == '\n') out += ' ';
    else out += c;
  }
  return out;
}

class MarkdownWriter : public FieldVisitor {
 public:
  MarkdownWriter(std::string& out, std::string prefix) : out_(out), prefix_(std::move(prefix)) {}
  ~MarkdownWriter() override { finish(); }

  void field(const Field& field) override {
    if (rows_.empty()) rows_ = "| key | type | default | range | what it does |\n|---|---|---|---|---|\n";
    const std::string range = range_text(field);
    rows_ += "| `" + field.key + "` | " + field.type + " | " + (field.help.required ? "required" : "`" + cell(value_text(field)) + "`") + " | " + cell(range) +
             " | " + cell(field.help.help) + " |\n";
  }
  void section(const std::string& key, const std::string& help, const std::function<void(Fields&)>& inside) override {
    const std::string name = prefix_.empty() ? key : prefix_ + "." + key;
    std::string body;
    {
      MarkdownWriter writer(body, name);
      inside(writer);
    }
    sections_ += "\n## `" + name + "`\n\n" + (help.empty() ? "" : help + "\n\n") + body;
  }

 private:
  // A section's own keys come before its sub-sections, whatever the order of description.
  void finish() { out_ += rows_ + sections_; }

  std::string& out_;
  std::string prefix_, rows_, sections_;
};

class JsonWriter : public FieldVisitor {
 public:
  JsonWriter(json& out, FieldSet fields) : out_(out), fields_(fields) {}

  void field(const Field& field) override {
    if (fields_ == FieldSet::all || field.help.fingerprint) out_[field.key] = field.value;
  }
  void section(const std::string& key, const std::string&, const std::function<void(Fields&)>& inside) override {
    json inner = json::object();
    JsonWriter writer(inner, fields_);
    inside(writer);
    if (!inner.empty()) out_[key] = std::move(inner);
  }

 private:
  json& out_;
  FieldSet fields_;
};

}  // namespace

std::string resolved_yaml(const Describe& describe, bool comments) {
  std::string out;
  YamlWriter writer(out, comments, 0);
  describe(writer);
  return out;
}

std::string reference_markdown(const Describe& describe) {
  std::string out;
  {
    MarkdownWriter writer(out, "");
    describe(writer);
  }
  return out;
}

json to_json(const Describe& describe, FieldSet fields) {
  json out = json::object();
  JsonWriter writer(out, fields);
  describe(writer);
  return out;
}

}  // namespace magicid::config
