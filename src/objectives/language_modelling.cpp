#include "objectives/language_modelling.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/matmul.h>

#include "base/errors.h"

namespace magicid::objectives {

LanguageLoss language_loss(const models::text::LlamaEncoder& network, const at::Tensor& head, const LanguageBatch& batch) {
  const std::int64_t tokens = batch.input_ids.size(1);
  base::check_invariant(batch.first >= 1 && batch.first < tokens, "prediction from position ", batch.first, " of ", tokens, " tokens; 1 to ", tokens - 1,
                        " was expected");
  const at::Tensor states = network.hidden_states(batch.input_ids, batch.attention_mask);
  const at::Tensor predicted = (batch.attention_mask.slice(1, batch.first) != 0).flatten().nonzero().squeeze(1).to(states.device());
  base::check_invariant(predicted.numel() > 0, "no text of the batch reaches position ", batch.first, ", from which tokens are predicted");
  // The state before a token predicts it.
  const at::Tensor before = states.slice(1, batch.first - 1, tokens - 1).flatten(0, 1).index_select(0, predicted);
  const at::Tensor targets = batch.input_ids.slice(1, batch.first).flatten().to(states.device()).index_select(0, predicted);
  const at::Tensor logits = at::matmul(before, head.to(before.scalar_type()).t()).to(at::kFloat);
  return {at::cross_entropy_loss(logits, targets), (logits.detach().argmax(-1) == targets).to(at::kFloat).mean()};
}

LanguageModelling::LanguageModelling(models::text::LlamaConfig config, models::nn::Parameters& parameters, at::ScalarType dtype, LanguageBatches batches)
    : config_(std::move(config)), parameters_(parameters), dtype_(dtype), batches_(std::move(batches)) {}

std::vector<double> LanguageModelling::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const auto batch = batches_(step, slot, global_batch);
  const auto network = models::text::LlamaEncoder::from_weights(config_, parameters_.weights(dtype_), /*layers_to_skip=*/0);
  const auto result = language_loss(network, parameters_.at(language_head), batch);
  result.loss.backward();
  return {result.loss.item<double>(), result.accuracy.item<double>()};
}

}  // namespace magicid::objectives
