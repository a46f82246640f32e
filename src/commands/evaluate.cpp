// `magicid evaluate`: the same prompts and noise without adapter, after stage 1 and after HPO, and folders of other videos, measured.
//
// First the videos that are not there yet are made, then every video is measured from its file: what is shown is what is measured, and another method's files are treated
// as our own.

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "commands/adapters.h"
#include "commands/candidates.h"
#include "commands/other_runs.h"
#include "commands/prepared.h"
#include "commands/stages.h"
#include "commands/work.h"
#include "diffusion/initial_noise.h"
#include "evaluation/evaluation.h"
#include "evaluation/video_folders.h"
#include "evaluation/video_measurer.h"
#include "generation/sample.h"
#include "media/video.h"
#include "models/vision/i3d.h"
#include "parallel/replicas.h"
#include "rewards/reward_networks.h"
#include "run_directory/segment_store.h"
#include "storage/atomic_file.h"

namespace magicid::commands {
namespace {

using evaluation::EvaluationItem;
using evaluation::EvaluationResult;
using evaluation::FolderVideo;
using evaluation::PromptList;
using evaluation::VideoFigures;
using nlohmann::json;
using run_directory::Stage;
namespace hv = models::hunyuan_video;

const storage::Schema schema{"magicid.evaluation", 1};

std::vector<std::string> evaluation_templates(const Configuration& c) { return read_prompt_templates(c.evaluate.prompts.empty() ? c.prompts : c.evaluate.prompts); }

// In the order of tables and columns: other methods and other runs stand before this run's result.
std::vector<std::string> arms_of(const Configuration& c) {
  std::vector<std::string> arms = c.evaluate.arms, others;
  for (const auto& [name, folder] : c.evaluate.folders) others.push_back(name);
  for (const auto& [name, root] : c.evaluate.runs) others.push_back(name);
  arms.insert(std::find(arms.begin(), arms.end(), "hpo"), others.begin(), others.end());
  return arms;
}

json to_json(const std::vector<FolderVideo>& videos) {
  json list = json::array();
  for (const auto& v : videos) list.push_back({v.file, v.prompt, v.sample, v.hash});
  return list;
}

// What stands outside the run, looked at by rank 0 before any work.
struct Plan {
  json generation, measures;  // what determines a generated video, and any figure, beside what is the video's own
  json folders;               // arm -> videos
  json real;                  // videos
};

std::size_t smallest_arm(const Configuration& c, std::size_t templates, const json& folders) {
  std::size_t smallest = templates * static_cast<std::size_t>(c.evaluate.videos_per_prompt);
  if (c.evaluate.arms.empty() && c.evaluate.runs.empty()) smallest = SIZE_MAX;
  for (const auto& [name, videos] : folders.items()) smallest = std::min(smallest, videos.size());
  return smallest;
}

Plan make_plan(RunContext& context, std::size_t templates, const Prepared& prepared) {
  const Configuration& c = context.config();
  const auto& e = c.evaluate;
  if (arms_of(c).empty()) throw base::UserError("evaluate: no arm is named; list some in evaluate.arms, evaluate.folders or evaluate.runs");
  Plan plan;
  plan.folders = json::object();
  for (const auto& [name, folder] : e.folders) plan.folders[name] = to_json(evaluation::read_video_folder("evaluate.folders." + name + ": " + folder, folder));
  plan.real = json::array();
  if (!e.real_videos.empty()) {
    if (!e.i3d.empty()) models::vision::I3d::load(e.i3d, at::kCPU);  // a file that is none is found before hours of work
    plan.real = to_json(evaluation::read_real_videos("evaluate.real_videos: " + e.real_videos, e.real_videos, smallest_arm(c, templates, plan.folders)));
  }
  const rewards::RewardFolders folders = rewards::reward_folders(c.rewards, c.model.folder);
  plan.generation = generation_description(c, context.pipeline().fingerprint(), dtype_name(context.placement()));
  plan.generation["seed"] = c.seed;
  plan.measures = {{"version", evaluation::measure_version},
                   {"arcface", RunContext::folder_fingerprint(folders.arcface)},
                   {"raft", RunContext::folder_fingerprint(folders.raft)},
                   {"clip", RunContext::folder_fingerprint(folders.clip)},
                   {"references", {parallel::hash_of(prepared.face_embeddings), parallel::hash_of(prepared.image_embeddings)}},
                   {"options", context.options_of({"rewards"})},
                   {"i3d", e.real_videos.empty() || e.i3d.empty() ? "none" : base::hash_file(e.i3d)}};
  return plan;
}

void describe_figures(EvaluationItem& item, const Plan& plan) {
  item.description = {{"video", item.video}, {"measures", plan.measures}, {"prompt", item.measured_text}};
  item.key = run_directory::content_key(item.description);
}

EvaluationItem folder_item(const std::string& arm, const std::filesystem::path& folder, const json& video) {
  EvaluationItem item{.arm = arm, .sample = video[2], .text = video[1], .video = {{"file", video[3]}}, .file = folder / video[0].get<std::string>()};
  item.video_key = run_directory::content_key(item.video);
  return item;
}

std::vector<EvaluationItem> plan_items(const Configuration& c, PromptList& prompts, const std::map<std::string, std::string>& adapters, const Plan& plan) {
  std::vector<EvaluationItem> items;
  for (const auto& arm : arms_of(c)) {
    if (plan.folders.contains(arm)) {
      const auto folder = std::find_if(c.evaluate.folders.begin(), c.evaluate.folders.end(), [&](const auto& f) { return f.first == arm; })->second;
      for (const auto& video : plan.folders.at(arm)) {
        EvaluationItem item = folder_item(arm, folder, video);
        item.prompt = prompts.index_of(item.text, c.subject);
        item.measured_text = without_trigger(item.text, c.subject);
        describe_figures(item, plan);
        items.push_back(std::move(item));
      }
      continue;
    }
    for (std::size_t p = 0; p < prompts.templates; ++p)
      for (std::int64_t j = 0; j < c.evaluate.videos_per_prompt; ++j) {
        // The bare model does not know the trigger; its videos show what the prompt gives without the person.
        EvaluationItem item{.arm = arm, .prompt = static_cast<std::int64_t>(p), .sample = j, .text = render_prompt(prompts.prompts[p], c.subject, arm != "base")};
        item.measured_text = render_prompt(prompts.prompts[p], c.subject, false);
        item.video = {{"generation", plan.generation}, {"adapter", adapters.at(arm)}, {"prompt", item.text}, {"noise", {{"template", prompts.prompts[p]}, {"sample", j}}}};
        item.video_key = run_directory::content_key(item.video);
        describe_figures(item, plan);
        items.push_back(std::move(item));
      }
  }
  return items;
}

std::vector<EvaluationItem> real_items(const Configuration& c, const Plan& plan) {
  std::vector<EvaluationItem> items;
  for (const auto& video : plan.real) {
    items.push_back(folder_item("", c.evaluate.real_videos, video));
    describe_figures(items.back(), plan);
  }
  return items;
}

// Loaded by a rank with its first video.
struct VideoMaker {
  VideoMaker(RunContext& context)
      : transformer(context.pipeline().load_transformer(context.placement())), autoencoder(context.pipeline().load_autoencoder(context.placement())),
        scheduler(context.pipeline().scheduler().with_shift(context.config().generate.sampling.shift)) {}

