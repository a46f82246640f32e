#include "pipeline/configuration.h"

#include <map>

#include "base/errors.h"
#include "base/text.h"
#include "config/reader.h"
#include "config/writer.h"
#include "models/generator/recompute_plan.h"
#include "storage/atomic_file.h"
#include "training/schedule.h"

namespace magicid::pipeline {

namespace {

std::string recompute_problem(const std::string& text) {
  try {
    models::generator::RecomputePlan::parse(text);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

void describe(config::Fields& fields, ModelOptions& o) {
  fields.path("folder", o.folder,
              {.help = "pipeline folder as diffusers' HunyuanVideoPipeline.save_pretrained writes it", .fingerprint = false, .required = true});
  fields.choice("device", o.device, {"auto", "cpu", "cuda"}, {.help = "where networks run; auto: the GPU where there is one", .fingerprint = false});
  fields.choice("dtype", o.dtype, {"auto", "float32", "bfloat16"}, {.help = "dtype of the networks; auto: float32 on the CPU, bfloat16 on a GPU"});
  fields.path("template_file", o.template_file,
              {.help = "JSON {\"template\": \"...{}...\", \"crop_start\": N} for the language model; empty: HunyuanVideo's own", .fingerprint = false});
  fields.text("recompute", o.recompute,
              {.help = "what training computes again in the backward to save memory: `none`, `attention_kept` (all of a block but its attention) or `full`; or "
                       "by block, as in "
                       "`full:12,attention_kept:40,none`: the first 12, the next 40, the rest; the results are the same bits",
               .fingerprint = false});
  fields.require("recompute", recompute_problem(o.recompute).empty(), recompute_problem(o.recompute));
  fields.integer("max_length", o.max_length, {.help = "prompt tokens kept after the template is cropped", .minimum = 1, .maximum = 4096});
  fields.number(
      "resident_memory", o.resident_memory,
      {.help = "GB that networks may take together in a rank's memory: what fits stays loaded from stage to stage, else the one that was not used for the "
               "longest time is let go, and the log says so; 0: half of the GPU's memory, or of this rank's share of the machine's",
       .minimum = 0,
       .fingerprint = false});
}

void describe(config::Fields& fields, SubjectOptions& o) {
  fields.path("references", o.references,
              {.help = "folder with photos of the person (JPEG, PNG, WebP); a .txt beside a photo is its caption", .fingerprint = false, .required = true});
  fields.text("trigger", o.trigger, {.help = "rare word that stands for the person"});
  fields.text("class_name", o.class_name, {.help = "what the person is: woman, man, person"});
  fields.require("trigger", !o.trigger.empty(), "a trigger word is needed");
}

// What sizes the model takes is its own to say, when it is opened (Backbone::latent_shape).
void describe(config::Fields& fields, VideoOptions& o) {
  fields.integer("height", o.height, {.help = "pixels; HunyuanVideo: a multiple of 16", .minimum = 1});
  fields.integer("width", o.width, {.help = "pixels; HunyuanVideo: a multiple of 16", .minimum = 1});
  fields.integer("frames", o.frames, {.help = "frames; HunyuanVideo: 4k+1", .minimum = 1});
  fields.integer("fps", o.fps, {.help = "frames a second: of the files, and for the dynamics reward", .minimum = 1, .maximum = 240});
}

void describe(config::Fields& fields, AdapterSettings& o) {
  fields.integer("lora_rank", o.lora_rank, {.help = "rank of the adapter's matrices", .minimum = 1});
  fields.number("alpha", o.alpha, {.help = "the adapter is scaled by alpha / lora_rank; 0: alpha = lora_rank", .minimum = 0});
  fields.texts("targets", o.targets, {.help = "modules of the blocks that are adapted, by Tencent's names; empty: every Linear but the modulations"});
  fields.path(
      "initialize_from", o.initialize_from,
      {.help = "LoRA file or folder that stage 1 begins with, of any layout that `magicid sample --adapter` reads; its modules and ranks must be those of "
               "targets and lora_rank; empty: A random, B zero",
       .fingerprint = false});
}

void describe(config::Fields& fields, PriorPreservationOptions& o) {
  fields.number("weight", o.weight, {.help = "weight of the class samples' error beside the photos'; 0: off, 1: as DreamBooth", .minimum = 0});
  fields.choice("kind", o.kind, {"image", "video"},
                {.help = "image: one-frame samples of reconstruct.prompt without the trigger; video: clips of the training prompts without the trigger (V_s)"});
  fields.integer("samples", o.samples, {.help = "class samples, made once by the bare model", .minimum = 1});
}

void describe(config::Fields& fields, ReconstructOptions& o) {
  fields.integer("steps", o.training.steps, {.help = "optimizer steps", .minimum = 1});
  training::describe(fields, o.training);
  fields.require("warmup_steps", o.training.warmup_steps <= o.training.steps, "warmup_steps exceeds steps");
  fields.number("shift", o.shift, {.help = "shift of the noise schedule for one-frame latents", .above = 0});
  fields.text("prompt", o.prompt, {.help = "caption of photos that have none of their own; also the portrait prompt of V_id"});
  fields.require("prompt", o.prompt.find("{subject}") != std::string::npos, "the prompt needs {subject}");
  fields.nested("prior_preservation", o.prior_preservation, "what keeps the model's idea of the class while it learns the photos");
}

void describe(config::Fields& fields, SamplingOptions& o) {
  fields.integer("steps", o.steps, {.help = "denoising steps", .minimum = 1});
  fields.number("guidance", o.guidance, {.help = "embedded guidance scale", .minimum = 0});
  fields.number("shift", o.shift, {.help = "shift of the flow-matching schedule (7 at 720p, 2 to 5 at low resolution)", .above = 0});
  fields.number("true_cfg", o.true_cfg,
                {.help = "true classifier-free guidance away from negative_prompt; above 1 costs a second forward a step", .minimum = 1});
  fields.text("negative_prompt", o.negative_prompt, {.help = "what true guidance leads away from; empty: the empty text"});
  // What these are enters the videos' keys where they say something else than their defaults.
  fields.numbers("adapter_sigmas", o.adapter_sigmas,
                 {.help = "noise levels in which the trained adapter acts: above the first, up to the second; 1 is pure noise, 0 the video",
                  .minimum = 0,
                  .maximum = 1,
                  .fingerprint = false});
  fields.require("adapter_sigmas", o.adapter_sigmas.size() == 2 && o.adapter_sigmas[0] < o.adapter_sigmas[1],
                 "two numbers are needed, the smaller one first: [0, 1] is everywhere");
  fields.named_paths(
      "with_adapters", o.with_adapters,
      {.help = "{name: LoRA file} of further adapters that act in every video that is made, as if they were part of the model: a distilled one for "
               "fewer steps, a style; training does not see them",
       .fingerprint = false});
  fields.numbers("with_strengths", o.with_strengths,
                 {.help = "strength of each of with_adapters; empty: 1", .minimum = -4, .maximum = 4, .fingerprint = false});
  fields.require("with_strengths", o.with_strengths.empty() || o.with_strengths.size() == o.with_adapters.size(),
                 "one number for each of with_adapters is needed");
  fields.numbers(
      "with_sigmas", o.with_sigmas,
      {.help = "two noise levels for each of with_adapters, as adapter_sigmas; empty: everywhere", .minimum = 0, .maximum = 1, .fingerprint = false});
  fields.require("with_sigmas", o.with_sigmas.empty() || o.with_sigmas.size() == 2 * o.with_adapters.size(),
                 "two numbers for each of with_adapters are needed");
  for (std::size_t i = 0; i + 1 < o.with_sigmas.size(); i += 2)
    fields.require("with_sigmas", o.with_sigmas[i] < o.with_sigmas[i + 1], "of two numbers the smaller one comes first");
}

void describe(config::Fields& fields, GenerateOptions& o) {
  describe(fields, o.sampling);
  fields.integer("initial_per_prompt", o.initial_per_prompt, {.help = "V_s: videos of the initial model for each prompt", .minimum = 1});
  fields.integer("tuned_per_prompt", o.tuned_per_prompt, {.help = "V_t: videos of the fine-tuned model for each prompt", .minimum = 1});
  fields.numbers("adapter_strengths", o.adapter_strengths,
                 {.help = "strengths of the stage-1 adapter that V_t's videos cycle through", .minimum = 0, .maximum = 4});
  fields.require("adapter_strengths", !o.adapter_strengths.empty(), "at least one strength is needed");
}

void describe(config::Fields& fields, PreviewOptions& o) {
  fields.integer("every", o.every,
                 {.help = "steps between previews, which are also made before the first step and after the last; 0: none", .minimum = 0, .fingerprint = false});
  fields.path("prompts", o.prompts,
              {.help = "file of prompt templates; empty: the training prompts, so that a step is not chosen by the prompts that it is evaluated on",
               .fingerprint = false});
  fields.integer("count", o.count, {.help = "videos a preview step, one of each of the file's first prompts", .minimum = 1, .fingerprint = false});
  fields.integer("seed", o.seed, {.help = "of the previews' noise, which is the same at every step", .minimum = 0, .fingerprint = false});
}

void describe(config::Fields& fields, OptimizeOptions& o) {
  fields.integer("pairs_seen", o.pairs_seen, {.help = "pairs shown in all; steps = pairs_seen / global_batch, rounded up", .minimum = 1});
  training::describe(fields, o.training);
  fields.require("warmup_steps", o.training.warmup_steps <= optimizer_steps(o), "warmup_steps exceeds the steps that follow from pairs_seen and global_batch");
  fields.number("shift", o.shift, {.help = "shift of the noise schedule for videos", .above = 0});
  objectives::describe(fields, o.hpo);
  // What previews are of enters the stage's inputs where it decides on the result: with a rule.
  fields.nested("previews", o.previews, "videos made and scored while the adapter trains; they do not change the training");
  fields.choice("keep_best", o.keep_best, {"none", "identity", "dynamics", "semantics", "sum"},
                {.help = "which adapter the stage results in: none, the last one; else that of the preview step whose mean R_id, R_dy or R_sem, or sum of all "
                         "three on the candidates' scale of 1 to 10, is highest",
                 .fingerprint = false});
  fields.require("keep_best", o.keep_best == "none" || o.previews.every > 0,
                 "the best step is chosen among the preview steps, and there are none: set optimize.previews.every");
}

void describe(config::Fields& fields, EvaluateOptions& o) {
  fields.path("prompts", o.prompts, {.help = "held-out prompt templates; empty: the training prompts", .fingerprint = false});
  fields.integer("videos_per_prompt", o.videos_per_prompt, {.help = "videos for each prompt and arm", .minimum = 1});
  fields.choices(
      "arms", o.arms, {"base", "stage1", "hpo"},
      {.help = "what is compared: base (no adapter), stage1 (after reconstruct), hpo (after optimize); [] compares only evaluate.folders and evaluate.runs"});
  fields.named_paths("runs", o.runs,
                     {.help = "further arms: {name: run directory} of other runs for the same person, whose adapters after optimize are put beside this run's",
                      .fingerprint = false});
  for (const auto& [name, root] : o.runs)
    fields.require("runs", name != "base" && name != "stage1" && name != "hpo" && !name.empty(),
                   "'" + name + "' is an arm of this run; name the other run's arm differently");
  fields.named_paths("folders", o.folders,
                     {.help = "further arms: {name: folder} of finished videos, e.g. of another method; a folder holds mp4 files and prompts.csv or "
                              "prompts.jsonl (file, prompt), or files named PROMPT-INDEX.mp4",
                      .fingerprint = false});
  for (const auto& [name, folder] : o.folders) {
    fields.require("folders", name != "base" && name != "stage1" && name != "hpo" && !name.empty(),
                   "'" + name + "' is an arm of this run; name the folder differently");
    for (const auto& [run, root] : o.runs)
      fields.require("folders", name != run, "'" + name + "' is a name in evaluate.runs too; every arm needs a name of its own");
  }
  fields.require("arms", !o.arms.empty() || !o.runs.empty() || !o.folders.empty(),
                 "no arm is named: list some here, or name others in evaluate.folders or evaluate.runs");
  fields.path("real_videos", o.real_videos,
              {.help = "folder of real videos that every arm's set is compared with (Frechet distance); empty: no such figure", .fingerprint = false});
  fields.path("i3d", o.i3d,
              {.help = "i3d_torchscript.pt for FVD; empty: the Frechet distance is of CLIP features and named clip_frechet", .fingerprint = false});
  fields.require("i3d", o.i3d.empty() || !o.real_videos.empty(), "FVD compares with real videos: name a folder of them in evaluate.real_videos");
}

void describe(config::Fields& fields, ExportOptions& o) {
  fields.choices("formats", o.formats, {"diffusers", "kohya", "comfyui"}, {.help = "adapter files: diffusers, kohya (musubi-tuner), comfyui"});
  fields.text("licence", o.licence, {.help = "licence of the adapter, written into the headers of its files; empty: none", .fingerprint = false});
}

std::int64_t optimizer_steps(const OptimizeOptions& options) { return training::steps_for(options.pairs_seen, options.training.global_batch); }

Configuration::Configuration() {
  reconstruct.training.learning_rate = 1e-4;
  reconstruct.training.steps = 1000;
  optimize.training.learning_rate = 2e-5;
  optimize.training.checkpoint_every = 1;  // a step of the full model takes a minute, its checkpoint seconds beside the next one
}

void describe(config::Fields& fields, Configuration& c) {
  fields.path("output", c.output, {.help = "run directory; made when absent, continued when there", .fingerprint = false, .required = true});
  fields.path("reuse", c.reuse,
              {.help = "another run directory: its finished stages from prepare to select are linked instead of made again where options and inputs are the "
                       "same, and its videos and scores are found by key; empty: none",
               .fingerprint = false});
  fields.require("reuse", c.reuse.empty() || c.reuse != c.output, "is this run's own directory (output)");
  fields.integer("seed", c.seed, {.help = "seed of every random number", .minimum = 0});
  fields.path("prompts", c.prompts, {.help = "text file of prompt templates with {subject}, one a line", .fingerprint = false, .required = true});
  fields.nested("model", c.model, "the text-to-video model");
  fields.nested("subject", c.subject, "the person");
  fields.nested("video", c.video, "size of the candidates and of the evaluation videos");
  fields.nested("adapter", c.adapter, "the LoRA");
  fields.nested("mesh", c.mesh, "how ranks are laid out: replicas x pair x sequence");
  fields.nested("reconstruct", c.reconstruct, "stage 1: the adapter learns the photos");
  fields.nested("generate", c.generate, "candidate videos");
  fields.nested("rewards", c.rewards, "reward networks and how candidates are scored");
  fields.nested("select", c.select, "which candidates are paired");
  fields.nested("optimize", c.optimize, "stage 2: hybrid preference optimization");
  fields.nested("evaluate", c.evaluate, "figures of the result");
  fields.nested("export", c.export_, "adapter files");
}

Configuration read_configuration(const std::string& file, const std::vector<std::string>& overrides) {
  Configuration configuration;
  config::read(file, config::described(configuration), overrides);
  configuration.optimize.training.steps = optimizer_steps(configuration.optimize);
  return configuration;
}

std::vector<PromptLine> read_prompt_lines(const std::filesystem::path& path) {
  std::vector<PromptLine> prompts;
  std::map<std::string, int> seen;
  int number = 0;
  for (const auto& whole : base::split_lines(base::decode_written_file(storage::read_text(path), path.string()))) {
    ++number;
    const auto first = whole.find_first_not_of(" \t");
    if (first == std::string::npos || whole[first] == '#') continue;
    const std::string line = whole.substr(first, whole.find_last_not_of(" \t") - first + 1), where = base::concat(path.string(), ":", number);
    if (line.find("{subject}") == std::string::npos)
      throw base::UserError(where, ": the template lacks {subject}, which stands for the person: \"", line, "\"");
    if (const auto [it, fresh] = seen.emplace(line, number); !fresh) throw base::UserError(where, ": the template already stands in line ", it->second);
    prompts.push_back({line, where});
  }
  if (prompts.empty()) throw base::UserError(path.string(), ": holds no prompt template; one a line, with {subject}, was expected");
  return prompts;
}

std::vector<std::string> read_prompt_templates(const std::filesystem::path& path) {
  std::vector<std::string> templates;
  for (auto& prompt : read_prompt_lines(path)) templates.push_back(std::move(prompt.text));
  return templates;
}

}  // namespace magicid::pipeline
