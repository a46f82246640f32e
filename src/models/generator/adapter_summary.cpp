#include "models/generator/adapter_summary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "base/names.h"

namespace magicid::models::generator {
namespace {

bool all_finite(const nn::LoraLayer& layer) { return at::isfinite(layer.a).all().item<bool>() && at::isfinite(layer.b).all().item<bool>(); }

// |B A|^2 is the trace of (B^T B)(A A^T), two matrices of the rank's size.
double product_norm(const nn::LoraLayer& layer) {
  const at::Tensor a = layer.a.detach().cpu().to(at::kDouble), b = layer.b.detach().cpu().to(at::kDouble);
  const double square = (b.t().mm(b) * a.mm(a.t())).sum().item<double>();
  return std::abs(layer.scale) * std::sqrt(std::max(0.0, square));
}

// "double_blocks.0" of "double_blocks.0.img_attn_qkv": up to the first number.
std::string block_of(const std::string& module) {
  const auto digits = module.find_first_of("0123456789");
  return digits == std::string::npos ? module : module.substr(0, module.find('.', digits));
}

void add_square(std::optional<double>& sum, const std::optional<double>& norm) {
  if (norm) sum = sum.value_or(0) + *norm * *norm;
}

}  // namespace

std::vector<std::string> modules_not_finite(const Adapter& adapter) {
  std::vector<std::string> names;
  for (const auto& m : adapter.modules())
    if (!all_finite(*adapter.find(m.name))) names.push_back(m.name);
  return names;
}

AdapterSummary summarize(const Adapter& adapter, const std::function<double(const std::string& module)>& weight_norm) {
  const c10::AutoGradMode no_grad(false);
  AdapterSummary summary;
  summary.parameters = adapter.flat_parameters().numel();
  double square = 0;
  std::vector<std::string> zero;
  for (const auto& m : adapter.modules()) {
    const auto& layer = *adapter.find(m.name);
    ModuleNorms norms{.module = m, .weight = {}, .finite = all_finite(layer)};
    norms.product = norms.finite ? product_norm(layer) : std::numeric_limits<double>::quiet_NaN();
    if (weight_norm) norms.weight = weight_norm(m.name);
    if (norms.product == 0) zero.push_back(m.name);
    const std::string name = block_of(m.name);
    if (summary.blocks.empty() || summary.blocks.back().block != name) summary.blocks.push_back({.block = name, .weight = {}});
    // Squares until all modules are in.
    auto& block = summary.blocks.back();
    block.product += norms.product * norms.product;
    add_square(block.weight, norms.weight);
    square += norms.product * norms.product;
    summary.modules.push_back(std::move(norms));
  }
  for (auto& block : summary.blocks) {
    block.product = std::sqrt(block.product);
    if (block.weight) block.weight = std::sqrt(*block.weight);
  }
  summary.product = std::sqrt(square);
  if (const auto broken = modules_not_finite(adapter); !broken.empty())
    summary.warnings.push_back(base::concat("numbers that are not finite (NaN or infinity) in ", broken.size(), " of ", adapter.modules().size(),
                                            " modules: every video made with it is spoiled. ", base::join_names(broken, 3)));
  if (zero.size() == adapter.modules().size())
    summary.warnings.push_back("the adapter does nothing: B (or the strength) is zero in every module, as before the first step of training");
  else if (!zero.empty())
    summary.warnings.push_back(
        base::concat(zero.size(), " of ", adapter.modules().size(), " modules do nothing (their product is zero): ", base::join_names(zero, 3)));
  return summary;
}

}  // namespace magicid::models::generator
