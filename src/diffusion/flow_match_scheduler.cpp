#include "diffusion/flow_match_scheduler.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/errors.h"

namespace magicid::diffusion {
namespace {

using nlohmann::json;

constexpr const char* kClass = "FlowMatchEulerDiscreteScheduler";

// Options that must be off (false, null or 0): with any of them the reference visits other sigmas or takes another step.
constexpr const char* kUnsupported[] = {"use_dynamic_shifting",   "invert_sigmas",   "shift_terminal",     "use_karras_sigmas",
                                        "use_exponential_sigmas", "use_beta_sigmas", "stochastic_sampling"};

bool is_off(const json& value) { return value.is_null() || (value.is_boolean() && !value.get<bool>()) || (value.is_number() && value.get<double>() == 0); }

void check_shift(double shift, const std::string& where) {
  if (!(shift > 0) || !std::isfinite(shift))
    throw base::UserError(where, "shift: expected a positive number (7 at 720p, 2 to 5 at low resolution), found ", shift);
}

}  // namespace

FlowMatchEulerScheduler::FlowMatchEulerScheduler(const Config& config) : config_(config) {
  check_shift(config.shift, "");
  if (config.num_train_timesteps <= 0) throw base::UserError("num_train_timesteps: expected a positive number, found ", config.num_train_timesteps);
}

FlowMatchEulerScheduler FlowMatchEulerScheduler::from_json(const json& object, const std::string& origin) {
  if (!object.is_object()) throw base::UserError(origin, ": expected a JSON object, found ", object.type_name());
  const auto class_name = object.find("_class_name");
  if (class_name != object.end() && *class_name != kClass)
    throw base::UserError(origin, ": key '_class_name': this program knows ", kClass, ", found ", class_name->dump());
  for (const char* key : kUnsupported)
    if (object.contains(key) && !is_off(object.at(key)))
      throw base::UserError(origin, ": key '", key, "': not supported, found ", object.at(key).dump(),
                            ". HunyuanVideo samples with a static shift; use the scheduler_config.json that belongs to it");
  Config config;
  if (const auto found = object.find("shift"); found != object.end() && !found->is_null()) {
    if (!found->is_number()) throw base::UserError(origin, ": key 'shift': expected a positive number, found ", found->dump());
    config.shift = found->get<double>();
    check_shift(config.shift, origin + ": ");
  }
  if (const auto found = object.find("num_train_timesteps"); found != object.end() && !found->is_null()) {
    if (!found->is_number_integer() || found->get<std::int64_t>() <= 0)
      throw base::UserError(origin, ": key 'num_train_timesteps': expected a positive whole number, found ", found->dump());
    config.num_train_timesteps = found->get<std::int64_t>();
  }
  return FlowMatchEulerScheduler(config);
}

FlowMatchEulerScheduler FlowMatchEulerScheduler::from_folder(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "scheduler_config.json";
  std::ifstream in(file);
  if (!in) throw base::UserError(file.string(), ": cannot be read; expected the configuration of a ", kClass, " in diffusers' layout");
  json object;
  try {
    object = json::parse(in);
  } catch (const json::exception& error) {
    throw base::UserError(file.string(), ": not valid JSON: ", error.what());
  }
  return from_json(object, file.string());
}

json FlowMatchEulerScheduler::to_json() const {
  return {{"_class_name", kClass}, {"num_train_timesteps", config_.num_train_timesteps}, {"shift", config_.shift}};
}

FlowMatchEulerScheduler FlowMatchEulerScheduler::with_shift(double shift) const {
  check_shift(shift, "");
  Config config = config_;
  config.shift = shift;
  return FlowMatchEulerScheduler(config);
}

NoiseSchedule FlowMatchEulerScheduler::schedule(int steps) const {
  if (steps <= 0) throw base::UserError("sampling steps: expected a positive number, found ", steps);
  NoiseSchedule schedule;
  // The reference's arithmetic: an even grid in double, rounded to fp32, everything after that in fp32.
  const double spacing = -1.0 / steps;
  const float shift = static_cast<float>(config_.shift), shift_minus_one = static_cast<float>(config_.shift - 1);
  for (int i = 0; i < steps; ++i) {
    const float u = static_cast<float>(i * spacing + 1.0);
    const float numerator = shift * u, product = shift_minus_one * u, denominator = 1.0f + product;
    schedule.sigmas.push_back(numerator / denominator);
    schedule.timesteps.push_back(schedule.sigmas.back() * static_cast<float>(config_.num_train_timesteps));
  }
  schedule.sigmas.push_back(0.0f);
  return schedule;
}

at::Tensor euler_step(const NoiseSchedule& schedule, int step, const at::Tensor& latents, const at::Tensor& velocity) {
  base::check_invariant(step >= 0 && step < schedule.steps(), "euler_step: step ", step, " of ", schedule.steps());
  base::check_invariant(latents.scalar_type() == at::kFloat, "euler_step: latents must be fp32, found ", c10::toString(latents.scalar_type()));
  base::check_invariant(latents.sizes() == velocity.sizes(), "euler_step: latents ", latents.sizes(), " and velocity ", velocity.sizes(), " differ in shape");
  const float difference = schedule.sigmas[static_cast<std::size_t>(step) + 1] - schedule.sigmas[static_cast<std::size_t>(step)];
  return velocity.to(at::kFloat).mul(difference).add(latents);
}

}  // namespace magicid::diffusion
