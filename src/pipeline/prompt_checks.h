// Whether the text encoders read of every prompt what it is there for: the word that stands for the person.
#pragma once

#include <vector>

#include "pipeline/configuration.h"
#include "pipeline/run.h"

namespace magicid::pipeline {

// Throws UserError that lists every prompt (file and line, or key) whose trigger word stands behind the part that the language model or CLIP reads, with the
// limit: in such a prompt the person is nobody. `prompts` are as they were written, with {subject} or the trigger itself. Reads the two tokenisers. Not
// collective.
void check_triggers(const Run& run, const std::vector<PromptLine>& prompts);

// For the beginning of a whole run: reads the prompt files of its later stages (optimize.previews, evaluate), so that what is wrong with them is told before
// days of work. Collective.
void check_prompt_files(session::Session& session, Run& run);

// The templates of the previews and of the evaluation with their places: the stages' own files, or the training prompts. Throw as read_prompt_lines.
std::vector<PromptLine> preview_prompts(const Configuration& configuration);
std::vector<PromptLine> evaluation_prompts(const Configuration& configuration);

}  // namespace magicid::pipeline
