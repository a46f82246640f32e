// Qwen2.5-VL's language model: Qwen2 with three positions for each token.
// S: tokens, D: width, V: vocabulary, K: head size.
// Source: transformers' models/qwen2_5_vl/modeling_qwen2_5_vl.py (5.24).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/nn/weights.h"
#include "models/qwen2_5_vl/config.h"
#include "models/text/decoder_layer.h"

namespace magicid::models::qwen2_5_vl {

class LanguageModel {
 public:
  // `weights` holds embed_tokens, layers and norm; `head` holds lm_head, which is read unless the head is tied to the embedding.
  static LanguageModel load(const QwenVlConfig& config, const nn::Weights& weights, const nn::Weights& head);

  // input_ids [S] int64 -> [S,D].
  at::Tensor embed(const at::Tensor& input_ids) const;
  // Final states [S,D] of tokens embedded as [S,D]; positions [3,S] int64.
  at::Tensor states(const at::Tensor& embedded, const at::Tensor& positions) const;
  // states [N,D] -> logits [N,V] in fp32. The product is computed in fp32 whatever the weights' dtype: logits in bf16, of a size of 20 or so, would be a tenth
  // apart, and with them the probabilities that videos are told apart by.
  at::Tensor logits(const at::Tensor& states) const;

 private:
  LanguageModelConfig config_;
  nn::Placement placement_;
  at::Tensor embedding_, head_;  // [V,D]; the same when tied
  std::vector<text::DecoderLayer> layers_;
  at::Tensor norm_;  // [D]
};

}  // namespace magicid::models::qwen2_5_vl
