// What a rank tells the others while it makes a piece of work, and hears from them.
#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"
#include "comm/work_queue.h"

namespace magicid::work {

class Pulse {
 public:
  // `what` names the work in messages. `together`: the ranks that make one piece with each other; null or a group of one: each rank by itself. All must outlive
  // this object.
  Pulse(std::string what, comm::WorkQueue& queue, comm::Communicator* together = nullptr);

  // A sign of life: ranks that wait for this one go on waiting. To be given at least every comm::collective_timeout(); it costs next to nothing, so a loop
  // gives it at each step. Not collective.
  void beat();

  // The same, and throws base::RequeueRequest once SIGTERM or SIGUSR1 arrived at any rank of the group that makes the piece together, on all of them: finished
  // pieces stay, the one in hand is made again. Collective over that group.
  void beat_or_stop();

 private:
  std::string what_;
  comm::WorkQueue& queue_;
  comm::Communicator* together_;
};

// comm::agree() for work that takes much longer on some ranks than on others: those that have finished wait for as long as the others give signs of life
// (WorkQueue::wait_for_all), not for a fixed time. Before its first beat a rank has comm::collective_timeout(), as between two beats. Collective over `world`;
// `work` itself must not communicate over `world`.
void agree_with_patience(comm::Communicator& world, const std::string& what, const std::function<void(Pulse&)>& work);

}  // namespace magicid::work
