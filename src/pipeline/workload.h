// What a configuration asks for, in counts: what `plan` and `preflight` reckon with.
#pragma once

#include "pipeline/configuration.h"
#include "planning/plan.h"

namespace magicid::pipeline {

// Counts the photos and the prompts of the files that it names; four photos where their folder is not here. Throws as read_prompt_lines() does. Not collective.
planning::Workload workload_of(const Configuration& configuration);

}  // namespace magicid::pipeline
