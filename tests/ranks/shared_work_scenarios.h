// Ways in which work that is shared out over ranks ends.
#pragma once

#include "comm/communicator.h"

#include <string>
#include <vector>

namespace magicid::testing {

// Runs the scenario; false where there is none of that name.
//   shared-fails RANK first|middle|last     the rank fails in such a piece of its group's, between two collectives
//   preview-fails RANK first|middle|last    the same inside of what asks whether the work was only stopped, as previews do
//   slow-piece SECONDS STEP                 the last rank's piece takes so long, and gives a sign of life every STEP seconds
bool run_shared_work(comm::Communicator& world, const std::string& name, const std::vector<std::string>& words);

}  // namespace magicid::testing
