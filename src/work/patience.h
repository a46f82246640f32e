// Internal to this room: what the functions that share out work have in common.
#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"
#include "comm/work_queue.h"

namespace magicid::work {

// Throws the base::RequeueRequest of work that was asked to stop.
[[noreturn]] void throw_stopped(const std::string& what);

// comm::agree() whose ranks wait for each other in `queue`. A failure on any rank closes the queue: the others finish what they have in hand. Collective over
// `world`.
void agree_with_patience(comm::Communicator& world, const std::string& what, comm::WorkQueue& queue, const std::function<void()>& work);

}  // namespace magicid::work
