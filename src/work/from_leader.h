// What rank 0 reads for all.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "comm/communicator.h"

namespace magicid::work {

// What `read` returns on rank 0, on every rank; its error on every rank, too, with `what` in the report. A request to stop is answered in between. JSON is how
// the values travel: callers give and take them by name. Collective over `world`.
nlohmann::json from_leader(comm::Communicator& world, const std::string& what, const std::function<nlohmann::json()>& read);

}  // namespace magicid::work
