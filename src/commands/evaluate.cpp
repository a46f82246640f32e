// `magicid evaluate`: the same prompts and noise without adapter, after stage 1 and after HPO, measured.

#include <algorithm>
#include <map>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "commands/adapters.h"
#include "commands/evaluation.h"
#include "commands/other_runs.h"
#include "commands/prepared.h"
#include "commands/reward_networks.h"
#include "commands/stages.h"
#include "commands/work.h"
#include "diffusion/initial_noise.h"
#include "generation/sample.h"
#include "media/video.h"
#include "parallel/replicas.h"
#include "rewards/features.h"
#include "rewards/statistics.h"
#include "run_directory/segment_store.h"
#include "storage/atomic_file.h"

namespace magicid::commands {
namespace {

using nlohmann::json;
using run_directory::Stage;
namespace hv = models::hunyuan_video;

const storage::Schema schema{"magicid.evaluation", 1};

std::vector<std::string> evaluation_templates(const Configuration& c) { return read_prompt_templates(c.evaluate.prompts.empty() ? c.prompts : c.evaluate.prompts); }

// In the order of tables and columns: other runs stand before this run's result.
std::vector<std::string> arms_of(const Configuration& c) {
  std::vector<std::string> arms = c.evaluate.arms, others;
  for (const auto& [name, root] : c.evaluate.runs) others.push_back(name);
  arms.insert(std::find(arms.begin(), arms.end(), "hpo"), others.begin(), others.end());
  return arms;
}

std::vector<EvaluationItem> plan_items(const Configuration& c, const std::vector<std::string>& templates, const std::map<std::string, std::string>& adapters, const json& common) {
  std::vector<EvaluationItem> items;
  for (const auto& arm : arms_of(c))
    for (std::size_t p = 0; p < templates.size(); ++p)
      for (std::int64_t j = 0; j < c.evaluate.videos_per_prompt; ++j) {
        // The bare model does not know the trigger; its videos show what the prompt gives without the person.
        EvaluationItem item{.arm = arm, .prompt = static_cast<std::int64_t>(p), .sample = j, .text = render_prompt(templates[p], c.subject, arm != "base")};
        item.description = {{"evaluation", common}, {"adapter", adapters.at(arm)}, {"prompt", item.text}, {"noise", {{"template", templates[p]}, {"sample", j}}}};
        item.key = run_directory::content_key(item.description);
        items.push_back(std::move(item));
      }
  return items;
}

// Loaded by a rank with its first piece of work.
struct Evaluator {
  Evaluator(RunContext& context)
      : networks(RewardNetworks::load(context.config(), context.placement(), {})), transformer(context.pipeline().load_transformer(context.placement())),
        autoencoder(context.pipeline().load_autoencoder(context.placement())), scheduler(context.pipeline().scheduler().with_shift(context.config().generate.sampling.shift)) {}

