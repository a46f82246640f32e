#include "preference/hpo_loss.h"

#include <algorithm>
#include <cmath>

namespace magicid::preference {

HpoTerms hpo_terms(const PairErrors& errors, double beta) {
  const double half = beta / 2;
  HpoTerms terms;
  terms.winner_margin = -half * (errors.winner - errors.reference_winner);
  terms.loser_margin = -half * (errors.loser - errors.reference_loser);
  terms.margin = terms.winner_margin - terms.loser_margin;
  const double x = -terms.margin;
  const double decay = std::exp(-std::abs(x));
  const double sigmoid = x >= 0 ? 1 / (1 + decay) : decay / (1 + decay);
  terms.loss = std::max(x, 0.0) + std::log1p(decay);
  terms.gradient_factor = half * sigmoid;
  terms.saturation = 1 - 2 * sigmoid;
  terms.accuracy = terms.margin > 0 ? 1.0 : terms.margin == 0 ? 0.5 : 0.0;
  return terms;
}

}  // namespace magicid::preference
