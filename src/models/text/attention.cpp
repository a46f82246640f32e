#include "models/text/attention.h"

#include <ATen/ops/scaled_dot_product_attention.h>

namespace magicid::models::text {

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const std::int64_t groups = q.size(1) / k.size(1);
  const auto repeat = [&](const at::Tensor& x) {
    if (groups == 1) return x;
    return x.unsqueeze(2).expand({x.size(0), x.size(1), groups, x.size(2), x.size(3)}).reshape({x.size(0), x.size(1) * groups, x.size(2), x.size(3)});
  };
  const at::Tensor out = at::scaled_dot_product_attention(q, repeat(k), repeat(v), {}, 0.0, /*is_causal=*/true);
  return out.transpose(1, 2).reshape({q.size(0), q.size(2), q.size(1) * q.size(3)});
}

}  // namespace magicid::models::text
