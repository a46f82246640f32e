// What the backends share: the checks of arguments, and the reduction of host buffers in the fixed order of ranks.
#pragma once

#include "comm/communicator.h"

#include <cstdint>
#include <string>
#include <vector>

namespace magicid::comm {

// "float32 [2, 3]": for messages and for comparing what ranks hand in.
std::string describe_tensor(const at::Tensor& tensor);

// Throw InvariantError naming `operation`.
void check_in_place(const char* operation, const at::Tensor& tensor);   // defined, contiguous
void check_reducible(const char* operation, const at::Tensor& tensor);  // check_in_place, and a dtype that can be reduced
void check_rows(const char* operation, const at::Tensor& tensor);       // defined, at least one dimension
void check_root(const char* operation, int root, int size);
void check_exchange(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts, int size);

// Bytes of one row (dimensions 1 and up; 1 row of an empty shard has a size too).
std::int64_t row_bytes(const at::Tensor& tensor);
// An uninitialised tensor like `like` with `rows` rows, on the same device.
at::Tensor empty_rows(const at::Tensor& like, std::int64_t rows);
std::int64_t total(const std::vector<std::int64_t>& counts);

// out[i] = operation over sources[0][i], sources[1][i], ... in this order; bf16 and fp16 are accumulated in fp32 and rounded once. `out` may be
// one of the sources. Maximum and minimum of floating numbers propagate NaN.
void reduce_in_order(at::ScalarType dtype, Reduce operation, void* out, const std::vector<const void*>& sources, std::int64_t count);

}  // namespace magicid::comm
