#include "models/generator/adapter.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include "base/errors.h"
#include "base/random.h"
#include "models/generator/beginning.h"

namespace magicid::models::generator {
namespace {

using base::UserError;

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// Indices of the Linears that `asked` names. Throws UserError as Adapter::check_targets.
std::set<std::size_t> chosen_linears(const Adaptable& network, const std::vector<std::string>& asked) {
  const auto& targets = asked.empty() ? network.default_targets : asked;
  const auto& linears = network.linears;
  std::set<std::size_t> chosen;
  std::vector<std::string> unknown;
  for (const auto& target : targets) {
    const std::size_t before = chosen.size();
    bool found = false;
    for (std::size_t i = 0; i < linears.size(); ++i)
      if (names_linear(target, linears[i].target, linears[i].name)) chosen.insert(i), found = true;
    // A HunyuanVideo without double blocks (or single ones) has none of their modules: a name that other models know is no mistake.
    if (!found && chosen.size() == before && std::find(network.targets.begin(), network.targets.end(), target) == network.targets.end())
      unknown.push_back("'" + target + "'");
  }
  if (!unknown.empty() || chosen.empty())
    throw UserError("adapter.targets: no module of the transformer matches ", unknown.empty() ? join(targets) : join(unknown), "; valid targets are ",
                    join(network.targets), ", full names such as '", linears.empty() ? "" : linears.front().name, "' (", network.size,
                    "), and both with '*' for any text");
  return chosen;
}

void throw_all(const std::string& origin, const std::vector<std::string>& problems) {
  if (problems.empty()) return;
  std::ostringstream text;
  text << origin << ": " << problems.size() << (problems.size() == 1 ? " problem" : " problems") << " with the adapter's tensors:";
  for (const auto& problem : problems) text << "\n  " << problem;
  throw UserError(text.str());
}

bool has_shape(const at::Tensor& t, std::int64_t rows, std::int64_t columns) {
  return t.defined() && t.dim() == 2 && (rows < 0 ? t.size(0) > 0 : t.size(0) == rows) && (columns < 0 ? t.size(1) > 0 : t.size(1) == columns);
}

std::string shape_text(const at::Tensor& t) {
  std::ostringstream out;
  if (t.defined()) out << t.sizes();
  else out << "none";
  return out.str();
}

}  // namespace

void Adapter::check_targets(const Adaptable& network, const std::vector<std::string>& targets) { chosen_linears(network, targets); }

Adapter Adapter::allocate(std::vector<AdapterModule> modules, const at::TensorOptions& options) {
  const c10::AutoGradMode no_grad(false);
  Adapter adapter;
  std::int64_t size = 0;
  for (const auto& m : modules) size += m.rank * (m.in + m.out);
  adapter.parameters_ = at::zeros({size}, options);
  std::int64_t offset = 0;
  const auto view = [&](std::int64_t rows, std::int64_t columns) {
    const at::Tensor part = adapter.parameters_.narrow(0, offset, rows * columns).view({rows, columns}).detach();
    offset += rows * columns;
    return part;
  };
  for (const auto& m : modules) {
    nn::LoraLayer& layer = adapter.layers_[m.name];
    layer.a = view(m.rank, m.in);
    layer.b = view(m.out, m.rank);
    layer.scale = m.scale();
  }
  adapter.modules_ = std::move(modules);
  return adapter;
}

std::vector<AdapterModule> planned_modules(const Adaptable& network, const AdapterOptions& options) {
  if (options.lora_rank < 1) throw UserError("adapter: lora_rank is ", options.lora_rank, "; expected at least 1");
  if (!std::isfinite(options.alpha) || options.alpha <= 0) throw UserError("adapter: alpha is ", options.alpha, "; expected a positive number");
  std::vector<AdapterModule> modules;
  for (const std::size_t i : chosen_linears(network, options.targets)) {
    const auto& linear = network.linears[i];
    modules.push_back({linear.name, linear.in, linear.out, options.lora_rank, options.alpha});
  }
  return modules;
}

Adapter Adapter::create(const Adaptable& network, const AdapterOptions& options, c10::Device device) {
  Adapter adapter = allocate(planned_modules(network, options), at::TensorOptions(at::kFloat).device(device));
  const base::CounterRandom random(options.seed, "adapter-a");
  std::size_t module = 0;
  for (const std::size_t i : chosen_linears(network, options.targets)) {
    const auto& m = adapter.modules_[module++];
    const double bound = 1.0 / std::sqrt(static_cast<double>(m.in));
    const at::Tensor values = at::empty({m.rank, m.in}, at::kFloat);
    float* out = values.mutable_data_ptr<float>();
    for (std::int64_t j = 0; j < values.numel(); ++j) out[j] = static_cast<float>(bound * (2 * random.uniform(i, static_cast<std::uint64_t>(j)) - 1));
    adapter.layers_.at(m.name).a.copy_(values);
  }
  return adapter;
}

Adapter Adapter::from_values(const Adaptable& network, const std::map<std::string, AdapterValues>& values, const std::string& origin,
                             const nn::Placement& placement) {
  std::vector<AdapterModule> modules;
  std::vector<std::string> problems;
  std::set<std::string> known;
  for (const auto& linear : network.linears) {
    known.insert(linear.name);
    const auto found = values.find(linear.name);
    if (found == values.end()) continue;
    const auto& v = found->second;
    const std::int64_t rank = has_shape(v.a, -1, linear.in) ? v.a.size(0) : -1;
    if (rank < 0) problems.push_back(linear.name + ": A is " + shape_text(v.a) + "; expected [rank, " + std::to_string(linear.in) + "]");
    if (!has_shape(v.b, linear.out, rank))
      problems.push_back(linear.name + ": B is " + shape_text(v.b) + "; expected [" + std::to_string(linear.out) + ", " +
                         (rank < 0 ? "rank" : std::to_string(rank)) + "]");
    if (!std::isfinite(v.alpha)) problems.push_back(linear.name + ": alpha is not finite");
    modules.push_back({linear.name, linear.in, linear.out, rank, v.alpha});
  }
  for (const auto& [name, v] : values)
    if (!known.contains(name)) problems.push_back(name + ": the transformer has no such module");
  throw_all(origin, problems);
  if (modules.empty()) throw UserError(origin, ": holds no adapter of this transformer's blocks");
  Adapter adapter = allocate(std::move(modules), at::TensorOptions(placement.dtype).device(placement.device));
  for (auto& [name, layer] : adapter.layers_) {
    layer.a.copy_(values.at(name).a);
    layer.b.copy_(values.at(name).b);
  }
  return adapter;
}

Adapter Adapter::joined(const std::vector<const Adapter*>& parts, const nn::Placement& placement) {
  base::check_invariant(!parts.empty(), "an adapter cannot be joined of none");
  const c10::AutoGradMode no_grad(false);
  struct Factors {
    std::vector<at::Tensor> a, b;
  };
  std::vector<AdapterModule> modules;
  std::map<std::string, Factors> factors;
  for (const Adapter* part : parts)
    for (const auto& m : part->modules_) {
      auto& own = factors[m.name];
      if (own.a.empty()) modules.push_back({m.name, m.in, m.out, 0, 0});
      const auto& layer = part->layers_.at(m.name);
      own.a.push_back(layer.a);
      own.b.push_back(layer.b.to(at::kDouble) * layer.scale);
    }
  for (auto& m : modules) {
    for (const auto& a : factors.at(m.name).a) m.rank += a.size(0);
    m.alpha = static_cast<double>(m.rank);
  }
  Adapter adapter = allocate(std::move(modules), at::TensorOptions(placement.dtype).device(placement.device));
  for (auto& [name, layer] : adapter.layers_) {
    layer.a.copy_(at::cat(factors.at(name).a));
    layer.b.copy_(at::cat(factors.at(name).b, 1));
  }
  return adapter;
}

storage::NamedTensors Adapter::named_tensors() const {
  storage::NamedTensors tensors;
  for (const auto& m : modules_) {
    const auto& layer = layers_.at(m.name);
    tensors[m.name + ".lora_A.weight"] = layer.a.detach().to(c10::kCPU, layer.a.scalar_type(), false, /*copy=*/true);
    tensors[m.name + ".lora_B.weight"] = layer.b.detach().to(c10::kCPU, layer.b.scalar_type(), false, /*copy=*/true);
    tensors[m.name + ".alpha"] = at::scalar_tensor(m.alpha, at::kDouble);
  }
  return tensors;
}

Adapter Adapter::from_named_tensors(const Adaptable& network, const storage::NamedTensors& tensors, const std::string& origin, const nn::Placement& placement) {
  std::map<std::string, AdapterValues> values;
  std::vector<std::string> problems;
  for (const auto& [name, tensor] : tensors) {
    const auto module = [&](const char* suffix) { return name.substr(0, name.size() - std::string(suffix).size()); };
    if (name.ends_with(".lora_A.weight")) values[module(".lora_A.weight")].a = tensor;
    else if (name.ends_with(".lora_B.weight")) values[module(".lora_B.weight")].b = tensor;
    else if (name.ends_with(".alpha") && tensor.numel() == 1) values[module(".alpha")].alpha = tensor.item<double>();
    else problems.push_back(name + ": not MODULE.lora_A.weight, MODULE.lora_B.weight or a number MODULE.alpha");
  }
  for (const auto& [name, v] : values)
    if (!tensors.contains(name + ".alpha")) problems.push_back(name + ".alpha: missing");
  throw_all(origin, problems);
  return from_values(network, values, origin, placement);
}

Adapter Adapter::frozen_copy(const nn::Placement& placement, double strength) const {
  Adapter copy = allocate(modules_, at::TensorOptions(placement.dtype).device(placement.device));
  copy.parameters_.copy_(parameters_);
  copy.scale_by(strength);
  return copy;
}

void Adapter::scale_by(double strength) {
  if (!std::isfinite(strength)) throw UserError("adapter: a strength of ", strength, " is not a number; 1 leaves the adapter as it was trained");
  for (auto& m : modules_) {
    m.alpha *= strength;
    layers_.at(m.name).scale = m.scale();
  }
}

const nn::LoraLayer* Adapter::find(const std::string& name) const {
  const auto found = layers_.find(name);
  return found == layers_.end() ? nullptr : &found->second;
}

std::vector<at::Tensor> Adapter::leaves() const {
  std::vector<at::Tensor> leaves;
  for (const auto& m : modules_) {
    leaves.push_back(layers_.at(m.name).a);
    leaves.push_back(layers_.at(m.name).b);
  }
  return leaves;
}

std::vector<at::Tensor> Adapter::leaves_of(const std::string& block) const {
  std::vector<at::Tensor> leaves;
  for (const auto& m : modules_) {
    if (!m.name.starts_with(block)) continue;
    leaves.push_back(layers_.at(m.name).a);
    leaves.push_back(layers_.at(m.name).b);
  }
  return leaves;
}

void Adapter::set_requires_grad(bool requires_grad) {
  if (requires_grad && !gradients_.defined()) {
    gradients_ = at::zeros_like(parameters_);
    std::int64_t offset = 0;
    // Autograd adds to a gradient that is already there in place, so that every gradient lands in the one buffer.
    for (at::Tensor& leaf : leaves()) {
      leaf.mutable_grad() = gradients_.narrow(0, offset, leaf.numel()).view(leaf.sizes()).detach();
      offset += leaf.numel();
    }
  }
  for (at::Tensor& leaf : leaves()) leaf.set_requires_grad(requires_grad);
}

}  // namespace magicid::models::generator
