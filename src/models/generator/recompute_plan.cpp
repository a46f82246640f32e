#include "models/generator/recompute_plan.h"

#include <charconv>
#include <sstream>

#include "base/errors.h"

namespace magicid::models::generator {
namespace {

Recompute mode_named(const std::string& name, const std::string& whole) {
  for (const auto mode : {Recompute::none, Recompute::attention_kept, Recompute::full})
    if (to_string(mode) == name) return mode;
  throw base::UserError("'", whole, "' names no recomputation: '", name,
                        "' is not none, attention_kept or full; expected one of them for all blocks, or numbers of blocks in their order, "
                        "as in full:12,attention_kept:40,none");
}

}  // namespace

std::string to_string(Recompute mode) { return mode == Recompute::none ? "none" : mode == Recompute::attention_kept ? "attention_kept" : "full"; }

RecomputePlan RecomputePlan::parse(const std::string& text) {
  RecomputePlan plan;
  plan.runs_.clear();
  std::istringstream words(text + ",");  // a comma at the end stands before one more, empty word
  for (std::string word; std::getline(words, word, ',');) {
    if (!plan.runs_.empty() && plan.runs_.back().blocks == kRest)
      throw base::UserError("'", text, "': '", to_string(plan.runs_.back().mode), "' without a number is for all blocks that follow, but '", word,
                            "' comes after it");
    const auto colon = word.find(':');
    Run run{mode_named(word.substr(0, colon), text), kRest};
    if (colon != std::string::npos) {
      const char *begin = word.data() + colon + 1, *end = word.data() + word.size();
      const auto [at, error] = std::from_chars(begin, end, run.blocks);
      if (error != std::errc() || at != end || run.blocks < 1 || run.blocks > 1'000'000)
        throw base::UserError("'", text, "': '", word.substr(colon + 1), "' is no number of blocks; a whole number from 1 on is expected");
    }
    plan.runs_.push_back(run);
  }
  return plan;
}

std::string RecomputePlan::text() const {
  std::string text;
  for (const Run& run : runs_) {
    if (!text.empty()) text += ",";
    text += to_string(run.mode);
    if (run.blocks != kRest) text += ":" + std::to_string(run.blocks);
  }
  return text;
}

Recompute RecomputePlan::of(std::size_t block) const {
  auto left = static_cast<std::int64_t>(block);
  for (const Run& run : runs_) {
    if (run.blocks == kRest || left < run.blocks) return run.mode;
    left -= run.blocks;
  }
  base::check_invariant(false, "block ", block, " is beyond the recomputation plan ", text());
  return Recompute::none;
}

std::int64_t RecomputePlan::recomputed(std::int64_t blocks) const {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < blocks; ++i) count += of(static_cast<std::size_t>(i)) != Recompute::none;
  return count;
}

void RecomputePlan::check(std::int64_t blocks) const {
  std::int64_t named = 0;
  for (const Run& run : runs_) named += run.blocks;
  const bool rest = runs_.back().blocks == kRest;
  if (named > blocks || (named < blocks && !rest))
    throw base::UserError("model.recompute ", text(), " is for ", rest ? "at least " : "", named, " blocks, the model has ", blocks,
                          "; a last mode without a number stands for the rest");
}

}  // namespace magicid::models::generator
