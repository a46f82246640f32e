#include "pipeline/preflight.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>

#include "base/errors.h"
#include "base/log.h"
#include "comm/rank_errors.h"
#include "media/faces.h"
#include "media/image.h"
#include "pipeline/networks.h"
#include "pipeline/prompt_checks.h"
#include "pipeline/training_files.h"
#include "pipeline/workload.h"
#include "planning/devices.h"
#include "planning/plan.h"
#include "rewards/reward_networks.h"
#include "run_directory/checkpoints.h"
#include "session/gpu.h"
#include "session/memory.h"
#include "work/from_leader.h"

namespace magicid::pipeline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A device that holds shapes and no values: loading to it reads headers alone.
models::nn::Placement without_values(const session::Session& session) { return {c10::kMeta, session.placement().dtype}; }

class Findings {
 public:
  // `look` returns what it found; a UserError or SystemError of it is a problem. Returns whether there is none.
  bool add(const std::string& what, const std::function<std::string()>& look) {
    try {
      list_.push_back({what, Verdict::good, look()});
      return true;
    } catch (const base::UserError& error) {
      list_.push_back({what, Verdict::problem, error.what()});
    } catch (const base::SystemError& error) {
      list_.push_back({what, Verdict::problem, error.what()});
    }
    return false;
  }
  void warn(const std::string& what, const std::string& text) { list_.push_back({what, Verdict::warning, text}); }
  std::vector<Finding> take() { return std::move(list_); }

 private:
  std::vector<Finding> list_;
};

// Returns whether the reward networks, the face detector among them, are there.
bool look_at_networks(Findings& findings, const session::Session& session, const Run& run) {
  const auto& c = run.config();
  const auto& backbone = run.backbone();
  const auto placement = without_values(session);
  const auto held = [&](const fs::path& folder) {
    return base::concat(folder.string(), ": every tensor is there, ", planning::bytes_text(session::weights_in_memory(folder, placement.dtype)), " in ",
                        run.model().dtype);
  };
  findings.add("transformer", [&] {
    backbone.load_denoiser(placement);
    return held(backbone.denoiser_folder());
  });
  findings.add("autoencoder", [&] {
    backbone.load_codec(placement);
    return held(backbone.codec_folder());
  });
  findings.add("text encoders", [&] {
    backbone.load_prompts(prompt_options(c.model), placement);
    return "every tensor is there, and the tokenisers can be read";
  });
  return findings.add("reward networks", [&] {
    rewards::RewardNetworks::load(c.rewards, c.model.folder, {c10::kMeta, at::kFloat}, {});
    return "every tensor is there";
  });
}

void look_at_photos(Findings& findings, const Run& run) {
  const auto& c = run.config();
  findings.add("photos", [&] {
    auto networks = rewards::RewardNetworks::load(c.rewards, c.model.folder, {}, {.face = false, .flow = false, .clip = false});
    const auto photos = media::list_images(c.subject.references);
    std::string problems;
    for (const auto& photo : photos) {
      try {
        const at::Tensor image = media::read_image(photo);
        media::find_reference_face(image, networks.detector(), photo.string(), c.rewards.scoring.face_detector.face_index);
        const std::size_t faces = networks.detector().detect(image).size();
        if (faces > 1)
          findings.warn("photos", base::concat(photo.string(), ": shows ", faces, " faces; rewards.face_detector.face_index ",
                                               c.rewards.scoring.face_detector.face_index, " of them, the largest first, is taken for the person"));
      } catch (const base::UserError& error) {
        problems += (problems.empty() ? "" : "\n") + std::string(error.what());
      }
    }
    if (!problems.empty()) throw base::UserError(problems);
    return base::concat(photos.size(), " in ", c.subject.references, ", a face in each");
  });
}

void look_at_prompts(Findings& findings, const Run& run) {
  const auto& c = run.config();
  findings.add("prompts", [&] {
    std::vector<PromptLine> prompts = read_prompt_lines(c.prompts);
    const auto add = [&](const std::vector<PromptLine>& more) { prompts.insert(prompts.end(), more.begin(), more.end()); };
    if (c.optimize.previews.every > 0 && !c.optimize.previews.prompts.empty()) add(preview_prompts(c));
    if (!c.evaluate.prompts.empty()) add(evaluation_prompts(c));
    check_triggers(run, prompts);
    const auto limits = run.backbone().load_prompt_limits(prompt_options(c.model));
    for (const auto& prompt : prompts)
      for (const auto& limit : limits->within(render_prompt(prompt.text, c.subject, true)))
        findings.warn("prompts", prompt.where + ": its end is not read: " + limit);
    return base::concat(prompts.size(), ", the word for the person within every encoder's limit");
  });
}

