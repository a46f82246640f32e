// The Linears of the transformer's blocks under their two sets of names.
//
// This program computes with Tencent's layout (github.com/Tencent-Hunyuan/HunyuanVideo, hyvideo/modules/models.py), in which q, k, v (and
// the single blocks' MLP input) are one matrix; diffusers splits it by rows (scripts/convert_hunyuan_video_to_diffusers.py).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/generator/adaptable.h"
#include "models/hunyuan_video/transformer_config.h"

namespace magicid::models::hunyuan_video {

// Rows of a fused matrix that diffusers holds as a module of its own.
struct RowPart {
  std::string name;  // diffusers' module, "transformer_blocks.0.attn.to_q"
  std::int64_t rows = 0;
};

struct BlockLinear {
  std::string name;    // Tencent's module, "double_blocks.0.img_attn_qkv"
  std::string target;  // its name inside a block, "img_attn_qkv": what users list as an adapter's targets
  std::int64_t in = 0, out = 0;
  bool modulation = false;
  std::vector<RowPart> parts;  // in row order; their rows sum to `out`
};

// Of one double or single block. The names hold the block's index.
std::vector<BlockLinear> double_block_linears(const TransformerConfig& config, std::int64_t index);
std::vector<BlockLinear> single_block_linears(const TransformerConfig& config, std::int64_t index);
// Of all blocks, double first.
std::vector<BlockLinear> block_linears(const TransformerConfig& config);
// The same as adapters see them; the modulations are adapted only where they are asked for.
generator::Adaptable adaptable(const TransformerConfig& config);

}  // namespace magicid::models::hunyuan_video
