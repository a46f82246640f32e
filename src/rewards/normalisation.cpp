#include "rewards/normalisation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"

namespace magicid::rewards {
namespace {

// With fewer candidates nobody can say which one is the odd one out.
constexpr std::size_t smallest_pool = 5;
// In widths of the range of all others: healthy motion is spread widely too.
constexpr double outlier_from = 3;

bool is_flat(const Range& range) { return range.maximum - range.minimum <= 1e-6 * std::max(std::abs(range.minimum), std::abs(range.maximum)); }

std::string rejection(const Rewards& raw) {
  std::string reason;
  const auto look = [&](const char* name, double value) {
    if (!std::isfinite(value)) reason += base::concat(reason.empty() ? "" : ", ", name, " reward is ", value);
  };
  look("identity", raw.identity);
  look("dynamics", raw.dynamics);
  look("semantics", raw.semantics);
  return reason;
}

}  // namespace

Range range_of(const std::vector<double>& values) {
  base::check_invariant(!values.empty(), "range_of no values");
  const auto [lowest, highest] = std::minmax_element(values.begin(), values.end());
  return {*lowest, *highest};
}

Range range_without_high_outliers(std::vector<double> values) {
  const Range whole = range_of(values);
  const std::size_t count = values.size();
  if (count < smallest_pool) return whole;
  std::sort(values.begin(), values.end());
  const Range most{whole.minimum, values[count - 1 - std::max<std::size_t>(1, count / 20)]};
  if (is_flat(most)) return whole;  // the others are equal: there is nothing that an outlier could press together
  const double limit = most.minimum + outlier_from * (most.maximum - most.minimum);
  return {whole.minimum, *std::find_if(values.rbegin(), values.rend(), [&](double v) { return v <= limit; })};
}

double normalise(double value, const Range& range) {
  if (is_flat(range)) return 1;
  return 1 + 9 * (value - range.minimum) / (range.maximum - range.minimum);
}

NormalisedPool normalise_jointly(const std::vector<Rewards>& raw) {
  NormalisedPool pool;
  if (raw.empty()) return pool;
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> identity, dynamics, semantics;
  for (const Rewards& rewards : raw) {
    pool.rejections.push_back(rejection(rewards));
    if (!pool.rejections.back().empty()) continue;
    identity.push_back(rewards.identity);
    dynamics.push_back(rewards.dynamics);
    semantics.push_back(rewards.semantics);
  }
  const std::size_t kept = identity.size();
  if (kept == 0)
    throw base::UserError("none of the ", raw.size(), " candidates has finite rewards (the first: ", pool.rejections.front(),
                          "). The videos or a reward network's weights are broken: look at the previews.");
  pool.identity = range_of(identity);
  pool.dynamics = range_without_high_outliers(dynamics);
  pool.semantics = range_of(semantics);
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (pool.rejections[i].empty())
      pool.rewards.push_back(
          {normalise(raw[i].identity, pool.identity), std::min(10.0, normalise(raw[i].dynamics, pool.dynamics)), normalise(raw[i].semantics, pool.semantics)});
    else pool.rewards.push_back({nan, nan, nan});
  }
  if (kept < raw.size())
    pool.notes.push_back(base::concat(raw.size() - kept, " of ", raw.size(), " candidates have rewards that are not finite and are not used"));
  if (const auto apart = std::count_if(dynamics.begin(), dynamics.end(), [&](double v) { return v > pool.dynamics.maximum; }))
    pool.notes.push_back(base::concat("the dynamics reward of ", apart, " of ", kept, " candidates lies far above the others' (",
                                      *std::max_element(dynamics.begin(), dynamics.end()), "; theirs reach ", pool.dynamics.maximum,
                                      "): it counts as the largest of theirs, 10. Look at the previews"));
  if (kept == 1) {
    pool.notes.push_back("there is one candidate: nothing to compare it with, every reward is 1");
  } else {
    const auto note = [&](const char* name, const Range& range) {
      if (is_flat(range))
        pool.notes.push_back(base::concat("the ", name, " reward is ", range.minimum, " for all ", kept, " candidates: it tells them apart no more and is 1"));
    };
    note("identity", pool.identity);
    note("dynamics", pool.dynamics);
    note("semantics", pool.semantics);
  }
  return pool;
}

}  // namespace magicid::rewards
