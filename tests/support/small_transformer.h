// The smallest diffusion transformer that has every part: three heads, one block of each kind.
#pragma once

#include "models/hunyuan_video/transformer_config.h"

namespace magicid::tests {

inline models::hunyuan_video::TransformerConfig small_transformer_config() {
  models::hunyuan_video::TransformerConfig c;
  c.in_channels = c.out_channels = 4;
  c.num_attention_heads = 3;
  c.attention_head_dim = 16;
  c.num_layers = c.num_single_layers = c.num_refiner_layers = 1;
  c.text_embed_dim = 24;
  c.pooled_projection_dim = 12;
  c.rope_axes_dim = {4, 6, 6};
  return c;
}

}  // namespace magicid::tests
