#include "rewards/normalisation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"

namespace magicid::rewards {
namespace {

bool is_flat(const Range& range) {
  return range.maximum - range.minimum <= 1e-6 * std::max(std::abs(range.minimum), std::abs(range.maximum));
}

std::string rejection(const Rewards& raw) {
  std::string reason;
  const auto look = [&](const char* name, double value) {
    if (!std::isfinite(value)) reason += base::concat(reason.empty() ? "" : ", ", name, " reward is ", value);
  };
  look("identity", raw.identity);
  look("dynamics", raw.dynamics);
  look("semantic", raw.semantic);
  return reason;
}

}  // namespace

double normalise(double value, const Range& range) {
  if (is_flat(range)) return 1;
  return 1 + 9 * (value - range.minimum) / (range.maximum - range.minimum);
}

NormalisedPool normalise_jointly(const std::vector<Rewards>& raw) {
  NormalisedPool pool;
  if (raw.empty()) return pool;
  constexpr double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  pool.identity = pool.dynamics = pool.semantic = {infinity, -infinity};
  std::size_t kept = 0;
  const auto widen = [](Range& range, double value) {
    range.minimum = std::min(range.minimum, value);
    range.maximum = std::max(range.maximum, value);
  };
  for (const Rewards& rewards : raw) {
    pool.rejections.push_back(rejection(rewards));
    if (!pool.rejections.back().empty()) continue;
    ++kept;
    widen(pool.identity, rewards.identity);
    widen(pool.dynamics, rewards.dynamics);
    widen(pool.semantic, rewards.semantic);
  }
  if (kept == 0)
    throw base::UserError("none of the ", raw.size(), " candidates has finite rewards (the first: ", pool.rejections.front(), "). The videos or a reward network's weights are broken: look at the previews.");
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (pool.rejections[i].empty()) pool.rewards.push_back({normalise(raw[i].identity, pool.identity), normalise(raw[i].dynamics, pool.dynamics), normalise(raw[i].semantic, pool.semantic)});
    else pool.rewards.push_back({nan, nan, nan});
  }
  if (kept < raw.size()) pool.notes.push_back(base::concat(raw.size() - kept, " of ", raw.size(), " candidates have rewards that are not finite and are not used"));
  if (kept == 1) {
    pool.notes.push_back("there is one candidate: nothing to compare it with, every reward is 1");
  } else {
    const auto note = [&](const char* name, const Range& range) {
      if (is_flat(range)) pool.notes.push_back(base::concat("the ", name, " reward is ", range.minimum, " for all ", kept, " candidates: it tells them apart no more and is 1"));
    };
    note("identity", pool.identity);
    note("dynamics", pool.dynamics);
    note("semantic", pool.semantic);
  }
  return pool;
}

}  // namespace magicid::rewards
