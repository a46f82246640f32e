// The Euler scheduler of flow matching as HunyuanVideo's pipeline uses it: which sigmas a sampling run visits, and its step.
// Reference: FlowMatchEulerDiscreteScheduler in diffusers' scheduling_flow_match_euler_discrete.py, called by pipeline_hunyuan_video.py
// with sigmas = linspace(1, 0, N+1) without the last.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace magicid::diffusion {

// The noise levels of one sampling run, in fp32 and equal to diffusers' to the bit.
struct NoiseSchedule {
  std::vector<float> sigmas;     // [steps + 1], falling from 1, the last is 0
  std::vector<float> timesteps;  // [steps], sigma * num_train_timesteps

  int steps() const { return static_cast<int>(timesteps.size()); }
};

class FlowMatchEulerScheduler {
 public:
  struct Config {
    std::int64_t num_train_timesteps = 1000;
    double shift = 1.0;
  };

  explicit FlowMatchEulerScheduler(const Config& config);
  // From the contents of diffusers' scheduler_config.json, named `origin` in messages. Throws UserError for another scheduler class and for
  // an option that changes the sigmas or the step in a way that HunyuanVideo does not use (dynamic shifting, inverted, terminal-stretched,
  // Karras, exponential or beta sigmas, stochastic sampling).
  static FlowMatchEulerScheduler from_json(const nlohmann::json& json, const std::string& origin);
  // Reads `folder`/scheduler_config.json.
  static FlowMatchEulerScheduler from_folder(const std::filesystem::path& folder);
  nlohmann::json to_json() const;

  const Config& config() const { return config_; }
  // The same scheduler with another shift. Throws UserError unless it is positive.
  FlowMatchEulerScheduler with_shift(double shift) const;

  // Throws UserError unless steps > 0.
  NoiseSchedule schedule(int steps) const;

 private:
  Config config_;
};

// x + (sigma[step+1] - sigma[step]) * velocity, in fp32 whatever the velocity's dtype. latents fp32, velocity of the same shape.
at::Tensor euler_step(const NoiseSchedule& schedule, int step, const at::Tensor& latents, const at::Tensor& velocity);

}  // namespace magicid::diffusion
