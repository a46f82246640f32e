#include "models/generator/joint_attention.h"

namespace magicid::models::generator {

at::Tensor LocalJointAttention::attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const TokenCounts& /*whole*/, AttentionTape* tape) {
  return attention(q, k, v, tape);
}

JointAttention& local_joint_attention() {
  static LocalJointAttention attention;
  return attention;
}

}  // namespace magicid::models::generator
