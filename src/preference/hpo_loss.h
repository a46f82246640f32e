// Hybrid preference optimization's loss: DPO for flow matching, as a function of the four errors of one pair.
//
//   D_y = |v_y - v_theta(x_y)|^2 - |v_y - v_ref(x_y)|^2    mean over latent elements, y = winner w or loser l, same noise and sigma
//   L   = -log sigmoid(-(beta/2) (D_w - D_l)) = softplus(x),  x = (beta/2) (D_w - D_l)
//   dL  = (beta/2) sigmoid(x) (d err_w - d err_l),            err_y = |v_y - v_theta(x_y)|^2
//
// so each branch can run alone and only one scalar of a pair, the gradient factor, joins them.
// Sources: Wallace et al. 2023 (Diffusion-DPO, eq. 14) with the flow-matching error; MagicID (ICCV 2025), section on HPO.
#pragma once

namespace magicid::preference {

// Mean squared velocity errors of one pair.
struct PairErrors {
  double winner = 0, loser = 0;                      // the policy's
  double reference_winner = 0, reference_loser = 0;  // the frozen reference's
};

struct HpoTerms {
  double loss = 0;             // exactly log 2 when policy and reference agree
  double gradient_factor = 0;  // (beta/2) sigmoid(x), multiplies d err_w - d err_l
  double winner_margin = 0;    // -(beta/2) D_w: implicit reward of the winner
  double loser_margin = 0;     // -(beta/2) D_l
  double margin = 0;           // winner_margin - loser_margin = -x
  double accuracy = 0;         // 1 when margin > 0, 0.5 when it is 0, else 0
  double saturation = 0;       // 1 - 2 sigmoid(x) in (-1,1): near 1, the pair hardly trains any more
};

// beta > 0. Stable for any finite errors.
HpoTerms hpo_terms(const PairErrors& errors, double beta);

}  // namespace magicid::preference
