// Checks on the inputs of the text encoders.
#pragma once

#include <ATen/core/Tensor.h>

namespace magicid::models::text {

// Throws UserError unless `input_ids` is [B,S] of an integer type with ids in 0 .. vocab_size - 1; `network` is used in messages.
void check_input_ids(const at::Tensor& input_ids, std::int64_t vocab_size, const char* network);

// The number of ones in each row of `attention_mask` [B,S], as an int64 CPU tensor [B]; S when the mask is undefined. Throws UserError unless
// each row is at least one non-zero value, then zeros.
at::Tensor prefix_lengths(const at::Tensor& input_ids, const at::Tensor& attention_mask);

}  // namespace magicid::models::text
