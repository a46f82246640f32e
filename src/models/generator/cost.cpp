#include "models/generator/cost.h"

#include <algorithm>

#include "base/errors.h"

namespace magicid::models::generator {

double EncoderSize::flops(std::int64_t tokens) const {
  const double n = static_cast<double>(tokens), w = static_cast<double>(width);
  const double linears = 2 * n * (2 * w * w + 2 * w * static_cast<double>(kv_width) + static_cast<double>(mlp_products) * w * static_cast<double>(mlp_width));
  return static_cast<double>(layers) * (linears + 4 * n * n * w);
}

double EncoderSize::parameters() const {
  const double w = static_cast<double>(width);
  return static_cast<double>(layers) *
             (2 * w * w + 2 * w * static_cast<double>(kv_width) + static_cast<double>(mlp_products) * w * static_cast<double>(mlp_width)) +
         static_cast<double>(embeddings) * w;
}

Share BackboneCost::largest_share(const TokenCounts& whole, int sequence) const {
  base::check_invariant(sequence >= 1, "a sequence shared by ", sequence, " ranks");
  Share share{.whole = whole, .sequence = sequence};
  for (int rank = 0; rank < sequence; ++rank) {
    const TokenCounts here{slice_of(whole.video, rank, sequence).count, slice_of(whole.text, rank, sequence).count};
    if (here.all() > share.local.all()) share.local = here;
    share.heads = std::max(share.heads, slice_of(heads(), rank, sequence).count);
  }
  return share;
}

double BackboneCost::weight_bytes(std::int64_t element) const { return static_cast<double>(parameters() * element); }

double BackboneCost::adapter_state_bytes(const AdapterSize& adapter, bool with_reference) const {
  return static_cast<double>(adapter_parameters(adapter)) * 4 * (with_reference ? 6 : 5);
}

}  // namespace magicid::models::generator
