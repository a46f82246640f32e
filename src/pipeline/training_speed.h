// How fast a training stage works: tokens and operations a second beside every step's figures.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "models/generator/condition.h"
#include "models/generator/cost.h"
#include "pipeline/run.h"
#include "training/step_loop.h"

namespace magicid::pipeline {

// Of the transformer, over all ranks together; what ranks of a sequence group compute twice (the text refiner) counts once.
struct TrainingWork {
  double tokens = 0;    // video and text tokens of the sequences that are trained
  double executed = 0;  // operations with all that is computed again: recomputed blocks, the scores in the backward of attention
  double model = 0;     // operations without that, as MFU counts them (PaLM, arXiv:2204.02311, appendix B)
  TrainingWork& operator+=(const TrainingWork& other);
  TrainingWork operator*(double share) const { return {tokens * share, executed * share, model * share}; }
};

// Operations by models/generator/cost.h.
class WorkCounter {
 public:
  WorkCounter(std::shared_ptr<const models::generator::BackboneCost> backbone, models::generator::AdapterSize adapter,
              models::generator::RecomputePlan recompute);
  // From a configuration: its adapter and model.recompute.
  static WorkCounter of(const Run& run);

  // The tokens of latents [1,C,T,H,W] and of the prompt's text that is not padding.
  models::generator::TokenCounts tokens_of(const at::Tensor& latents, const models::generator::Condition& prompt) const;

  // Forward and backward of one sequence for the adapter.
  const TrainingWork& trained(const models::generator::TokenCounts& tokens);
  // A forward alone, as of HPO's reference; its tokens count nothing. `adapted`: with an adapter.
  const TrainingWork& predicted(const models::generator::TokenCounts& tokens, bool adapted);

 private:
  using Key = std::pair<std::int64_t, std::int64_t>;
  std::shared_ptr<const models::generator::BackboneCost> backbone_;
  models::generator::AdapterSize adapter_;
  models::generator::RecomputePlan recompute_;
  std::map<Key, TrainingWork> trained_, predicted_, bare_;
};

// tokens_per_second, flops_per_second (executed), and where `peak` is known mfu (model operations over `peak` operations a second).
std::map<std::string, double> speed_metrics(const TrainingWork& work, double seconds, std::optional<double> peak);

// Operations a second that all ranks' devices reach at most, where it is known: GPUs of planning/devices.h in bfloat16.
std::optional<double> peak_flops(session::Session& session);

// Adds speed_metrics() to what is recorded of each step: of its `work` over step_seconds. Called on rank 0.
training::StepHooks with_speed(training::StepHooks hooks, std::function<TrainingWork(const training::StepRecord& done)> work, std::optional<double> peak);

}  // namespace magicid::pipeline
