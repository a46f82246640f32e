// A strict reader of the page: every tag closed in order, attributes quoted and unique, only known entities, ids unique, and links to ids that exist.
// Stricter than HTML asks, so that a text that escaped its place shows.
#pragma once

#include <cctype>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace magicid::tests {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
};

struct Markup {
  std::vector<Element> elements;
  std::string words;  // the text outside of tags, scripts and styles, entities resolved
  std::vector<std::string> errors;

  std::size_t count(std::string_view name) const {
    std::size_t n = 0;
    for (const Element& element : elements) n += element.name == name;
    return n;
  }
  std::vector<Element> with(std::string_view name, std::string_view attribute) const {
    std::vector<Element> out;
    for (const Element& element : elements) {
      if (element.name == name && element.attributes.contains(std::string(attribute))) out.push_back(element);
    }
    return out;
  }
};

class MarkupReader {
 public:
  explicit MarkupReader(std::string_view page) : page_(page) {}

  Markup read() {
    if (!take("<!DOCTYPE html>\n")) fail("no doctype");
    std::vector<std::string> open;
    while (at_ < page_.size() && markup_.errors.size() < 10) {
      if (page_[at_] != '<') {
        markup_.words += unescaped(until('<'));
      } else if (take("</")) {
        const std::string name(until('>'));
        ++at_;
        if (open.empty() || open.back() != name) fail("</" + name + "> closes " + (open.empty() ? "nothing" : "<" + open.back() + ">"));
        if (!open.empty()) open.pop_back();
        markup_.words += ' ';
      } else {
        ++at_;
        Element element = tag();
        const bool empty = take("/>");
        if (!empty && !take(">")) fail("<" + element.name + "> does not end");
        const bool is_void = element.name == "meta" || element.name == "img";
        const bool drawing = element.name == "path" || element.name == "circle" || element.name == "rect" || element.name == "polyline";
        // HTML ignores the slash of other elements, which would then stay open.
        if (empty && !is_void && !drawing) fail("<" + element.name + " /> may not be empty");
        if (!empty && is_void) fail("<" + element.name + "> has content");
        if (!empty) open.push_back(element.name);
        if (element.name == "script" || element.name == "style") at_ = std::min(page_.find("</" + element.name + ">", at_), page_.size());
        markup_.elements.push_back(std::move(element));
      }
    }
    if (!open.empty()) fail("<" + open.back() + "> stays open");
    check_links();
    return markup_;
  }

 private:
  bool take(std::string_view token) {
    if (page_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  std::string_view until(char end) {
    const std::size_t begin = at_;
    at_ = std::min(page_.find(end, at_), page_.size());
    return page_.substr(begin, at_ - begin);
  }
  std::string_view name() {
    const std::size_t begin = at_;
    while (at_ < page_.size() && (std::isalnum(static_cast<unsigned char>(page_[at_])) || page_[at_] == '-')) ++at_;
    return page_.substr(begin, at_ - begin);
  }
  Element tag() {
    Element element{.name = std::string(name())};
    if (element.name.empty()) fail("a stray <");
    while (at_ < page_.size() && page_[at_] != '>' && page_[at_] != '/') {
      if (page_[at_] == ' ') {
        ++at_;
        continue;
      }
      const std::string attribute(name());
      if (attribute.empty() || !take("=\"")) {
        fail("a bad attribute in <" + element.name + ">");
        ++at_;
        continue;
      }
      const std::string_view value = until('"');
      ++at_;
      if (value.find('<') != std::string_view::npos) fail("< in attribute " + attribute);
      if (!element.attributes.emplace(attribute, unescaped(value)).second) fail("attribute " + attribute + " twice");
    }
    return element;
  }
  std::string unescaped(std::string_view text) {
    static const std::map<std::string, char, std::less<>> known = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"#39", '\''}};
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '>') fail("a stray >");
      if (text[i] != '&') {
        out += text[i];
        continue;
      }
      const std::size_t end = std::min(text.find(';', i), text.size());
      const auto found = known.find(text.substr(i + 1, end - i - 1));
      if (found == known.end()) {
        fail("an unknown entity");
        continue;
      }
      out += found->second;
      i = end;
    }
    return out;
  }
  void check_links() {
    std::set<std::string> ids;
    for (const Element& element : markup_.elements) {
      const auto id = element.attributes.find("id");
      if (id != element.attributes.end() && !ids.insert(id->second).second) fail("id " + id->second + " twice");
    }
    for (const Element& element : markup_.elements) {
      for (const char* attribute : {"href", "data-same", "aria-labelledby"}) {
        const auto found = element.attributes.find(attribute);
        if (found == element.attributes.end()) continue;
        const std::string target = attribute == std::string("href") ? found->second.substr(1) : found->second;
        if (!ids.contains(target)) fail(std::string(attribute) + " to " + target + ", which does not exist");
      }
    }
  }
  void fail(const std::string& what) { markup_.errors.push_back(what + " near byte " + std::to_string(at_)); }

  std::string_view page_;
  std::size_t at_ = 0;
  Markup markup_;
};

}  // namespace magicid::tests
