// A low-rank adapter (LoRA, arXiv:2106.09685) of the Linears that a backbone offers (adaptable.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/generator/adaptable.h"
#include "models/nn/linear.h"
#include "models/nn/weights.h"
#include "storage/safetensors.h"

namespace magicid::models::generator {

struct AdapterOptions {
  // Names inside a block ("img_attn_qkv"), full names ("double_blocks.0.img_attn_qkv"), or either with `*` for any text ("single_blocks.*"). Empty: the
  // backbone's default.
  std::vector<std::string> targets;
  std::int64_t lora_rank = 32;
  double alpha = 32;       // the adapter's product is scaled by alpha / lora_rank
  std::uint64_t seed = 0;  // of A's initial values
};

struct AdapterModule {
  std::string name;  // "double_blocks.0.img_attn_qkv"
  std::int64_t in = 0, out = 0, rank = 0;
  double alpha = 0;

  double scale() const { return alpha / static_cast<double>(rank); }
};

// The values of one module: A [rank, in], B [out, rank].
struct AdapterValues {
  at::Tensor a, b;
  double alpha = 0;
};

// All parameters lie in one buffer, module after module in the blocks' order, A before B; so do the gradients. The optimizer and the
// reduction over ranks work on the two buffers, the network on views of them.
class Adapter {
 public:
  // Throws UserError for a target that matches no module of this network, naming the valid ones: what create() would say, before any work.
  static void check_targets(const Adaptable& network, const std::vector<std::string>& targets);

  // A uniform within 1/sqrt(in) (PEFT's default, kaiming_uniform_ with a = sqrt(5)), B zero, fp32. A's numbers are a function of the seed,
  // the module and the position alone: every rank draws the same, and a module keeps its numbers when other targets are chosen.
  // Throws UserError for a target that matches no module (naming the valid ones), a rank below 1 or an alpha that is not positive.
  static Adapter create(const Adaptable& network, const AdapterOptions& options, c10::Device device = c10::kCPU);

  // From values by module name, copied to `placement` (its dtype is the parameters'). Throws UserError that names `origin` and lists every
  // unknown module and wrong shape.
  static Adapter from_values(const Adaptable& network, const std::map<std::string, AdapterValues>& values, const std::string& origin,
                             const nn::Placement& placement = {});

  // One frozen adapter that does what `parts` do together: each module's ranks side by side, scales folded into B. At least one part.
  static Adapter joined(const std::vector<const Adapter*>& parts, const nn::Placement& placement);

  // MODULE.lora_A.weight [rank, in], MODULE.lora_B.weight [out, rank], MODULE.alpha [] (fp64): copies on the CPU, for checkpoints.
  storage::NamedTensors named_tensors() const;
  // The inverse, with every problem in one UserError.
  static Adapter from_named_tensors(const Adaptable& network, const storage::NamedTensors& tensors, const std::string& origin,
                                    const nn::Placement& placement = {});

  // An independent copy that needs no gradient: a frozen reference, or parameters in the dtype computed with; `strength` as in scale_by.
  Adapter frozen_copy(const nn::Placement& placement, double strength = 1.0) const;

  // Multiplies every module's alpha, and so its product: 0 switches the adapter off, 1 leaves it.
  void scale_by(double strength);

  Adapter(Adapter&&) = default;
  Adapter& operator=(Adapter&&) = default;
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  const std::vector<AdapterModule>& modules() const { return modules_; }
  // The module's tensors, or null when it is not adapted.
  const nn::LoraLayer* find(const std::string& name) const;

  // One dimension, without autograd: an in-place change (under no-grad) is seen by the network at its next forward.
  const at::Tensor& flat_parameters() const { return parameters_; }
  // Undefined until set_requires_grad(true). backward() adds to it in place; zero it between steps with flat_gradients().zero_().
  const at::Tensor& flat_gradients() const { return gradients_; }
  // The leaves that autograd sees, views of flat_parameters() in its order: A and B of each module.
  std::vector<at::Tensor> leaves() const;
  // Those of one block, by its name with the dot ("double_blocks.0.").
  std::vector<at::Tensor> leaves_of(const std::string& block) const;
  // Allocates the gradient buffer at the first call. With false the forward records no graph for the adapter.
  void set_requires_grad(bool requires_grad);

 private:
  Adapter() = default;
  static Adapter allocate(std::vector<AdapterModule> modules, const at::TensorOptions& options);

  std::vector<AdapterModule> modules_;
  std::map<std::string, nn::LoraLayer> layers_;
  at::Tensor parameters_, gradients_;
};

}  // namespace magicid::models::generator
