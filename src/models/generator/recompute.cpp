#include "models/generator/recompute.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>

#include "base/errors.h"

namespace magicid::models::generator {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Tensors stay out of it: those saved for backward are freed after it, these live as long as the graph.
struct Saved : torch::CustomClassHolder {
  Saved(BlockFunction f, std::size_t i, std::size_t p, std::int64_t b) : block(std::move(f)), inputs(i), parameters(p), backend(b) {}
  BlockFunction block;
  std::size_t inputs, parameters;
  std::int64_t backend;
};

struct RecomputedBlock : torch::autograd::Function<RecomputedBlock> {
  // The parameters are arguments, so that the node exists (and they get gradients) even where no input needs one.
  static variable_list forward(AutogradContext* ctx, at::TensorList inputs, at::TensorList parameters, Recompute mode, const BlockFunction* block) {
    AttentionTape tape;
    // Grad mode is off in here, so the block may write over what it is given; the originals are needed again.
    std::vector<at::Tensor> own;
    for (const auto& input : inputs) own.push_back(input.clone());
    variable_list outputs = (*block)(std::move(own), mode == Recompute::attention_kept ? &tape : nullptr);
    variable_list saved(inputs.begin(), inputs.end());
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    saved.insert(saved.end(), tape.kept.begin(), tape.kept.end());
    ctx->save_for_backward(std::move(saved));
    ctx->set_materialize_grads(false);
    ctx->saved_data["block"] = at::IValue::make_capsule(c10::make_intrusive<Saved>(*block, inputs.size(), parameters.size(), tape.backend));
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder = ctx->saved_data["block"].toCapsule();
    const auto& saved = static_cast<const Saved&>(*holder);
    const variable_list tensors = ctx->get_saved_variables();
    AttentionTape tape{.mode = AttentionTape::Mode::replay, .backend = saved.backend, .kept = {}};
    tape.kept.assign(tensors.begin() + static_cast<std::ptrdiff_t>(saved.inputs + saved.parameters), tensors.end());

    const at::AutoGradMode grad_mode(true);
    std::vector<at::Tensor> inputs;
    variable_list wanted;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < saved.inputs + saved.parameters; ++i) {
      at::Tensor tensor = tensors[i];
      if (i < saved.inputs) {
        tensor = tensor.detach();
        if (ctx->needs_input_grad(i)) tensor.requires_grad_();
        inputs.push_back(tensor);
      }
      if (ctx->needs_input_grad(i)) {
        wanted.push_back(tensor);
        places.push_back(i);
      }
    }
    const auto recomputed = saved.block(std::move(inputs), tape.kept.empty() ? nullptr : &tape);
    tape.kept.clear();
    variable_list outputs, output_grads;
    for (std::size_t i = 0; i < recomputed.size(); ++i) {
      if (!grads[i].defined() || !recomputed[i].requires_grad()) continue;
      outputs.push_back(recomputed[i]);
      output_grads.push_back(grads[i]);
    }
    variable_list result(saved.inputs + saved.parameters + 2);
    if (outputs.empty() || wanted.empty()) return result;
    const auto found = torch::autograd::grad(outputs, wanted, output_grads, /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
    for (std::size_t i = 0; i < found.size(); ++i) result[places[i]] = found[i];
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> run_block(Recompute mode, const BlockFunction& block, std::vector<at::Tensor> inputs, const std::vector<at::Tensor>& parameters) {
  const auto needs = [](const at::Tensor& t) { return t.requires_grad(); };
  const bool graph =
      at::GradMode::is_enabled() && (std::any_of(inputs.begin(), inputs.end(), needs) || std::any_of(parameters.begin(), parameters.end(), needs));
  if (!graph || mode == Recompute::none) return block(std::move(inputs), nullptr);
  return RecomputedBlock::apply(at::TensorList(inputs), at::TensorList(parameters), std::move(mode), &block);
}

}  // namespace magicid::models::generator