// What a rank computes on, in words.
std::string device_of(const session::Session& session) {
  const auto& device = session.placement().device;
  if (device.is_cuda())
    return base::concat(session::gpu_name(device.index()), ", ", planning::bytes_text(session::gpu_memory(device.index())), ", CUDA ",
                        at::detail::getCUDAHooks().versionCUDART(), ", cuDNN ", at::detail::getCUDAHooks().versionCuDNN(), ", ",
                        session.placement().dtype == at::kBFloat16 ? "bfloat16" : "float32");
  return base::concat("CPU, ", at::get_num_threads(), at::get_num_threads() == 1 ? " thread" : " threads", " a rank, ",
                      planning::bytes_text(session::host_memory()), " of memory on the node");
}

planning::Device device_for(const session::Session& session, int ranks_of_node) {
  const auto& placement = session.placement();
  planning::Device device = planning::device_named("cpu");
  if (placement.device.is_cuda())
    if (const auto* known = planning::device_of_gpu(session::gpu_name(placement.device.index()))) device = *known;
  device.memory_bytes = session::memory_of(placement, ranks_of_node);
  device.element = placement.dtype == at::kBFloat16 ? 2 : 4;
  return device;
}

// The phase that needs most memory, by the cost model, against what a rank has.
void look_at_memory(Findings& findings, session::Session& session, const Run& run, int ranks_of_node) {
  const auto& shape = session.mesh().shape();
  const planning::Device device = device_for(session, ranks_of_node);
  planning::Cluster cluster{.nodes = 1, .gpus = session.world().size(), .device = device};
  if (!session.placement().device.is_cuda()) cluster.reserve = 0.5e9;  // the program with its libraries
  const planning::Networks networks{backbone::cost_of_folder(run.folder().path()), run.folder().path().string()};
  const auto plan = planning::estimate(networks, workload_of(run.config()), cluster, {}, {shape.replica, shape.pair, shape.sequence, recompute_plan(run)});
  // Of the phases that the transformer works in: the others' networks are reckoned at their published sizes, whatever the folders hold.
  const auto needs = [](const planning::Phase& phase) {
    const bool transformer = phase.name == "reconstruct" || phase.name == "generate" || phase.name == "optimize" || phase.name == "previews";
    return transformer ? phase.memory_total() : 0.0;
  };
  const auto most = std::max_element(plan.phases.begin(), plan.phases.end(), [&](const auto& a, const auto& b) { return needs(a) < needs(b); });
  const std::string text = base::concat(most->name, " needs ", planning::bytes_text(most->memory_total()),
                                        " a rank by `magicid plan`'s reckoning, and a rank has ", planning::bytes_text(device.memory_bytes));
  const std::string advice = ". Let more ranks share a video (mesh.sequence) or compute more again (model.recompute); `magicid plan` chooses.";
  if (most->memory_total() <= device.memory_bytes) findings.add("memory", [&] { return text; });
  else if (session.placement().device.is_cuda()) findings.add("memory", [&]() -> std::string { throw base::UserError(text, advice); });
  else findings.warn("memory", text + advice);
}

// Bytes that the run will write: latents and videos of the candidates and of the evaluation, the photos' stills, two checkpoints of each training stage.
double bytes_to_write(const Run& run, const planning::Workload& w, double checkpoint) {
  const auto shape = run.backbone().latent_shape(w.video);
  double latents = 4;
  for (const auto size : shape) latents *= static_cast<double>(size);
  const double video = 0.1 * static_cast<double>(w.video.frames * w.video.height * w.video.width);  // H.264 at high quality: a tenth of a byte a pixel
  const auto candidates = static_cast<double>(w.stills + w.initial_videos + w.tuned_videos);
  return candidates * (latents + video) + static_cast<double>(w.stills) * latents + static_cast<double>(w.evaluation_videos) * video + 4 * checkpoint;
}

