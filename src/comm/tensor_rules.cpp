#include "comm/tensor_rules.h"

#include "base/errors.h"

#include <ATen/ops/empty.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <numeric>
#include <sstream>
#include <type_traits>

namespace magicid::comm {
namespace {

using base::check_invariant;

// Elements reduced at once: the accumulators stay in the first-level cache.
constexpr std::int64_t block = 1024;

template <class T>
T combine(Reduce operation, T a, T b) {
  if (operation == Reduce::sum) return static_cast<T>(a + b);
  if constexpr (std::is_floating_point_v<T>) {
    if (a != a || b != b) return a != a ? a : b;
  }
  return operation == Reduce::maximum ? std::max(a, b) : std::min(a, b);
}

template <class Stored, class Accumulated>
void reduce(Reduce operation, void* out, const std::vector<const void*>& sources, std::int64_t count) {
  Accumulated sums[block];
  for (std::int64_t first = 0; first < count; first += block) {
    const std::int64_t n = std::min(block, count - first);
    const auto* start = static_cast<const Stored*>(sources[0]) + first;
    for (std::int64_t i = 0; i < n; ++i) sums[i] = static_cast<Accumulated>(start[i]);
    for (std::size_t rank = 1; rank < sources.size(); ++rank) {
      const auto* next = static_cast<const Stored*>(sources[rank]) + first;
      if (operation == Reduce::sum) {
        for (std::int64_t i = 0; i < n; ++i) sums[i] += static_cast<Accumulated>(next[i]);
      } else {
        for (std::int64_t i = 0; i < n; ++i) sums[i] = combine(operation, sums[i], static_cast<Accumulated>(next[i]));
      }
    }
    auto* target = static_cast<Stored*>(out) + first;
    for (std::int64_t i = 0; i < n; ++i) target[i] = static_cast<Stored>(sums[i]);
  }
}

bool reducible(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
    case at::kDouble:
    case at::kBFloat16:
    case at::kHalf:
    case at::kLong:
    case at::kInt:
    case at::kByte: return true;
    default: return false;
  }
}

}  // namespace

std::string describe_tensor(const at::Tensor& tensor) {
  if (!tensor.defined()) return "undefined tensor";
  std::ostringstream out;
  out << c10::toString(tensor.scalar_type()) << " [";
  for (std::int64_t i = 0; i < tensor.dim(); ++i) out << (i ? ", " : "") << tensor.size(i);
  out << "]";
  return out.str();
}

void check_in_place(const char* operation, const at::Tensor& tensor) {
  check_invariant(tensor.defined(), operation, ": undefined tensor");
  check_invariant(tensor.is_contiguous(), operation, " works in place and needs a contiguous tensor, not a strided ", describe_tensor(tensor));
}

void check_reducible(const char* operation, const at::Tensor& tensor) {
  check_in_place(operation, tensor);
  check_invariant(reducible(tensor.scalar_type()), operation, " of ", describe_tensor(tensor),
                  ": expected float32, float64, bfloat16, float16, int64, int32 or uint8");
}

void check_rows(const char* operation, const at::Tensor& tensor) {
  check_invariant(tensor.defined() && tensor.dim() >= 1, operation, " needs a tensor with rows along dimension 0, not ", describe_tensor(tensor));
}

void check_root(const char* operation, int root, int size) {
  check_invariant(root >= 0 && root < size, operation, ": root ", root, " is outside the group of ", size);
}

void check_exchange(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts, int size) {
  check_rows("all_to_all", send);
  check_invariant(static_cast<int>(send_counts.size()) == size && static_cast<int>(receive_counts.size()) == size, "all_to_all over ", size, " ranks with ",
                  send_counts.size(), " send counts and ", receive_counts.size(), " receive counts");
  for (const auto* counts : {&send_counts, &receive_counts}) {
    for (const auto count : *counts) check_invariant(count >= 0, "all_to_all with a count of ", count);
  }
  check_invariant(total(send_counts) == send.size(0), "all_to_all sends ", total(send_counts), " rows of ", describe_tensor(send));
}

std::int64_t row_bytes(const at::Tensor& tensor) {
  std::int64_t bytes = static_cast<std::int64_t>(tensor.element_size());
  for (std::int64_t i = 1; i < tensor.dim(); ++i) bytes *= tensor.size(i);
  return bytes;
}

at::Tensor empty_rows(const at::Tensor& like, std::int64_t rows) {
  auto sizes = like.sizes().vec();
  sizes[0] = rows;
  return at::empty(sizes, like.options().requires_grad(false));
}

std::int64_t total(const std::vector<std::int64_t>& counts) { return std::accumulate(counts.begin(), counts.end(), std::int64_t{0}); }

void reduce_in_order(at::ScalarType dtype, Reduce operation, void* out, const std::vector<const void*>& sources, std::int64_t count) {
  switch (dtype) {
    case at::kFloat: return reduce<float, float>(operation, out, sources, count);
    case at::kDouble: return reduce<double, double>(operation, out, sources, count);
    case at::kBFloat16: return reduce<c10::BFloat16, float>(operation, out, sources, count);
    case at::kHalf: return reduce<c10::Half, float>(operation, out, sources, count);
    case at::kLong: return reduce<std::int64_t, std::int64_t>(operation, out, sources, count);
    case at::kInt: return reduce<std::int32_t, std::int32_t>(operation, out, sources, count);
    case at::kByte: return reduce<std::uint8_t, std::uint8_t>(operation, out, sources, count);
    default: throw base::InvariantError("all_reduce of ", c10::toString(dtype));
  }
}

}  // namespace magicid::comm
