// Rewards on a common scale of 1 to 10 over all candidates of an identity. Pure functions of numbers.
#pragma once

#include <string>
#include <vector>

namespace magicid::rewards {

struct Rewards {
  double identity = 0, dynamics = 0, semantics = 0;
};

struct Range {
  double minimum = 0, maximum = 0;
};

// 1 + 9 (value - minimum) / (maximum - minimum). A range that is no wider than float rounding (1e-6 of its larger bound's size) holds no information: 1, the
// place of the pool's minimum, and no gap between candidates.
double normalise(double value, const Range& range);

// Smallest and largest of the values, at least one (InvariantError).
Range range_of(const std::vector<double>& values);
// The same without values far above all others: with the top twentieth (at least one value) set aside, the rest has a width, and what lies more than three of
// these above the smallest is an outlier. More than a twentieth of the values are never outliers: a kind of candidates that is rare but no accident. Of fewer
// than 5 values, or where the rest is equal, none is.
Range range_without_high_outliers(std::vector<double> values);

struct NormalisedPool {
  std::vector<Rewards> rewards;         // 1..10, as the input is ordered; NaN for rejected candidates
  std::vector<std::string> rejections;  // as the input is ordered: empty, or why the candidate is not used ("identity reward is nan")
  Range identity, dynamics, semantics;  // over the candidates that are used, of dynamics without outliers; to be stored with the scores
  std::vector<std::string> notes;       // what the user should know: rewards that are equal for all, outliers, one candidate
};

// Joint min-max over the pool (V_id, V_s and V_t of one identity together). Of dynamics, pixels without an upper limit, outliers do not stretch the range and
// count 10; the others are cosines. Candidates with a reward that is not finite are rejected with the reason and do not enter the ranges. Throws UserError when
// a pool that is not empty has no finite candidate. An empty pool gives an empty result.
NormalisedPool normalise_jointly(const std::vector<Rewards>& raw);

}  // namespace magicid::rewards
