#include "pipeline/networks.h"

#include <cstdio>

#include "base/hash.h"
#include "base/log.h"
#include "config/writer.h"
#include "session/memory.h"
#include "work/made_once.h"

namespace magicid::pipeline {

models::generator::PromptOptions prompt_options(const ModelOptions& options) {
  return {.template_file = options.template_file, .max_length = options.max_length};
}

std::shared_ptr<rewards::RewardNetworks> borrow_reward_networks(session::Session& session, const Run& run) {
  const auto& c = run.config();
  const auto folders = rewards::reward_folders(c.rewards, c.model.folder);
  auto options = c.rewards;
  const std::string what =
      "reward networks " + base::hash_json({config::to_json(config::described(options), config::FieldSet::all), c.model.folder}).substr(0, 8);
  const auto bytes = [&] {
    double sum = 0;
    for (const auto& folder : {folders.arcface, folders.raft, folders.clip}) sum += session::weights_in_memory(folder, at::kFloat);
    return sum;
  };
  return session.networks().borrow<rewards::RewardNetworks>(what, bytes, [&] {
    return std::make_shared<rewards::RewardNetworks>(rewards::RewardNetworks::load(c.rewards, c.model.folder, session.placement(), {}));
  });
}

std::shared_ptr<const rewards::VqaScore> borrow_vqa(session::Session& session, const Run& run) {
  const auto& c = run.config();
  if (c.rewards.semantics != "vqa") return nullptr;
  const auto folder = rewards::vqa_folder(c.rewards, c.model.folder);
  const auto& question = c.rewards.question;
  const std::string what = "vision-language model " + base::hash_json({rewards::vqa_description(question), folder}).substr(0, 8);
  return session.networks().borrow<rewards::VqaScore>(
      what, [&] { return session::weights_in_memory(folder, rewards::vqa_dtype(question)); },
      [&] { return std::make_shared<rewards::VqaScore>(rewards::VqaScore::load(folder, question, session.placement().device)); });
}

std::map<std::string, models::generator::Condition> encode_prompts_once(session::Session& session, const Run& run, const std::string& what,
                                                                        const std::vector<std::string>& texts) {
  // Named so that every rank finds the tensors of a text again in the encoders' order.
  const auto prefix = [](std::size_t text) {
    char name[32];
    std::snprintf(name, sizeof name, "%08zu/", text);
    return std::string(name);
  };
  const auto encoded = work::made_once(session.world(), what, [&](work::Pulse& pulse) {
    const auto prompts = run.backbone().load_prompts(prompt_options(run.config().model), session.placement());
    work::NamedTensors tensors;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      pulse.beat();
      const auto prompt = prompts->encode(texts[i]);
      if (prompt.warning) base::log::warning("prompt \"" + texts[i] + "\": " + *prompt.warning);
      for (std::size_t k = 0; k < prompt.condition.tensors.size(); ++k)
        tensors.emplace(prefix(i) + prefix(k) + prompt.condition.tensors[k].first, prompt.condition.tensors[k].second);
    }
    return tensors;
  });
  std::map<std::string, models::generator::Condition> conditions;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto& condition = conditions[texts[i]];
    for (auto at = encoded.lower_bound(prefix(i)); at != encoded.end() && at->first.starts_with(prefix(i)); ++at)
      condition.tensors.emplace_back(at->first.substr(2 * prefix(i).size()), at->second);
  }
  return conditions;
}

}  // namespace magicid::pipeline
