// The small transformer that tests/reference/make_adapter.py and make_adapter_layouts.py use, with weights by formula.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <filesystem>

#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "models/nn/network_config.h"
#include "support/formula_weights.h"

namespace magicid::tests {

struct SmallAdapters {
  static std::filesystem::path data() { return std::filesystem::path(MAGICID_TEST_DATA) / "adapter"; }

  static models::hunyuan_video::TransformerConfig config() {
    static const nlohmann::json parsed = read_json(data() / "cases.json");
    return models::hunyuan_video::TransformerConfig::from_json({parsed.at("config"), "cases.json"});
  }

  static storage::NamedTensors weights() {
    storage::NamedTensors tensors;
    for (const auto& [name, shape] : models::hunyuan_video::transformer_parameter_shapes(config())) tensors[name] = formula_tensor(name, shape);
    return tensors;
  }

  static models::hunyuan_video::Transformer transformer(at::ScalarType dtype = at::kFloat) {
    return models::hunyuan_video::Transformer::load(config(), models::nn::Weights::from_tensors(weights(), "formula", {at::kCPU, dtype}));
  }

  static at::Tensor formula_input(const std::string& name, const std::vector<std::int64_t>& shape) {
    const at::Tensor tensor = formula_tensor(name, shape);
    return tensor * std::sqrt(static_cast<double>(tensor[0].numel()) / 3.0);
  }

  static models::hunyuan_video::TransformerInputs inputs() {
    models::hunyuan_video::TransformerInputs in;
    in.hidden_states = formula_input("hidden_states", {1, 4, 3, 4, 6});
    in.encoder_hidden_states = formula_input("encoder_hidden_states", {1, 6, 20});
    in.pooled_projections = formula_input("pooled_projections", {1, 12});
    in.encoder_attention_mask = at::zeros({1, 6});
    in.encoder_attention_mask.narrow(1, 0, 4).fill_(1);
    in.timestep = at::full({1}, 725.0);
    in.guidance = at::full({1}, 1000.0);
    return in;
  }

  static at::Tensor forward(const models::hunyuan_video::Transformer& network, const models::generator::Adapter* adapter) {
    const c10::AutoGradMode no_grad(false);
    return network.forward(inputs(), adapter);
  }
};

}  // namespace magicid::tests
