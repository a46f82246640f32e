#include "training/checkpoint.h"

namespace magicid::training {

nlohmann::json position_of(const Checkpoint& checkpoint) {
  nlohmann::json position{{"next_sample", checkpoint.next_sample}};
  if (const auto& l = checkpoint.layout) position["layout"] = {{"replica", l->replica}, {"pair", l->pair}, {"sequence", l->sequence}};
  return position;
}

void read_position(const nlohmann::json& state, Checkpoint& checkpoint) {
  checkpoint.next_sample = state.value("next_sample", checkpoint.next_sample);
  if (state.contains("layout") && state["layout"].is_object()) {
    const auto& l = state["layout"];
    checkpoint.layout = comm::MeshShape{.replica = l.value("replica", 1), .pair = l.value("pair", 1), .sequence = l.value("sequence", 1)};
  }
}

}  // namespace magicid::training
