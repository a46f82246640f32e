#include "pipeline/training_speed.h"

#include "planning/devices.h"
#include "session/gpu.h"

namespace magicid::pipeline {

using models::generator::Share;
using models::generator::TokenCounts;

TrainingWork& TrainingWork::operator+=(const TrainingWork& other) {
  tokens += other.tokens;
  executed += other.executed;
  model += other.model;
  return *this;
}

WorkCounter::WorkCounter(std::shared_ptr<const models::generator::BackboneCost> backbone, models::generator::AdapterSize adapter,
                         models::generator::RecomputePlan recompute)
    : backbone_(std::move(backbone)), adapter_(std::move(adapter)), recompute_(std::move(recompute)) {}

WorkCounter WorkCounter::of(const Run& run) {
  const auto& c = run.config();
  return {run.folder().backbone().cost(),
          {.lora_rank = c.adapter.lora_rank, .targets = c.adapter.targets},
          models::generator::RecomputePlan::parse(c.model.recompute)};
}

TokenCounts WorkCounter::tokens_of(const at::Tensor& latents, const models::generator::Condition& prompt) const {
  return backbone_->tokens_of(latents, prompt);
}

const TrainingWork& WorkCounter::trained(const TokenCounts& tokens) {
  const auto [at, fresh] = trained_.try_emplace({tokens.video, tokens.text});
  if (fresh) {
    const Share share = backbone_->largest_share(tokens, 1);
    const double forward = backbone_->forward_flops(share, &adapter_).total();
    at->second = {
        .tokens = static_cast<double>(tokens.all()),
        .executed = forward + backbone_->backward_flops(share, adapter_, true).total() + backbone_->recomputed_flops(share, adapter_, recompute_).total(),
        .model = forward + backbone_->backward_flops(share, adapter_, false).total()};
  }
  return at->second;
}

const TrainingWork& WorkCounter::predicted(const TokenCounts& tokens, bool adapted) {
  const auto [at, fresh] = (adapted ? predicted_ : bare_).try_emplace({tokens.video, tokens.text});
  if (fresh) {
    const double forward = backbone_->forward_flops(backbone_->largest_share(tokens, 1), adapted ? &adapter_ : nullptr).total();
    at->second = {.tokens = 0, .executed = forward, .model = forward};
  }
  return at->second;
}

std::map<std::string, double> speed_metrics(const TrainingWork& work, double seconds, std::optional<double> peak) {
  if (seconds <= 0) return {};
  std::map<std::string, double> metrics{{"tokens_per_second", work.tokens / seconds}, {"flops_per_second", work.executed / seconds}};
  if (peak) metrics["mfu"] = work.model / seconds / *peak;
  return metrics;
}

std::optional<double> peak_flops(session::Session& session) {
  const auto& placement = session.placement();
  if (!placement.device.is_cuda() || placement.dtype != at::kBFloat16) return std::nullopt;
  const planning::Device* device = planning::device_of_gpu(session::gpu_name(placement.device.index()));
  if (device == nullptr) return std::nullopt;
  return device->peak_flops * session.world().size();
}

training::StepHooks with_speed(training::StepHooks hooks, std::function<TrainingWork(const training::StepRecord& done)> work, std::optional<double> peak) {
  hooks.record = [record = hooks.record, work = std::move(work), peak](const training::StepRecord& done) {
    training::StepRecord extended = done;
    extended.metrics.merge(speed_metrics(work(done), done.metrics.at("step_seconds"), peak));
    if (record) record(extended);
  };
  return hooks;
}

}  // namespace magicid::pipeline
