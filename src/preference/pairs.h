// Selection of preference pairs from scored candidates: a pure function of numbers, the same for any order of the input.
// Source: MagicID (ICCV 2025), hybrid pair selection; where the paper is silent, docs/method.md states what was decided and why.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "preference/options.h"

namespace magicid::preference {

// V_id: stills inflated from the references. V_s: videos of the initial model. V_t: videos of the fine-tuned model.
enum class Source { still, initial, tuned };
std::string to_string(Source source);                // "V_id", "V_s", "V_t"
Source source_from_string(const std::string& text);  // throws UserError

struct Candidate {
  std::string key;  // content hash, unique
  Source source = Source::initial;
  std::int64_t prompt = -1;                          // index of the prompt template; -1 for stills
  double identity = 0, dynamics = 0, semantics = 0;  // normalised rewards
};

enum class PairKind { identity, dynamic };
std::string to_string(PairKind kind);

struct Pair {
  PairKind kind = PairKind::identity;
  std::string winner, loser;                                     // keys
  std::int64_t prompt = -1;                                      // template of the condition; -1: the portrait prompt
  double identity_gap = 0, dynamics_gap = 0, semantics_gap = 0;  // winner minus loser
  int winner_front = -1, loser_front = -1;                       // dynamic pairs
  bool loser_still = false;                                      // the loser is trained as its first frame, held still; its rewards and gaps are the video's
  bool operator==(const Pair&) const = default;
};

struct Selection {
  std::vector<Pair> pairs;                          // identity pairs, then dynamic pairs, best first
  std::vector<std::pair<std::string, int>> fronts;  // key -> front, for V_s and V_t, sorted by key
  std::vector<std::string> notes;                   // e.g. "dynamic pairs: 37 of 100 asked for"
};

// Throws UserError for keys that appear twice, InvariantError for NaN. Candidates that could not be scored are left out by the caller.
Selection select_pairs(std::vector<Candidate> candidates, const Options& options);

}  // namespace magicid::preference
