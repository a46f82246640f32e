// What a backbone offers to adapters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace magicid::models::generator {

// A Linear that can be adapted. HunyuanVideo's are fused ones (q, k and v in one matrix), so that every module can be exported to all file layouts at the same
// rank.
struct AdaptableLinear {
  std::string name;    // its module, "double_blocks.0.img_attn_qkv"
  std::string target;  // its name inside a block, "img_attn_qkv": what users list as an adapter's targets
  std::int64_t in = 0, out = 0;
};

struct Adaptable {
  std::string size;                          // in words, for messages: "20 double and 40 single blocks"
  std::vector<AdaptableLinear> linears;      // of this model, in the order of its blocks
  std::vector<std::string> targets;          // of every model of its class: a name that this one has no block for is no mistake
  std::vector<std::string> default_targets;  // those that are adapted when none are listed
};

// Whether one of an adapter's targets names a Linear: its name inside a block, its full name, or either with `*` for any text, dots included.
bool names_linear(const std::string& target, const std::string& name_inside_block, const std::string& full_name);

}  // namespace magicid::models::generator