  RewardNetworks networks;
  hv::Transformer transformer;
  hv::Autoencoder autoencoder;
  diffusion::FlowMatchEulerScheduler scheduler;
};

// Collective over the sequence group.
at::Tensor sample(RunContext& context, Evaluator& e, const EvaluationItem& item, const std::string& prompt_template, const std::map<std::string, models::text::PromptEmbeddings>& prompts,
                  const hv::Adapter* adapter) {
  const Configuration& c = context.config();
  const auto& s = c.generate.sampling;
  std::optional<generation::PromptEmbeddings> negative;
  if (s.true_cfg > 1 && !s.negative_prompt.empty()) negative = prompts.at(s.negative_prompt);
  const auto shape = generation::latent_shape({c.video.height, c.video.width, c.video.frames}, e.transformer.config(), e.autoencoder.config());
  // The same noise in every arm.
  const at::Tensor noise = diffusion::initial_noise(context.seed(), "evaluation-noise/" + prompt_template + "/" + std::to_string(item.sample), shape);
  return generation::sample_latents(e.transformer, adapter, e.scheduler, noise, prompts.at(item.text), negative,
                                    {.steps = static_cast<int>(s.steps), .guidance = s.guidance, .true_cfg = s.true_cfg}, stop_together_when_asked(context.sequence_ranks()),
                                    &context.sequence_ranks());
}

json measure(RunContext& context, Evaluator& e, const EvaluationItem& item, const at::Tensor& latents, const Prepared& prepared) {
  const Configuration& c = context.config();
  const at::Tensor frames = generation::decode_frames(e.autoencoder, latents);
  const double fps = static_cast<double>(c.video.fps);
  media::write_mp4(context.layout().previews() / preview_name(item), frames, {.fps = fps});
  const auto features = rewards::measure_video(frames, fps, e.networks.models(), e.networks.frame_detector(), c.rewards.scoring, /*every_frame=*/true);
  const auto m = rewards::evaluate_video(features, prepared.face_embeddings, e.networks.text_feature(item.text), prepared.image_embeddings, c.rewards.scoring);
  return {{"face_similarity", m.face_similarity},       {"dynamic_degree", m.dynamic_degree}, {"dynamic", m.dynamic ? 1.0 : 0.0},
          {"temporal_consistency", m.temporal_consistency}, {"clip_t", m.clip_text},          {"clip_i", m.clip_image},
          {"frames_with_face", static_cast<double>(m.frames_with_face)}};
}

// Who is shown, by the photos' bytes: `compare` groups runs of one person by it.
std::string person_of(const Prepared& prepared) {
  std::set<std::string> photos;
  for (const auto& reference : prepared.references) photos.insert(reference.image_hash);
  return base::hash_json(json(photos));
}

// Means with 95% bootstrap intervals over videos, by arm and by prompt.
json summarise(const Configuration& c, const Prepared& prepared, const std::vector<EvaluationItem>& items, const std::vector<json>& figures, const std::vector<std::string>& templates) {
  json report{{"person", person_of(prepared)},
              {"noise_seed", c.seed},
              {"prompts", templates},
              {"video", {{"height", c.video.height}, {"width", c.video.width}, {"frames", c.video.frames}, {"fps", c.video.fps}}},
              {"interval", "95% percentile bootstrap of the mean over videos"},
              {"arms", json::array()},
              {"videos", json::array()}};
  for (std::size_t i = 0; i < items.size(); ++i)
    report["videos"].push_back({{"arm", items[i].arm}, {"prompt", items[i].prompt}, {"sample", items[i].sample}, {"text", items[i].text}, {"preview", preview_name(items[i])}, {"metrics", figures[i]}});
  for (const auto& arm : arms_of(c)) {
    std::map<std::string, std::vector<double>> values;
    for (std::size_t i = 0; i < items.size(); ++i)
      if (items[i].arm == arm)
        for (const auto& [name, value] : figures[i].items()) values[name].push_back(value.get<double>());
    json metrics = json::object();
    for (const auto& [name, list] : values) {
      const auto interval = rewards::bootstrap_mean(list, 0.95, 2000, static_cast<std::uint64_t>(c.seed));
      metrics[name] = {{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
    }
    report["arms"].push_back({{"arm", arm}, {"metrics", metrics}});
  }
  return report;
}

}  // namespace

std::string preview_name(const EvaluationItem& item) { return "evaluate-" + item.key.substr(0, 16) + ".mp4"; }

void evaluate(RunContext& context) {
  const Configuration& c = context.config();
  comm::Communicator& world = context.world();
  const std::string prepared_result = context.result_of(Stage::prepare);
  std::map<std::string, std::string> adapters;
  for (const auto& arm : c.evaluate.arms)
    adapters[arm] = arm == "base" ? "none" : context.result_of(arm == "stage1" ? Stage::reconstruct : Stage::optimize);
  const auto others = other_runs(context);
  json other_results = json::array();  // names stand in the results, the keys of the videos hold only adapters
  for (const auto& other : others) {
    adapters[other.arm] = other.result;
    other_results.push_back({other.arm, other.result});
  }
  std::vector<std::string> templates;
  Prepared prepared;
  json common;
  comm::agree(world, "planning the evaluation", [&] {
    templates = evaluation_templates(c);
    prepared = Prepared::load(context.layout().prepared());
    if (!context.leader()) return;
    const RewardFolders folders = reward_folders(c);
    common = {{"model", context.pipeline().fingerprint()},
              {"arcface", RunContext::folder_fingerprint(folders.arcface)},
              {"raft", RunContext::folder_fingerprint(folders.raft)},
              {"clip", RunContext::folder_fingerprint(folders.clip)},
              {"references", {parallel::hash_of(prepared.face_embeddings), parallel::hash_of(prepared.image_embeddings)}},
              {"options", context.options_of({"model", "video", "generate", "rewards", "seed"})}};
  });
  common = json::parse(world.broadcast_string(common.dump(), 0));
  const auto items = plan_items(c, templates, adapters, common);
  json keys = json::array();
  for (const auto& item : items) keys.push_back(item.key);
  json inputs{{"prepare", prepared_result}, {"videos", base::hash_json(keys)}};
  if (!others.empty()) inputs["runs"] = other_results;
  context.stage(Stage::evaluate, context.options_of({"evaluate"}), inputs, [&] {
    run_directory::SegmentStore store(context.layout().evaluation_store(), schema);
    std::set<std::string> seen;  // arms with the same adapter have the same videos
    const auto missing = find_missing(context, items.size(), [&](std::size_t i) { return !seen.insert(items[i].key).second || store.contains(items[i].key); });
    std::map<std::string, models::text::PromptEmbeddings> prompts;
    std::map<std::string, hv::Adapter> trained;
    if (!missing.empty()) {
      for (const auto& arm : c.evaluate.arms)
        if (arm != "base") trained.emplace(arm, load_trained(context, arm == "stage1" ? Stage::reconstruct : Stage::optimize).frozen_copy(context.placement()));
      for (const auto& other : others) trained.emplace(other.arm, load_other(context, other).frozen_copy(context.placement()));
      comm::agree(world, "encoding the evaluation prompts", [&] {
        std::set<std::string> texts;
        for (const auto& item : items) texts.insert(item.text);
        if (c.generate.sampling.true_cfg > 1 && !c.generate.sampling.negative_prompt.empty()) texts.insert(c.generate.sampling.negative_prompt);
        prompts = encode_prompts(context, {texts.begin(), texts.end()});
      });
    }
    std::optional<Evaluator> evaluator;
    const auto make = [&](std::size_t i) {
      if (!evaluator) evaluator.emplace(context);
      const auto& item = items[i];
      return sample(context, *evaluator, item, templates[static_cast<std::size_t>(item.prompt)], prompts, item.arm == "base" ? nullptr : &trained.at(item.arm));
    };
    work_through_together(context, "evaluate", missing, items.size(), make, [&](std::size_t i, const at::Tensor& latents) {
      store.put({.description = items[i].description, .metadata = measure(context, *evaluator, items[i], latents, prepared)});
    });
    RunContext::StageResult done;
    comm::agree(world, "writing evaluation.json", [&] {
      if (!context.leader()) return;
      store.refresh();
      std::vector<json> figures;
      for (const auto& item : items) {
        const auto found = store.find(item.key);
        if (!found) throw base::UserError(context.layout().root.string(), "/evaluation: video ", item.key, " is missing or damaged; run `magicid evaluate` again");
        figures.push_back(found->metadata);
      }
      storage::write_text_atomically(context.layout().evaluation(), summarise(c, prepared, items, figures, templates).dump(2) + "\n");
      done.files = {context.layout().evaluation()};
      store.merge();
    });
    return done;
  });
}

}  // namespace magicid::commands
