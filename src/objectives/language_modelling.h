// Training of a decoder by next-token prediction, where only part of the text counts: a prompt inside a fixed instruction.
// Source: Bengio et al., "A Neural Probabilistic Language Model" (JMLR 3, 2003); the decoder is Touvron et al.'s (arXiv:2302.13971).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/nn/parameters.h"
#include "models/text/llama.h"
#include "training/objective.h"

namespace magicid::objectives {

// The tensor [vocabulary, width] among the parameters that turns states into logits. Only training has it: LlamaModel's folder holds none.
inline constexpr const char* language_head = "lm_head.weight";

struct LanguageBatch {
  at::Tensor input_ids;       // [B,S] int64
  at::Tensor attention_mask;  // [B,S]: ones, then zeros, in each row
  std::int64_t first = 1;     // the first position whose token is predicted, from those before it; at least 1
};
// The batch of one slot of one step; a function of its arguments alone.
using LanguageBatches = std::function<LanguageBatch(std::int64_t step, std::int64_t slot, std::int64_t global_batch)>;

struct LanguageLoss {
  at::Tensor loss;      // a number: mean over predicted tokens of -log probability, differentiable
  at::Tensor accuracy;  // a number: share of predicted tokens that are the most probable one
};
// Throws InvariantError when no token of the batch is predicted.
LanguageLoss language_loss(const models::text::LlamaEncoder& network, const at::Tensor& head, const LanguageBatch& batch);

class LanguageModelling : public training::Objective {
 public:
  // `parameters` holds LlamaModel's tensors and language_head, and must outlive the objective; the network computes in `dtype`, the loss in float.
  LanguageModelling(models::text::LlamaConfig config, models::nn::Parameters& parameters, at::ScalarType dtype, LanguageBatches batches);

  at::Tensor parameters() override { return parameters_.values(); }
  at::Tensor gradient() override { return parameters_.gradient(); }
  std::vector<std::string> metric_names() const override { return {"loss", "accuracy"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

 private:
  models::text::LlamaConfig config_;
  models::nn::Parameters& parameters_;
  at::ScalarType dtype_;
  LanguageBatches batches_;
};

}  // namespace magicid::objectives
