#include "pipeline/training_speed.h"

#include <ATen/ops/sum.h>

#include "planning/devices.h"
#include "session/gpu.h"

namespace magicid::pipeline {
namespace {

namespace hv = models::hunyuan_video;

}  // namespace

TrainingWork& TrainingWork::operator+=(const TrainingWork& other) {
  tokens += other.tokens;
  executed += other.executed;
  model += other.model;
  return *this;
}

WorkCounter::WorkCounter(hv::TransformerConfig config, planning::AdapterSize adapter, models::generator::RecomputePlan recompute)
    : config_(std::move(config)), adapter_(std::move(adapter)), recompute_(std::move(recompute)) {}

WorkCounter WorkCounter::of(const Run& run) {
  const auto& c = run.config();
  return {hv::TransformerConfig::from_file(run.folder().path() / "transformer" / "config.json"),
          {.lora_rank = c.adapter.lora_rank, .targets = c.adapter.targets},
          models::generator::RecomputePlan::parse(c.model.recompute)};
}

planning::Tokens WorkCounter::tokens_of(const at::Tensor& latents, const models::generator::Condition& prompt) const {
  const at::Tensor mask = prompt.find("prompt_attention_mask");
  return {.video = latents.size(2) / config_.patch_size_t * (latents.size(3) / config_.patch_size) * (latents.size(4) / config_.patch_size),
          .text = mask.defined() ? mask.sum().item<std::int64_t>() : prompt.at("prompt_embeds").size(1)};
}

const TrainingWork& WorkCounter::trained(const planning::Tokens& tokens) {
  const auto [at, fresh] = trained_.try_emplace({tokens.video, tokens.text});
  if (fresh) {
    const planning::Share share = planning::largest_share(config_, tokens, 1);
    const double forward = planning::forward_flops(config_, share, &adapter_).total();
    at->second = {.tokens = static_cast<double>(tokens.all()),
                  .executed = forward + planning::backward_flops(config_, share, adapter_, true).total() +
                              planning::recomputed_flops(config_, share, adapter_, recompute_).total(),
                  .model = forward + planning::backward_flops(config_, share, adapter_, false).total()};
  }
  return at->second;
}

const TrainingWork& WorkCounter::predicted(const planning::Tokens& tokens, bool adapted) {
  const auto [at, fresh] = (adapted ? predicted_ : bare_).try_emplace({tokens.video, tokens.text});
  if (fresh) {
    const double forward = planning::forward_flops(config_, planning::largest_share(config_, tokens, 1), adapted ? &adapter_ : nullptr).total();
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
