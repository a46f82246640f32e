// Two public namings of RAFT's tensors.
#pragma once

#include <string>

namespace magicid::models::vision {

// What princeton-vl/RAFT (core/raft.py) calls the tensor that torchvision's optical_flow.RAFT calls `name`, without a "module." before it.
// `separable` is true for the large network, whose recurrent unit has a horizontal and a vertical half.
std::string princeton_raft_name(const std::string& name, bool separable);

}  // namespace magicid::models::vision
