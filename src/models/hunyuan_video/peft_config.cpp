#define PCRE2_CODE_UNIT_WIDTH 8
#include "models/hunyuan_video/peft_config.h"

#include <pcre2.h>

#include <algorithm>
#include <cctype>

#include "base/errors.h"

namespace magicid::models::hunyuan_video {
namespace {

using base::UserError;
using nlohmann::ordered_json;

// Initial values for which PEFT changes the model's own weights: what the file holds is relative to those changed weights.
constexpr const char* changing_initialisations[] = {"pissa", "olora", "loftq", "corda", "lora_ga"};

// Fields that make an adapter compute something else than scale * B A, unless they are null or false.
constexpr struct {
  const char* field;
  const char* meaning;
} variants[] = {{"use_dora", "DoRA (a magnitude beside the factors)"},
                {"use_qalora", "QALoRA (grouped inputs)"},
                {"use_bdlora", "block-diagonal LoRA"},
                {"alora_invocation_tokens", "activated LoRA (acts from a token on)"},
                {"arrow_config", "Arrow (a router between adapters)"},
                {"kasa_config", "KaSA (singular values beside the factors)"},
                {"monteclora_config", "MonteCLoRA (random factors)"},
                {"layer_replication", "replicated layers"}};

bool is_off(const ordered_json& value) { return value.is_null() || value == false || ((value.is_array() || value.is_object()) && value.empty()); }

}  // namespace

PeftConfig PeftConfig::parse(const std::string& text, const std::string& where) {
  PeftConfig config;
  config.where_ = where;
  const ordered_json all = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!all.is_object()) throw UserError(where, " is not a JSON object; expected PEFT's LoraConfig");
  const std::string prefix = "transformer.";
  bool prefixed = false;
  for (const auto& [key, value] : all.items()) prefixed = prefixed || key.starts_with(prefix);
  for (const auto& [key, value] : all.items()) {
    if (!prefixed) config.values_[key] = value;
    else if (key.starts_with(prefix)) config.values_[key.substr(prefix.size())] = value;
  }
  config.refuse_variants();
  return config;
}

void PeftConfig::refuse_variants() const {
  const auto of = [&](const char* field) { return values_.value(field, ordered_json()); };
  if (const auto type = of("peft_type"); !type.is_null() && type != "LORA")
    throw UserError(where_, ": peft_type is ", type.dump(), "; expected \"LORA\": other kinds of adapters are not supported");
  for (const auto& [field, meaning] : variants)
    if (const auto value = of(field); !is_off(value)) throw UserError(where_, " says ", field, ": ", meaning, " is not supported; expected plain LoRA");
  if (const auto start = of("init_lora_weights"); start.is_string())
    for (const char* name : changing_initialisations)
      if (start.get<std::string>().starts_with(name))
        throw UserError(where_, ": init_lora_weights is ", start.dump(),
                        ", for which PEFT changes the model's own weights: the factors do not fit the published ones. ",
                        "Save the adapter again with path_initial_model_for_weight_conversion, which makes it a plain LoRA");
  for (const char* name : {"rank_pattern", "alpha_pattern"})
    if (const auto value = of(name); !value.is_null() && !value.is_object())
      throw UserError(where_, ": '", name, "' is ", value.dump(), "; expected an object of module names");
}

bool PeftConfig::rank_stabilised() const { return values_.value("use_rslora", ordered_json(false)) == true; }

std::optional<double> PeftConfig::value(const char* pattern, const char* key, const std::string& module) const {
  const ordered_json* found = nullptr;
  if (values_.contains(pattern) && values_[pattern].is_object())
    for (const auto& [name, entry] : values_[pattern].items())
      if (matches(name, module)) {
        found = &entry;
        break;
      }
  if (!found && values_.contains(key)) found = &values_[key];
  if (!found || found->is_null()) return std::nullopt;
  if (!found->is_number()) throw UserError(where_, ": '", key, "' of ", module, " is ", found->dump(), "; expected a number");
  return found->get<double>();
}

bool PeftConfig::matches(const std::string& pattern, const std::string& module) const {
  // Plain names, which files hold by the thousand, without the cost of an expression.
  const auto plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.'; };
  if (std::all_of(pattern.begin(), pattern.end(), plain)) return module == pattern || module.ends_with("." + pattern);
  if (pattern[0] == '^' && std::all_of(pattern.begin() + 1, pattern.end(), plain)) return module == pattern.substr(1);
  auto& code = compiled_[pattern];
  if (!code) {
    const std::string whole = "(.*\\.)?(" + pattern + ")$";
    int error = 0;
    PCRE2_SIZE offset = 0;
    auto* made = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(whole.data()), whole.size(), PCRE2_ANCHORED, &error, &offset, nullptr);
    if (made == nullptr) throw UserError(where_, ": the pattern '", pattern, "' is not a regular expression");
    code = std::shared_ptr<const void>(made, [](const void* p) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p))); });
  }
  const auto* compiled = static_cast<const pcre2_code*>(code.get());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(pcre2_match_data_create_from_pattern(compiled, nullptr),
                                                                                 &pcre2_match_data_free);
  const int found = pcre2_match(compiled, reinterpret_cast<PCRE2_SPTR>(module.data()), module.size(), 0, 0, data.get(), nullptr);
  // An expression that needs more steps than the library allows is hostile or a mistake.
  if (found < 0 && found != PCRE2_ERROR_NOMATCH)
    throw UserError(where_, ": the pattern '", pattern, "' takes too long on the name ", module, " (PCRE2 error ", found, "); write it in a simpler way");
  return found > 0;
}

}  // namespace magicid::models::hunyuan_video
