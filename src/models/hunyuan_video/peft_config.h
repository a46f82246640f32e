// PEFT's LoraConfig as far as it changes what an adapter computes.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace magicid::models::hunyuan_video {

// Source: PEFT's tuners/lora/config.py (the fields) and utils/other.py (get_pattern_key: of rank_pattern and alpha_pattern the first, in the order of the file,
// whose regular expression fits the end of a module's name).
class PeftConfig {
 public:
  // Of a file that says nothing.
  PeftConfig() = default;
  // Of JSON `text`. A pipeline's file names the network before each key ("transformer.r"), PEFT's own does not; both are read. `where` names the text in
  // messages ("FILE: 'lora_adapter_metadata' of its header"). Throws UserError for text that is not a JSON object, values of a wrong type, and by name for each
  // variant that computes something else than scale * B A (DoRA, PiSSA, ...).
  static PeftConfig parse(const std::string& text, const std::string& where);

  bool given() const { return values_.contains("r") || values_.contains("lora_alpha"); }
  const std::string& where() const { return where_; }

  // Of a module without prefixes; absent when the text says nothing. Throws UserError for a pattern that is no regular expression.
  std::optional<double> rank(const std::string& module) const { return value("rank_pattern", "r", module); }
  std::optional<double> alpha(const std::string& module) const { return value("alpha_pattern", "lora_alpha", module); }
  // The product is scaled by alpha / sqrt(rank).
  bool rank_stabilised() const;

 private:
  void refuse_variants() const;
  std::optional<double> value(const char* pattern, const char* key, const std::string& module) const;
  bool matches(const std::string& pattern, const std::string& module) const;

  std::string where_;
  nlohmann::ordered_json values_ = nlohmann::ordered_json::object();     // ordered: of overlapping patterns the first in the file holds
  mutable std::map<std::string, std::shared_ptr<const void>> compiled_;  // pcre2_code of each pattern
};

}  // namespace magicid::models::hunyuan_video
