// What each block keeps between its forward and its backward.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace magicid::models::generator {

// `none`: all that autograd saves. `attention_kept`: the block's inputs, the attention's output and log-sum-exp; the rest is computed again, the attention is
// not. `full`: the block's inputs.
enum class Recompute { none, attention_kept, full };
std::string to_string(Recompute mode);  // these names

// A mode for each block, double blocks before single ones.
class RecomputePlan {
 public:
  RecomputePlan(Recompute all = Recompute::none) : runs_{{all, kRest}} {}

  // "attention_kept": every block. "full:12,attention_kept:40,none": the first 12 blocks, the next 40, the rest; without a last mode that has no number, the
  // numbers must add up to the model's blocks. Throws UserError.
  static RecomputePlan parse(const std::string& text);
  // As parse() reads it.
  std::string text() const;

  Recompute of(std::size_t block) const;
  // Blocks of a model of `blocks` that are computed again.
  std::int64_t recomputed(std::int64_t blocks) const;
  // Throws UserError when the plan is not for a model of `blocks`.
  void check(std::int64_t blocks) const;

  bool operator==(const RecomputePlan&) const = default;

 private:
  static constexpr std::int64_t kRest = 0;
  struct Run {
    Recompute mode;
    std::int64_t blocks;  // kRest in the last run: all that follow
    bool operator==(const Run&) const = default;
  };
  std::vector<Run> runs_;
};

}  // namespace magicid::models::generator
