#include "work/from_leader.h"

#include "comm/rank_errors.h"

namespace magicid::work {

using nlohmann::json;

json from_leader(comm::Communicator& world, const std::string& what, const std::function<json()>& read) {
  json value;
  comm::agree_unless_stopped(world, what, [&] {
    if (world.rank() == 0) value = read();
  });
  return json::parse(world.broadcast_string(value.dump(), 0));
}

}  // namespace magicid::work
