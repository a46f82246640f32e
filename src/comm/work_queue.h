// A dynamic queue: ranks draw the tickets 0..count-1, each ticket goes to exactly one rank, a quick rank draws more.
//
// Made by Communicator::make_work_queue (collective). A draw takes milliseconds while rank 0 computes, over TCP too: under MPI a small
// thread on rank 0 answers on a communicator of its own. (One-sided operations alone would wait for as long as rank 0 stays outside MPI.)
#pragma once

#include "comm/communicator.h"

#include <cstdint>
#include <optional>

namespace magicid::comm {

class WorkQueue {
 public:
  WorkQueue() = default;
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;
  // Not collective, but rank 0's destructor waits until every rank of the group has destroyed its own. When a rank destroys its queue
  // while an exception passes, no more tickets are given: the others draw nothing further and soon meet it at the next agree(). Rank 0 then waits
  // for a short time only: the others may wait in a collective for it, and its error must get out.
  virtual ~WorkQueue() = default;

  // The next ticket, or nothing when all are given or the queue was ended. Not collective; one thread of a rank at a time.
  virtual std::optional<std::int64_t> next() = 0;

  // Ends the queue for all ranks: draws that follow get nothing. Not collective.
  virtual void close() = 0;

  // A sign that this rank's work goes on, as a draw is one. Cheap enough for each step of a loop. Not collective.
  virtual void alive() = 0;

  // This rank has finished its work, of which `what` says what it is; returns when every rank of the group has said so. It waits for as long as the ranks that
  // still work give signs of life: one that has given none for collective_timeout() ends the job as the watchdog does, and the message names that rank and its
  // node. Collective over the group, once, and no draw may follow.
  virtual void wait_for_all(const std::string& what) = 0;
};

// The leader (rank 0 of `group`) draws and tells the others, so that a sequence group works on one ticket. `queue` is the leader's queue over
// the leaders and may be null on the others. Collective over `group`.
std::optional<std::int64_t> next_for_group(WorkQueue* queue, Communicator& group);

}  // namespace magicid::comm
