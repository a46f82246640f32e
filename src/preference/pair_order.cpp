#include "preference/pair_order.h"

#include "base/draws.h"
#include "base/errors.h"

namespace magicid::preference {

PairOrder::PairOrder(std::int64_t identity_pairs, std::int64_t dynamic_pairs, double share_dynamic, std::uint64_t seed)
    : identity_(identity_pairs),
      dynamic_(dynamic_pairs),
      share_(dynamic_pairs == 0    ? 0
             : identity_pairs == 0 ? 1
                                   : share_dynamic),
      seed_(seed) {
  base::check_invariant(identity_pairs >= 0 && dynamic_pairs >= 0 && identity_pairs + dynamic_pairs > 0, "an order of ", identity_pairs, " identity and ",
                        dynamic_pairs, " dynamic pairs");
}

ShownPair PairOrder::at(std::int64_t sample) const {
  const base::KindDraw kind = base::draw_kind(sample, share_);
  const std::int64_t count = kind.second ? dynamic_ : identity_;
  return {kind.second ? PairKind::dynamic : PairKind::identity, base::draw_item(seed_, kind.second ? "dynamic-pair" : "identity-pair", kind.draw, count),
          kind.draw / count};
}

std::int64_t PairOrder::number_of(const ShownPair& shown) const { return shown.index + (shown.kind == PairKind::dynamic ? identity_ : 0); }

std::int64_t noise_draw_of(std::int64_t round, std::int64_t noise_draws) { return round % noise_draws; }

}  // namespace magicid::preference