void look_at_disk(Findings& findings, const Run& run) {
  const auto w = workload_of(run.config());
  const double parameters = static_cast<double>(backbone::cost_of_folder(run.folder().path())->adapter_parameters(w.adapter));
  const fs::path root = run.layout().root;
  findings.add("disk", [&] {
    const double needed = bytes_to_write(run, w, 12 * parameters), there = static_cast<double>(fs::space(root).available);
    const std::string text =
        base::concat(root.string(), ": the run will write about ", planning::bytes_text(needed), ", and ", planning::bytes_text(there), " are free");
    if (there < needed) throw base::UserError(text, ". Free some, or name an `output` on another disk.");
    return text;
  });
  findings.add("checkpoint", [&] {
    const fs::path folder = root / "preflight";
    const auto numbers = at::zeros({static_cast<std::int64_t>(parameters)}, at::kFloat);
    run_directory::save_checkpoint(folder, 0, {{"parameters", numbers}, {"first_moment", numbers}, {"second_moment", numbers}}, json::object(), {});
    const auto back = run_directory::load_checkpoint(run_directory::checkpoint_path(folder, 0));
    base::check_invariant(back.tensors.at("second_moment").numel() == numbers.numel(), folder.string(), ": a checkpoint came back in another size");
    fs::remove_all(folder);
    return base::concat("one of ", planning::bytes_text(12 * parameters), " was written to ", root.string(), " and read back");
  });
}

json json_of(const std::vector<Finding>& findings) {
  json list = json::array();
  for (const auto& f : findings) list.push_back({{"what", f.what}, {"verdict", static_cast<int>(f.verdict)}, {"text", f.text}});
  return list;
}

std::vector<Finding> findings_in(const json& list) {
  std::vector<Finding> findings;
  for (const auto& f : list) findings.push_back({f.at("what"), static_cast<Verdict>(f.at("verdict").get<int>()), f.at("text")});
  return findings;
}

std::string problems_of(const std::vector<Finding>& findings) {
  std::string text;
  for (const auto& f : findings)
    if (f.verdict == Verdict::problem) text += (text.empty() ? "" : "\n") + f.what + ": " + f.text;
  return text;
}

}  // namespace

std::vector<Finding> preflight(session::Session& session, const Run& run) {
  Findings devices;
  std::map<std::string, std::vector<int>> ranks;
  const auto told = session.world().all_gather_strings(device_of(session));
  for (std::size_t i = 0; i < told.size(); ++i) ranks[told[i]].push_back(static_cast<int>(i));
  for (const auto& [device, on] : ranks)
    devices.add("device", [&, device = device, on = on] { return base::concat(on.size(), on.size() == 1 ? " rank on " : " ranks on ", device); });
  if (ranks.size() > 1) devices.warn("device", "the ranks' devices differ; the slowest sets the pace of training");
  const auto nodes = session.world().all_gather_strings(comm::node_name());
  const auto ranks_of_node = static_cast<int>(std::count(nodes.begin(), nodes.end(), comm::node_name()));
  const json list = work::from_leader(session.world(), "preflight", [&] {
    Findings findings;
    if (look_at_networks(findings, session, run)) look_at_photos(findings, run);
    else findings.warn("photos", "not looked at: the face detector comes with the reward networks");
    look_at_prompts(findings, run);
    look_at_memory(findings, session, run, ranks_of_node);
    look_at_disk(findings, run);
    return json_of(findings.take());
  });
  auto all = devices.take();
  for (auto& finding : findings_in(list)) all.push_back(std::move(finding));
  return all;
}

void check_before_run(session::Session& session, Run& run) {
  if (run.has_finished(session, run_directory::Stage::prepare)) return;
  const auto findings = preflight(session, run);
  if (session.leader())
    for (const auto& f : findings)
      if (f.verdict == Verdict::warning) base::log::warning("preflight: " + f.what + ": " + f.text);
  if (const std::string problems = problems_of(findings); !problems.empty()) throw base::UserError(problems);
}

void show_preflight(session::Session& session, Run& run) {
  const auto findings = preflight(session, run);
  if (session.leader())
    for (const auto& f : findings) {
      if (f.verdict == Verdict::warning) base::log::warning(f.what + ": " + f.text);
      if (f.verdict == Verdict::good) base::log::info(f.what + ": " + f.text);
    }
  if (const std::string problems = problems_of(findings); !problems.empty()) throw base::UserError(problems);
  if (session.leader()) base::log::info("preflight: nothing stands in the way");
}

}  // namespace magicid::pipeline
