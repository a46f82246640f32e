// The README.md of a folder of the small world's networks: what it is, how it was made and what was measured.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace magicid::pretraining {

// Markdown with the front matter that model hubs read. `record` is model/pretraining.json: for each network
//   world, seed, options     what it was made with
//   steps, hours, validation the latter by figure
//   code_version
//   starts                   [{after_step, schedule, command, ranks}, ...]: who went on from which step; without command and ranks where they were not recorded
//   networks                 xxh128 of the folders that it learned from, where there are such
//   origin                   where its weights began, where that is not the seed alone
//   history                  a text that somebody wrote into the record; kept while training goes on from a checkpoint
// and `assessment`, where it is there, with the figures of all networks together. What older records lack is said to be lacking. Figures whose meaning is not
// known here are listed under their own names, behind the others. Throws nlohmann's exception where steps, hours, world, seed or validation are missing.
std::string model_card(const nlohmann::json& record);

}  // namespace magicid::pretraining
