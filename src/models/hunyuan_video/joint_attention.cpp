#include "models/hunyuan_video/joint_attention.h"

#include <ATen/ops/scaled_dot_product_attention.h>

namespace magicid::models::hunyuan_video {

at::Tensor LocalJointAttention::attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t /*video_tokens*/) {
  return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2);
}

JointAttention& local_joint_attention() {
  static LocalJointAttention attention;
  return attention;
}

}  // namespace magicid::models::hunyuan_video