  hv::Transformer transformer;
  hv::Autoencoder autoencoder;
  diffusion::FlowMatchEulerScheduler scheduler;
};

// Collective over the sequence group.
at::Tensor sample(RunContext& context, VideoMaker& g, const EvaluationItem& item, const std::string& prompt_template, const std::map<std::string, models::text::PromptEmbeddings>& prompts,
                  const hv::Adapter* adapter) {
  const Configuration& c = context.config();
  const auto& s = c.generate.sampling;
  std::optional<generation::PromptEmbeddings> negative;
  if (s.guided()) negative = prompts.at(s.negative_prompt);
  const auto shape = generation::latent_shape({c.video.height, c.video.width, c.video.frames}, g.transformer.config(), g.autoencoder.config());
  // The same noise in every arm.
  const at::Tensor noise = diffusion::initial_noise(context.seed(), "evaluation-noise/" + prompt_template + "/" + std::to_string(item.sample), shape);
  return generation::sample_latents(g.transformer, adapter, g.scheduler, noise, prompts.at(item.text), negative,
                                    {.steps = static_cast<int>(s.steps), .guidance = s.guidance, .true_cfg = s.true_cfg}, stop_together_when_asked(context.sequence_ranks()),
                                    &context.sequence_ranks());
}

// Loaded by a rank with its first file.
evaluation::VideoMeasurer load_measurer(RunContext& context) {
  const Configuration& c = context.config();
  return {c.rewards, c.model.folder, c.evaluate.real_videos.empty() ? "" : c.evaluate.i3d, context.placement()};
}

// The figures of one video file as an entry of the store; a real video has only features.
run_directory::Entry measure(RunContext& context, evaluation::VideoMeasurer& measurer, const EvaluationItem& item, const Prepared& prepared) {
  const Configuration& c = context.config();
  const bool generated = item.file.empty();
  const media::Video video = media::read_video(generated ? context.layout().previews() / preview_name(item) : item.file);
  const double fps = generated ? static_cast<double>(c.video.fps) : video.fps;
  run_directory::Entry entry{.description = item.description};
  entry.metadata = {{"size", {{"height", video.frames.size(2)}, {"width", video.frames.size(3)}, {"frames", video.frames.size(0)}, {"fps", generated ? json(c.video.fps) : json(fps)}}}};
  if (item.arm.empty()) {
    entry.tensors = measurer.features(video.frames);
  } else {
    auto measured = measurer(video.frames, fps, item.measured_text, {prepared.face_embeddings, prepared.image_embeddings});
    entry.metadata["metrics"] = std::move(measured.metrics);
    entry.tensors = std::move(measured.features);
  }
  return entry;
}

// Who is shown, by the photos' bytes: `compare` groups runs of one person by it.
std::string person_of(const Prepared& prepared) {
  std::set<std::string> photos;
  for (const auto& reference : prepared.references) photos.insert(reference.image_hash);
  return base::hash_json(json(photos));
}

// Makes the videos whose figures are missing and whose files are not there, or not as they were written. Collective.
void generate_videos(RunContext& context, run_directory::SegmentStore& store, const std::vector<EvaluationItem>& items, const std::vector<std::size_t>& missing, const PromptList& prompts,
                     const std::vector<OtherRun>& others) {
  const Configuration& c = context.config();
  std::set<std::string> seen;
  const auto intact = [&](const EvaluationItem& item) {
    const auto made = store.find(item.video_key);
    const auto file = context.layout().previews() / preview_name(item);
    return made && std::filesystem::exists(file) && base::hash_file(file) == made->metadata.at("file");
  };
  const auto absent = find_missing(context, missing.size(), [&](std::size_t k) {
    const auto& item = items[missing[k]];
    return !item.file.empty() || !seen.insert(item.video_key).second || intact(item);
  });
  if (absent.empty()) return;
  std::vector<std::size_t> wanted;
  std::set<std::string> texts, arms;
  for (const std::size_t k : absent) {
    wanted.push_back(missing[k]);
    texts.insert(items[missing[k]].text);
    arms.insert(items[missing[k]].arm);
  }
  std::map<std::string, hv::Adapter> trained;
  for (const auto& arm : c.evaluate.arms)
    if (arm != "base" && arms.contains(arm)) trained.emplace(arm, load_trained(context, arm == "stage1" ? Stage::reconstruct : Stage::optimize).frozen_copy(context.placement()));
  for (const auto& other : others)
    if (arms.contains(other.arm)) trained.emplace(other.arm, load_other(context, other).frozen_copy(context.placement()));
  std::map<std::string, models::text::PromptEmbeddings> embeddings;
  comm::agree(context.world(), "encoding the evaluation prompts", [&] {
    if (c.generate.sampling.guided()) texts.insert(c.generate.sampling.negative_prompt);
    embeddings = encode_prompts(context, {texts.begin(), texts.end()});
  });
  std::optional<VideoMaker> generator;
  const auto make = [&](std::size_t i) {
    if (!generator) generator.emplace(context);
    const auto& item = items[i];
    return sample(context, *generator, item, prompts.prompts[static_cast<std::size_t>(item.prompt)], embeddings, item.arm == "base" ? nullptr : &trained.at(item.arm));
  };
  std::size_t generated = 0;
  for (const auto& item : items) generated += item.file.empty();
  work_through_together(context, "evaluate, videos", wanted, generated, make, [&](std::size_t i, const at::Tensor& latents) {
    const auto file = context.layout().previews() / preview_name(items[i]);
    media::write_mp4(file, generation::decode_frames(generator->autoencoder, latents), {.fps = static_cast<double>(c.video.fps)});
    store.put({.description = items[i].video, .metadata = {{"file", base::hash_file(file)}}});
  });
}

// On rank 0.
json gather(RunContext& context, run_directory::SegmentStore& store, const Prepared& prepared, const PromptList& prompts, const std::vector<EvaluationItem>& items,
            const std::vector<EvaluationItem>& real) {
  const Configuration& c = context.config();
  EvaluationResult result{.person = person_of(prepared),
                          .noise_seed = c.seed,
                          .prompts = prompts.prompts,
                          .video = {{"height", c.video.height}, {"width", c.video.width}, {"frames", c.video.frames}, {"fps", c.video.fps}},
                          .arms = arms_of(c),
                          .folders = json::object(),
                          .items = items,
                          .frechet = c.evaluate.i3d.empty() ? "clip_frechet" : "fvd",
                          .real_given = !c.evaluate.real_videos.empty()};
  for (const auto& [name, folder] : c.evaluate.folders) result.folders[name] = folder;
  const auto figures_of = [&](const EvaluationItem& item) {
    const auto found = store.find(item.key);
    if (!found) throw base::UserError(context.layout().root.string(), "/evaluation: video ", item.key, " is missing or damaged; run `magicid evaluate` again");
    VideoFigures figures{.size = found->metadata.at("size")};
    if (found->metadata.contains("metrics")) figures.metrics = found->metadata.at("metrics");
    const auto features = found->tensors.find(c.evaluate.i3d.empty() ? "clip" : "i3d");
    if (features != found->tensors.end()) figures.features = features->second;
    return figures;
  };
  for (const auto& item : items) result.figures.push_back(figures_of(item));
  for (const auto& item : real) result.real.push_back(figures_of(item).features);
  return summarise(result);
}

}  // namespace

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
  PromptList prompts;
  Prepared prepared;
  json planned;
  comm::agree(world, "planning the evaluation", [&] {
    prompts.prompts = evaluation_templates(c);
    prompts.templates = prompts.prompts.size();
    prepared = Prepared::load(context.layout().prepared());
    if (!context.leader()) return;
    const Plan plan = make_plan(context, prompts.templates, prepared);
    planned = {plan.generation, plan.measures, plan.folders, plan.real};
  });
  planned = json::parse(world.broadcast_string(planned.dump(), 0));
  const Plan plan{planned[0], planned[1], planned[2], planned[3]};
  const auto own = plan_items(c, prompts, adapters, plan), real = real_items(c, plan);
  auto all = own;
  all.insert(all.end(), real.begin(), real.end());
  json keys = json::array();
  for (const auto& item : all) keys.push_back(item.key);
  json inputs{{"prepare", prepared_result}, {"videos", base::hash_json(keys)}};
  if (!others.empty()) inputs["runs"] = other_results;
  if (!plan.folders.empty()) inputs["folders"] = base::hash_json({arms_of(c), plan.folders});
  context.stage(Stage::evaluate, context.options_of({"evaluate"}), inputs, [&] {
    run_directory::SegmentStore store(context.layout().evaluation_store(), schema);
    std::set<std::string> seen;  // arms with the same adapter have the same videos
    const auto missing = find_missing(context, all.size(), [&](std::size_t i) { return !seen.insert(all[i].key).second || store.contains(all[i].key); });
    generate_videos(context, store, all, missing, prompts, others);
    std::optional<evaluation::VideoMeasurer> measurer;
    work_through(context, "evaluate, figures", missing, all.size(), [&](std::size_t i) {
      if (!measurer) measurer.emplace(load_measurer(context));
      store.put(measure(context, *measurer, all[i], prepared));
    });
    RunContext::StageResult done;
    comm::agree(world, "writing the evaluation", [&] {
      if (!context.leader()) return;
      store.refresh();
      const json evaluation = gather(context, store, prepared, prompts, own, real);
      const auto& layout = context.layout();
      storage::write_text_atomically(layout.evaluation(), evaluation.dump(2) + "\n");
      storage::write_text_atomically(layout.evaluation_table(), evaluation::evaluation_csv(evaluation));
      storage::write_text_atomically(layout.evaluation_summary(), evaluation::evaluation_summary_csv(evaluation));
      for (const auto& note : evaluation.at("notes")) base::log::warning("evaluate: " + note.get<std::string>());
      done.files = {layout.evaluation(), layout.evaluation_table(), layout.evaluation_summary()};
      store.merge();
    });
    return done;
  });
}

}  // namespace magicid::commands
