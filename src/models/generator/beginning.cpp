#include "models/generator/beginning.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <map>
#include <set>
#include <sstream>

#include "base/errors.h"
#include "base/names.h"
#include "models/generator/adapter_summary.h"

namespace magicid::models::generator {
namespace {

// "img_attn_qkv" of "double_blocks.0.img_attn_qkv": what is behind the block's number.
std::string name_in_block(const std::string& module) {
  const auto number = module.find_first_of("0123456789"), dot = number == std::string::npos ? number : module.find('.', number);
  return dot == std::string::npos ? module : module.substr(dot + 1);
}

// The settings under which an adapter has these modules, where one rank is enough.
std::string fitting_settings(const Adapter& from) {
  std::set<std::int64_t> ranks;
  std::set<std::string> names;
  for (const auto& m : from.modules()) ranks.insert(m.rank), names.insert(name_in_block(m.name));
  if (ranks.size() > 1)
    return "The file's ranks differ by module, and one lora_rank cannot give them: train it further where it was made, or begin without it.";
  std::string targets;
  for (const auto& name : names) targets += (targets.empty() ? "" : ", ") + name;
  return base::concat("adapter.lora_rank: ", *ranks.begin(), " and adapter.targets: [", targets, "] fit it, if it adapts these in every block.");
}

}  // namespace

void check_beginning(const std::vector<AdapterModule>& wanted, const Adapter& from, const std::string& origin) {
  std::map<std::string, std::int64_t> ranks;
  for (const auto& m : from.modules()) ranks[m.name] = m.rank;
  std::vector<std::string> absent, other_ranks, surplus;
  for (const auto& m : wanted) {
    const auto found = ranks.find(m.name);
    if (found == ranks.end()) {
      absent.push_back(m.name);
      continue;
    }
    if (found->second != m.rank) other_ranks.push_back(base::concat(m.name, " (", found->second, ")"));
    ranks.erase(found);
  }
  for (const auto& [name, rank] : ranks) surplus.push_back(name);
  std::ostringstream problems;
  if (!absent.empty()) problems << "\n  modules of adapter.targets that it does not have: " << base::join_names(absent, 8);
  if (!surplus.empty()) problems << "\n  modules that it has beside adapter.targets: " << base::join_names(surplus, 8);
  if (!other_ranks.empty()) problems << "\n  ranks other than adapter.lora_rank " << wanted.front().rank << ": " << base::join_names(other_ranks, 8);
  if (!problems.str().empty())
    throw base::UserError("adapter.initialize_from: ", origin, " is not an adapter as this configuration trains it:", problems.str(), "\n",
                          fitting_settings(from));
  if (const auto broken = modules_not_finite(from); !broken.empty())
    throw base::UserError("adapter.initialize_from: ", origin, " holds numbers that are not finite (NaN or infinity): ", base::join_names(broken, 8));
}

void begin_with(Adapter& adapter, const Adapter& from, const std::string& origin) {
  check_beginning(adapter.modules(), from, origin);
  const c10::AutoGradMode no_grad(false);
  for (const auto& m : adapter.modules()) {
    const nn::LoraLayer &to = *adapter.find(m.name), &values = *from.find(m.name);
    at::Tensor a = to.a, b = to.b;  // views of the one buffer
    a.copy_(values.a);
    b.copy_(values.scale == to.scale ? values.b : (values.b.to(at::kDouble) * (values.scale / to.scale)));
  }
}

}  // namespace magicid::models::generator
