#include "pipeline/prompt_checks.h"

#include <algorithm>
#include <optional>

#include "base/errors.h"
#include "comm/rank_errors.h"
#include "pipeline/networks.h"

namespace magicid::pipeline {
namespace {

// The prompt as it is rendered, up to the end of the first trigger word; none when it does not name the person.
std::optional<std::string> up_to_trigger(const std::string& prompt, const SubjectOptions& subject) {
  if (const auto mark = prompt.find("{subject}"); mark != std::string::npos) return prompt.substr(0, mark) + subject.trigger;
  if (const auto word = prompt.find(subject.trigger); word != std::string::npos) return prompt.substr(0, word) + subject.trigger;
  return std::nullopt;
}

}  // namespace

void check_triggers(const Run& run, const std::vector<PromptLine>& prompts) {
  constexpr std::size_t shown = 12;
  const Configuration& c = run.config();
  const auto read = run.backbone().load_prompt_limits(prompt_options(c.model));
  std::vector<std::string> problems;
  for (const auto& prompt : prompts) {
    const auto beginning = up_to_trigger(prompt.text, c.subject);
    if (!beginning) continue;
    std::string limits;
    for (const auto& limit : read->within(*beginning)) limits += (limits.empty() ? "" : "; ") + limit;
    if (!limits.empty()) problems.push_back(prompt.where + ": the trigger word \"" + c.subject.trigger + "\" is not read: " + limits);
  }
  if (problems.empty()) return;
  std::string text;
  for (std::size_t i = 0; i < std::min(shown, problems.size()); ++i) text += problems[i] + "\n";
  if (problems.size() > shown) text += base::concat("and ", problems.size() - shown, " more\n");
  throw base::UserError(text, "Move {subject} to the front or shorten what stands before it; model.max_length is the language model's limit, CLIP's is fixed.");
}

std::vector<PromptLine> preview_prompts(const Configuration& c) {
  const auto& previews = c.optimize.previews;
  auto prompts = read_prompt_lines(previews.prompts.empty() ? c.prompts : previews.prompts);
  if (prompts.size() > static_cast<std::size_t>(previews.count)) prompts.resize(static_cast<std::size_t>(previews.count));
  return prompts;
}

std::vector<PromptLine> evaluation_prompts(const Configuration& c) { return read_prompt_lines(c.evaluate.prompts.empty() ? c.prompts : c.evaluate.prompts); }

void check_prompt_files(session::Session& session, Run& run) {
  comm::agree(session.world(), "reading the prompts of later stages", [&] {
    if (!session.leader()) return;
    const Configuration& c = run.config();
    std::vector<PromptLine> prompts;
    const auto add = [&](const std::vector<PromptLine>& more) { prompts.insert(prompts.end(), more.begin(), more.end()); };
    // The training prompts are prepare's to check.
    if (c.optimize.previews.every > 0 && !c.optimize.previews.prompts.empty()) add(preview_prompts(c));
    if (!c.evaluate.prompts.empty()) add(evaluation_prompts(c));
    if (!prompts.empty()) check_triggers(run, prompts);
  });
}

}  // namespace magicid::pipeline
