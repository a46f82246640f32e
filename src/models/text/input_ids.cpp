#include "models/text/input_ids.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include "base/errors.h"

namespace magicid::models::text {

void check_input_ids(const at::Tensor& input_ids, std::int64_t vocab_size, const char* network) {
  if (input_ids.dim() != 2 || input_ids.numel() == 0 || !c10::isIntegralType(input_ids.scalar_type(), false)) {
    throw base::UserError(network, ": input_ids must be integers [batch, tokens], at least one; got ", input_ids.dim(), " dimensions, ", input_ids.numel(),
                          " values of ", c10::toString(input_ids.scalar_type()));
  }
  const auto low = input_ids.min().item<std::int64_t>(), high = input_ids.max().item<std::int64_t>();
  if (low < 0 || high >= vocab_size) {
    throw base::UserError(network, ": token id ", low < 0 ? low : high, " is outside the vocabulary of ", vocab_size,
                          " tokens; the tokeniser and the text encoder are not from the same model");
  }
}

at::Tensor prefix_lengths(const at::Tensor& input_ids, const at::Tensor& attention_mask) {
  if (!attention_mask.defined()) return at::full({input_ids.size(0)}, input_ids.size(1), at::TensorOptions(at::kLong));
  if (attention_mask.sizes() != input_ids.sizes()) throw base::UserError("attention_mask and input_ids differ in shape");
  const at::Tensor mask = (attention_mask.to(at::kCPU) != 0).to(at::kLong);
  const at::Tensor lengths = mask.sum(1);
  const bool rises = mask.size(1) > 1 && (mask.slice(1, 1) > mask.slice(1, 0, -1)).any().item().toBool();
  if (rises || lengths.min().item<std::int64_t>() == 0) {
    throw base::UserError("each row of attention_mask must be ones, then zeros: padding stands on the right of at least one token");
  }
  return lengths;
}

}  // namespace magicid::models::text
