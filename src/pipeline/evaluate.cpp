// `magicid evaluate`: the same prompts and noise without adapter, after stage 1 and after HPO, and folders of other videos, measured.
//
// First the videos that are not there yet are made, then every video is measured from its file: what is shown is what is measured, and another method's files
// are treated as our own.

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "diffusion/initial_noise.h"
#include "evaluation/evaluation.h"
#include "evaluation/video_folders.h"
#include "evaluation/video_measurer.h"
#include "generation/sample.h"
#include "media/video.h"
#include "models/vision/i3d.h"
#include "pipeline/candidates.h"
#include "pipeline/fingerprints.h"
#include "pipeline/networks.h"
#include "pipeline/other_runs.h"
#include "pipeline/prepared.h"
#include "pipeline/prompt_checks.h"
#include "pipeline/stages.h"
#include "pipeline/training_files.h"
#include "rewards/reward_networks.h"
#include "run_directory/candidate_store.h"
#include "run_directory/segment_store.h"
#include "storage/atomic_file.h"
#include "work/from_leader.h"
#include "work/pieces.h"

namespace magicid::pipeline {
namespace {

using evaluation::EvaluationItem;
using evaluation::EvaluationResult;
using evaluation::FolderVideo;
using evaluation::PromptList;
using evaluation::VideoFigures;
using nlohmann::json;
using run_directory::Stage;

const storage::Schema evaluation_schema{"magicid.evaluation", 1};

// In the order of tables and columns: other methods and other runs stand before this run's result.
std::vector<std::string> arms_of(const Configuration& c) {
  std::vector<std::string> arms = c.evaluate.arms, others;
  for (const auto& [name, folder] : c.evaluate.folders) others.push_back(name);
  for (const auto& [name, root] : c.evaluate.runs) others.push_back(name);
  arms.insert(std::find(arms.begin(), arms.end(), "hpo"), others.begin(), others.end());
  return arms;
}

// What a folder's videos are, for the stage's fingerprint.
json identity_of(const std::vector<FolderVideo>& videos) {
  json list = json::array();
  for (const auto& v : videos) list.push_back({v.file, v.prompt, v.sample, v.hash});
  return list;
}

// What stands outside the run, looked at by rank 0 before any work.
struct Plan {
  json generation, measures;                                // what determines a generated video, and any figure, beside what is the video's own
  std::map<std::string, std::vector<FolderVideo>> folders;  // by arm
  std::vector<FolderVideo> real;
};

json json_of(const std::vector<FolderVideo>& videos) {
  json list = json::array();
  for (const auto& v : videos) list.push_back({{"file", v.file}, {"prompt", v.prompt}, {"sample", v.sample}, {"hash", v.hash}});
  return list;
}

std::vector<FolderVideo> videos_in(const json& list) {
  std::vector<FolderVideo> videos;
  for (const auto& v : list) videos.push_back({.file = v.at("file"), .prompt = v.at("prompt"), .sample = v.at("sample"), .hash = v.at("hash")});
  return videos;
}

// As rank 0 tells it to the others, with the templates that it read.
json json_of(const Plan& plan, const std::vector<std::string>& templates) {
  json folders = json::object();
  for (const auto& [arm, videos] : plan.folders) folders[arm] = json_of(videos);
  return {{"templates", templates}, {"generation", plan.generation}, {"measures", plan.measures}, {"folders", folders}, {"real", json_of(plan.real)}};
}

Plan plan_in(const json& told) {
  Plan plan{.generation = told.at("generation"), .measures = told.at("measures"), .folders = {}, .real = videos_in(told.at("real"))};
  for (const auto& [arm, videos] : told.at("folders").items()) plan.folders[arm] = videos_in(videos);
  return plan;
}

std::size_t smallest_arm(const Configuration& c, std::size_t templates, const std::map<std::string, std::vector<FolderVideo>>& folders) {
  std::size_t smallest = templates * static_cast<std::size_t>(c.evaluate.videos_per_prompt);
  if (c.evaluate.arms.empty() && c.evaluate.runs.empty()) smallest = SIZE_MAX;
  for (const auto& [name, videos] : folders) smallest = std::min(smallest, videos.size());
  return smallest;
}

// On rank 0.
Plan make_plan(const Run& run, std::size_t templates, const json& networks, const PreparedContents& prepared) {
  const Configuration& c = run.config();
  const auto& e = c.evaluate;
  Plan plan;
  for (const auto& [name, folder] : e.folders) plan.folders[name] = evaluation::read_video_folder("evaluate.folders." + name + ": " + folder, folder);
  if (!e.real_videos.empty()) {
    if (!e.i3d.empty()) models::vision::I3d::load(e.i3d, at::kCPU);  // a file that is none is found before hours of work
    plan.real = evaluation::read_real_videos("evaluate.real_videos: " + e.real_videos, e.real_videos, smallest_arm(c, templates, plan.folders));
  }
  plan.generation = generation_description(c, run.model());
  plan.generation["seed"] = c.seed;
  plan.generation["fps"] = c.video.fps;  // of the file that is written, and measured
  plan.measures = networks;
  plan.measures.update(json{{"version", evaluation::measure_version},
                            {"references", {prepared.face_embeddings, prepared.image_embeddings}},
                            {"options", run.options_of({"rewards"})},
                            {"i3d", e.real_videos.empty() || e.i3d.empty() ? "none" : base::hash_file(e.i3d)}});
  return plan;
}

void describe_figures(EvaluationItem& item, const Plan& plan) {
  item.description = {{"video", item.video}, {"measures", plan.measures}, {"prompt", item.measured_text}};
  item.key = run_directory::content_key(item.description);
}

EvaluationItem folder_item(const std::string& arm, const std::filesystem::path& folder, const FolderVideo& video) {
  EvaluationItem item{.arm = arm, .sample = video.sample, .text = video.prompt, .video = {{"file", video.hash}}, .file = folder / video.file};
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
        EvaluationItem item{
            .arm = arm, .prompt = static_cast<std::int64_t>(p), .sample = j, .text = render_prompt(prompts.prompts[p], c.subject, arm != "base")};
        item.measured_text = render_prompt(prompts.prompts[p], c.subject, false);
        item.video = {{"generation", plan.generation},
                      {"adapter", adapters.at(arm)},
                      {"prompt", item.text},
                      {"noise", {{"template", prompts.prompts[p]}, {"sample", j}}}};
        if (arm != "base" && c.generate.sampling.trained_sigmas() != generation::SigmaRange{}) item.video["sigmas"] = c.generate.sampling.adapter_sigmas;
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

// All that the stage is about, the same on every rank.
struct PlannedEvaluation {
  std::string person;
  PromptList prompts;
  std::vector<OtherRun> others;
  std::vector<EvaluationItem> own, real;
  run_directory::Fingerprint fingerprint;
};

// Who is shown, by the photos' bytes: `compare` groups runs of one person by it.
std::string person_of(const std::vector<std::string>& photos) { return base::hash_json(json(std::set<std::string>(photos.begin(), photos.end()))); }

// Hash of the parameters of each arm's adapter. Collective.
std::map<std::string, std::string> adapters_of_arms(session::Session& session, Run& run, const std::vector<OtherRun>& others) {
  std::map<std::string, std::string> adapters;
  for (const auto& arm : run.config().evaluate.arms)
    adapters[arm] = arm == "base" ? "none" : run.result_of(session, arm == "stage1" ? Stage::reconstruct : Stage::optimize);
  for (const auto& other : others) adapters[other.arm] = other.result;
  return adapters;
}

// Keys hold what determines each video and its figures; the rest of it what stands in evaluation.json beside them.
run_directory::Fingerprint evaluation_fingerprint(session::Session& session, Run& run, const PlannedEvaluation& evaluation, const Plan& plan) {
  const Configuration& c = run.config();
  json keys = json::array(), others = json::array();
  for (const auto* items : {&evaluation.own, &evaluation.real})
    for (const auto& item : *items) keys.push_back(item.key);
  for (const auto& other : evaluation.others) others.push_back(json::array({other.arm, other.result}));
  json inputs{{"prepare", run.result_of(session, Stage::prepare)},
              {"photos", evaluation.person},
              {"videos", base::hash_json(keys)},
              {"prompts", base::hash_json(evaluation.prompts.prompts)}};
  if (!others.empty()) inputs["runs"] = others;
  // The tables name the folders: one that was moved is named anew, its figures are found by key.
  if (!plan.folders.empty()) {
    json folders = json::object();
    for (const auto& [arm, videos] : plan.folders) folders[arm] = identity_of(videos);
    inputs["folders"] = base::hash_json({arms_of(c), folders, c.evaluate.folders});
  }
  return {run.options_of({"seed", "video", "evaluate"}), inputs};
}

// Collective.
PlannedEvaluation plan_evaluation(session::Session& session, Run& run) {
  const Configuration& c = run.config();
  PlannedEvaluation evaluation;
  evaluation.others = other_runs(session, run);
  const auto adapters = adapters_of_arms(session, run, evaluation.others);
  const PreparedContents prepared = prepared_contents(session, run);
  evaluation.person = person_of(prepared.photos);
  const json& networks = run.reward_networks(session);
  const json planned = work::from_leader(session.world(), "planning the evaluation", [&]() -> json {
    const auto lines = evaluation_prompts(c);
    const bool with_trigger = std::any_of(c.evaluate.arms.begin(), c.evaluate.arms.end(), [](const auto& arm) { return arm != "base"; });
    if (with_trigger || !c.evaluate.runs.empty()) check_triggers(run, lines);
    std::vector<std::string> templates;
    for (const auto& line : lines) templates.push_back(line.text);
    return json_of(make_plan(run, templates.size(), networks, prepared), templates);
  });
  evaluation.prompts = {.prompts = planned.at("templates"), .templates = planned.at("templates").size()};
  const Plan plan = plan_in(planned);
  evaluation.own = plan_items(c, evaluation.prompts, adapters, plan);
  evaluation.real = real_items(c, plan);
  evaluation.fingerprint = evaluation_fingerprint(session, run, evaluation, plan);
  return evaluation;
}

// The noise of an item: the same in every arm.
at::Tensor noise_of(const Run& run, const EvaluationItem& item, const std::string& prompt_template) {
  const auto& v = run.config().video;
  const auto shape = run.backbone().latent_shape({.height = v.height, .width = v.width, .frames = v.frames});
  return diffusion::initial_noise(run.seed(), "evaluation-noise/" + prompt_template + "/" + std::to_string(item.sample), shape);
}

// Loaded by a rank with its first file.
evaluation::VideoMeasurer load_measurer(session::Session& session, Run& run) {
  const Configuration& c = run.config();
  return {c.rewards.scoring, borrow_reward_networks(session, run), borrow_vqa(session, run), c.evaluate.real_videos.empty() ? "" : c.evaluate.i3d,
          session.placement()};
}

// The figures of one video file as an entry of the store; a real video has only features.
run_directory::Entry measure(session::Session& session, Run& run, evaluation::VideoMeasurer& measurer, const EvaluationItem& item, const Prepared& prepared) {
  const Configuration& c = run.config();
  const bool generated = item.file.empty();
  const media::Video video = media::read_video(generated ? run.layout().previews() / preview_name(item) : item.file);
  const double fps = generated ? static_cast<double>(c.video.fps) : video.fps;
  run_directory::Entry entry{.description = item.description};
  entry.metadata = {{"size",
                     {{"height", video.frames.size(2)},
                      {"width", video.frames.size(3)},
                      {"frames", video.frames.size(0)},
                      {"fps", generated ? json(c.video.fps) : json(fps)}}}};
  if (item.arm.empty()) {
    entry.tensors = measurer.features(video.frames);
  } else {
    auto measured = measurer(video.frames, fps, item.measured_text, {prepared.face_embeddings, prepared.image_embeddings});
    entry.metadata["metrics"] = std::move(measured.metrics);
    entry.tensors = std::move(measured.features);
  }
  return entry;
}

// What is sampled and not yet decoded.
std::filesystem::path latents_folder(session::Session& session, Run& run) { return run.layout().evaluation_store() / "latents"; }

// The missing items whose videos are not there, or not as they were written: one for each video. Collective.
std::vector<std::size_t> absent_videos(session::Session& session, Run& run, run_directory::SegmentStore& store, const std::vector<EvaluationItem>& items,
                                       const std::vector<std::size_t>& missing) {
  std::set<std::string> seen;
  const auto intact = [&](const EvaluationItem& item) {
    const auto made = store.find(item.video_key);
    const auto file = run.layout().previews() / preview_name(item);
    return made && std::filesystem::exists(file) && base::hash_file(file) == made->metadata.at("file");
  };
  const auto absent = work::find_missing(session.world(), missing.size(), [&](std::size_t k) {
    const auto& item = items[missing[k]];
    return !item.file.empty() || !seen.insert(item.video_key).second || intact(item);
  });
  std::vector<std::size_t> wanted;
  for (const std::size_t k : absent) wanted.push_back(missing[k]);
  return wanted;
}

// The latents of the `wanted` items that `latents` does not hold yet, put there by the leader of each sequence group. Collective.
void sample_videos(session::Session& session, Run& run, run_directory::CandidateStore& latents, const PlannedEvaluation& planned,
                   const std::vector<EvaluationItem>& items, const std::vector<std::size_t>& wanted) {
  const auto& prompts = planned.prompts;
  const auto& others = planned.others;
  const Configuration& c = run.config();
  std::vector<std::size_t> unsampled;
  for (const std::size_t k : work::find_missing(session.world(), wanted.size(), [&](std::size_t i) { return latents.contains(items[wanted[i]].video_key); }))
    unsampled.push_back(wanted[k]);
  if (unsampled.empty()) return;
  std::set<std::string> texts, arms;
  for (const std::size_t i : unsampled) {
    texts.insert(items[i].text);
    arms.insert(items[i].arm);
  }
  std::map<std::string, models::generator::Adapter> trained;
  for (const auto& arm : c.evaluate.arms)
    if (arm != "base" && arms.contains(arm))
      trained.emplace(arm, load_trained(session, run, arm == "stage1" ? Stage::reconstruct : Stage::optimize).frozen_copy(session.placement()));
  for (const auto& other : others)
    if (arms.contains(other.arm)) trained.emplace(other.arm, load_other(session, run, other).frozen_copy(session.placement()));
  if (c.generate.sampling.guided()) texts.insert(c.generate.sampling.negative_prompt);
  const auto embeddings = encode_prompts_once(session, run, "encoding the evaluation prompts", {texts.begin(), texts.end()});
  std::optional<CandidateSampler> sampler;
  const auto make = [&](std::size_t i, work::Pulse& pulse) {
    if (!sampler) sampler.emplace(session, run);
    const auto& item = items[i];
    const at::Tensor noise = noise_of(run, item, prompts.prompts[static_cast<std::size_t>(item.prompt)]);
    return sampler->sample(noise, item.text, embeddings, item.arm == "base" ? nullptr : &trained.at(item.arm), pulse).cpu();
  };
  work::work_through_together(work_ranks(session), {"evaluate, videos", unsampled, wanted.size()}, make, [&](std::size_t i, const at::Tensor& sampled) {
    latents.put({.description = items[i].video, .metadata = {}, .latents = sampled});
  });
}

// The `wanted` videos: sampled by the sequence groups, then decoded by all ranks. Collective.
void make_videos(session::Session& session, Run& run, run_directory::SegmentStore& store, const PlannedEvaluation& planned,
                 const std::vector<EvaluationItem>& items, const std::vector<std::size_t>& wanted) {
  const auto folder = latents_folder(session, run);
  run_directory::CandidateStore latents(folder);
  sample_videos(session, run, latents, planned, items, wanted);
  latents.refresh();
  std::shared_ptr<const models::generator::Codec> codec;
  work::work_through(session.world(), {"evaluate, decoding", wanted, wanted.size()}, [&](std::size_t i, work::Pulse&) {
    if (!codec) codec = session::borrow_codec(session, run.backbone());
    const auto sampled = latents.find(items[i].video_key);
    if (!sampled)
      throw base::UserError(folder.string(), ": the latents of video ", items[i].video_key, " are missing or damaged; run `magicid evaluate` again");
    const auto file = run.layout().previews() / preview_name(items[i]);
    media::write_mp4(file, generation::decode_frames(*codec, sampled->latents), {.fps = static_cast<double>(run.config().video.fps)});
    store.put({.description = items[i].video, .metadata = {{"file", base::hash_file(file)}, {"rank", session.world().rank()}}});
  });
}

// Makes the videos whose figures are missing and whose files are not there, or not as they were written. Collective.
void generate_videos(session::Session& session, Run& run, run_directory::SegmentStore& store, const PlannedEvaluation& planned,
                     const std::vector<EvaluationItem>& items, const std::vector<std::size_t>& missing) {
  const auto wanted = absent_videos(session, run, store, items, missing);
  if (!wanted.empty()) make_videos(session, run, store, planned, items, wanted);
  std::error_code code;
  if (session.leader()) std::filesystem::remove_all(latents_folder(session, run), code);  // what stays by mischance is found by key, or is in nobody's way
}

// On rank 0.
json gather(session::Session& session, Run& run, run_directory::SegmentStore& store, const PlannedEvaluation& planned) {
  const Configuration& c = run.config();
  EvaluationResult result{.person = planned.person,
                          .noise_seed = c.seed,
                          .prompts = planned.prompts.prompts,
                          .video = {{"height", c.video.height}, {"width", c.video.width}, {"frames", c.video.frames}, {"fps", c.video.fps}},
                          .arms = arms_of(c),
                          .folders = json::object(),
                          .items = planned.own,
                          .frechet = c.evaluate.i3d.empty() ? "clip_frechet" : "fvd",
                          .real_given = !c.evaluate.real_videos.empty()};
  for (const auto& [name, folder] : c.evaluate.folders) result.folders[name] = folder;
  const auto figures_of = [&](const EvaluationItem& item) {
    const auto found = store.find(item.key);
    if (!found) throw base::UserError(run.layout().root.string(), "/evaluation: video ", item.key, " is missing or damaged; run `magicid evaluate` again");
    VideoFigures figures{.size = found->metadata.at("size")};
    if (found->metadata.contains("metrics")) figures.metrics = found->metadata.at("metrics");
    const auto features = found->tensors.find(c.evaluate.i3d.empty() ? "clip" : "i3d");
    if (features != found->tensors.end()) figures.features = features->second;
    return figures;
  };
  for (const auto& item : planned.own) result.figures.push_back(figures_of(item));
  for (const auto& item : planned.real) result.real.push_back(figures_of(item).features);
  return summarise(result);
}

}  // namespace

run_directory::Fingerprint evaluate_fingerprint(session::Session& session, Run& run) { return plan_evaluation(session, run).fingerprint; }

void evaluate(session::Session& session, Run& run) {
  comm::Communicator& world = session.world();
  require_predecessors(session, run, Stage::evaluate);
  const PlannedEvaluation planned = plan_evaluation(session, run);
  run.stage(session, Stage::evaluate, planned.fingerprint, [&] {
    const Prepared prepared = read_prepared(session, run);
    auto all = planned.own;
    all.insert(all.end(), planned.real.begin(), planned.real.end());
    run_directory::SegmentStore store(run.layout().evaluation_store(), evaluation_schema);
    std::set<std::string> seen;  // arms with the same adapter have the same videos
    const auto missing = work::find_missing(world, all.size(), [&](std::size_t i) { return !seen.insert(all[i].key).second || store.contains(all[i].key); });
    generate_videos(session, run, store, planned, all, missing);
    std::optional<evaluation::VideoMeasurer> measurer;
    work::work_through(session.world(), {"evaluate, figures", missing, all.size()}, [&](std::size_t i, work::Pulse&) {
      if (!measurer) measurer.emplace(load_measurer(session, run));
      store.put(measure(session, run, *measurer, all[i], prepared));
    });
    Run::StageResult done;
    comm::agree(world, "writing the evaluation", [&] {
      if (!session.leader()) return;
      store.refresh();
      const json evaluation = gather(session, run, store, planned);
      const auto& layout = run.layout();
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

}  // namespace magicid::pipeline
