#include "work/made_once.h"

#include <ATen/ops/empty.h>

#include <nlohmann/json.hpp>
#include <vector>

namespace magicid::work {

NamedTensors made_once(comm::Communicator& world, const std::string& what, const std::function<NamedTensors(Pulse&)>& make) {
  NamedTensors tensors;
  std::string header_text;
  agree_with_patience(world, what, [&](Pulse& pulse) {
    if (world.rank() != 0) return;
    for (const auto& [name, tensor] : make(pulse)) tensors.emplace(name, tensor.detach().cpu().contiguous());
    nlohmann::json list = nlohmann::json::array();
    for (const auto& [name, tensor] : tensors)
      list.push_back({{"name", name}, {"dtype", static_cast<int>(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}});
    header_text = list.dump();
  });
  const nlohmann::json headers = nlohmann::json::parse(world.broadcast_string(header_text, 0));
  for (const auto& header : headers) {
    const auto name = header.at("name").get<std::string>();
    if (world.rank() != 0)
      tensors.emplace(name, at::empty(header.at("shape").get<std::vector<std::int64_t>>(), static_cast<at::ScalarType>(header.at("dtype").get<int>())));
    world.broadcast(tensors.at(name), 0);
  }
  return tensors;
}

}  // namespace magicid::work
