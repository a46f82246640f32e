// One network from its options to its folder.
#pragma once

#include "comm/communicator.h"
#include "pretraining/network_list.h"
#include "pretraining/pretraining.h"

namespace magicid::pretraining {

// Trains the network from its newest intact checkpoint, or from nothing, writes its folder and its entry of the record; nothing where the record says that
// these options made it. Throws as pretrain(). Collective over `world`.
void make_network(const NetworkEntry& entry, const Context& context, const Options& options, const Start& start, comm::Communicator& world);

}  // namespace magicid::pretraining
