// The small world's networks, made from nothing: what `magicid pretrain` calls.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "models/nn/weights.h"
#include "pretraining/options.h"

namespace magicid::pretraining {

// One start of the program.
struct Start {
  std::vector<std::string> only;    // names of the networks to make; empty: all
  models::nn::Placement placement;  // where, and in which dtype, networks compute; weights and optimizer are float
  std::string command;              // what was typed, and
  std::string code_version;         // the program's version: both for the record
};

// Options::dtype with "auto" decided as far as it is pretraining's matter: bfloat16 for a GPU that was asked for, and for a processor that multiplies in it;
// "auto" otherwise.
std::string computing_dtype(const Options& options);

// Makes the networks in the order in which they need each other, each resumable: model/ below Options::output is a pipeline folder with reward networks, record
// and model card, training/ holds checkpoints, figures and pictures. What the record says to be made with these options is left alone; figures of all networks
// together follow once all are made. Throws UserError for an unknown name in Start::only (Options::output is not touched then), for weights that were trained
// with other options, and for a network that needs another that is not made yet; RequeueRequest when the job is asked to stop, after a checkpoint. Collective
// over `world`, which is all ranks of the job.
void pretrain(const Options& options, const Start& start, comm::Communicator& world);

}  // namespace magicid::pretraining
