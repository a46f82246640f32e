// The root configuration: one YAML file for the whole pipeline, composed from the rooms' own options.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "comm/options.h"
#include "config/fields.h"
#include "generation/acting_adapters.h"
#include "models/text/subject.h"
#include "objectives/hpo.h"
#include "preference/options.h"
#include "rewards/options.h"
#include "training/options.h"

namespace magicid::pipeline {

struct ModelOptions {
  std::string folder;              // diffusers pipeline folder
  std::string device = "auto";     // auto | cpu | cuda
  std::string dtype = "auto";      // auto: float32 on the CPU, bfloat16 on a GPU
  std::string recompute = "none";  // as RecomputePlan::parse reads it
  std::string template_file;       // JSON {"template", "crop_start"}; empty: HunyuanVideo's own
  std::int64_t max_length = 256;   // prompt tokens kept after the template is cropped
  double resident_memory = 0;      // GB that networks may take together in a rank's memory; 0: half of it
};

struct SubjectOptions : models::text::SubjectWords {
  std::string references;  // folder of photos
};

struct VideoOptions {
  std::int64_t height = 720, width = 1280, frames = 61, fps = 24;
};

struct AdapterSettings {
  std::int64_t lora_rank = 32;
  double alpha = 0;  // 0: equal to lora_rank
  std::vector<std::string> targets;
  std::string initialize_from;  // LoRA file or folder that reconstruct begins with; empty: PEFT's random A, B zero
};

struct PriorPreservationOptions {
  double weight = 0;           // of the class samples' error; 0: off
  std::string kind = "image";  // image | video
  std::int64_t samples = 50;
};

struct ReconstructOptions {
  training::Options training;
  double shift = 3.0;
  std::string prompt = "a photo of {subject}";
  PriorPreservationOptions prior_preservation;
};

struct SamplingOptions {
  std::int64_t steps = 50;
  double guidance = 6.0;
  double shift = 7.0;
  double true_cfg = 1.0;
  std::string negative_prompt;                  // may be empty: guided away from the empty text
  std::vector<double> adapter_sigmas = {0, 1};  // the trained adapter acts above the first and up to the second
  // Further adapters, which act in every video that is made, as if they were part of the model.
  config::NamedPaths with_adapters;
  std::vector<double> with_strengths;           // of each; empty: 1
  std::vector<double> with_sigmas;              // two numbers for each, as adapter_sigmas; empty: everywhere
  bool guided() const { return true_cfg > 1; }  // two forwards a step
  generation::SigmaRange trained_sigmas() const { return {adapter_sigmas.front(), adapter_sigmas.back()}; }
  double further_strength(std::size_t i) const { return with_strengths.empty() ? 1 : with_strengths.at(i); }
  generation::SigmaRange further_sigmas(std::size_t i) const {
    return with_sigmas.empty() ? generation::SigmaRange{} : generation::SigmaRange{with_sigmas.at(2 * i), with_sigmas.at(2 * i + 1)};
  }
};

struct GenerateOptions {
  SamplingOptions sampling;
  std::int64_t initial_per_prompt = 1;  // V_s
  std::int64_t tuned_per_prompt = 5;    // V_t
  std::vector<double> adapter_strengths = {1.0};
};

// Videos of a fixed set of prompts and noise, made and scored while the adapter trains. `optimize` alone has them.
struct PreviewOptions {
  std::int64_t every = 0;  // steps; 0: none
  std::string prompts;     // empty: the training prompts
  std::int64_t count = 4;  // the first so many prompts
  std::int64_t seed = 0;   // of their noise
};

struct OptimizeOptions {
  training::Options training;
  std::int64_t pairs_seen = 5000;
  double shift = 7.0;
  objectives::HpoOptions hpo;
  PreviewOptions previews;
  std::string keep_best = "none";  // none | identity | dynamics | semantics | sum
};

struct EvaluateOptions {
  std::string prompts;  // empty: the training prompts
  std::int64_t videos_per_prompt = 1;
  std::vector<std::string> arms = {"base", "stage1", "hpo"};
  config::NamedPaths runs;     // further arms: name and run directory
  config::NamedPaths folders;  // further arms: name and folder of videos
  std::string real_videos;     // reference set of the Frechet distance; empty: none
  std::string i3d;             // TorchScript file of FVD's network; empty: CLIP's features instead
};

struct ExportOptions {
  std::vector<std::string> formats = {"diffusers", "kohya", "comfyui"};
  std::string licence;  // in the files' headers; empty: none
};

struct Configuration {
  std::string output;  // the run directory
  std::string reuse;   // another run directory, whose finished stages are taken over; empty: none
  std::int64_t seed = 42;
  std::string prompts;  // templates with {subject}, one a line
  ModelOptions model;
  SubjectOptions subject;
  VideoOptions video;
  AdapterSettings adapter;
  comm::Options mesh;
  ReconstructOptions reconstruct;
  GenerateOptions generate;
  rewards::RewardOptions rewards;
  preference::Options select;
  OptimizeOptions optimize;
  EvaluateOptions evaluate;
  ExportOptions export_;

  Configuration();  // stage defaults that differ from the rooms' own
};

void describe(config::Fields& fields, ModelOptions& options);
void describe(config::Fields& fields, SubjectOptions& options);
void describe(config::Fields& fields, VideoOptions& options);
void describe(config::Fields& fields, AdapterSettings& options);
void describe(config::Fields& fields, PriorPreservationOptions& options);
void describe(config::Fields& fields, ReconstructOptions& options);
void describe(config::Fields& fields, SamplingOptions& options);
void describe(config::Fields& fields, GenerateOptions& options);
void describe(config::Fields& fields, PreviewOptions& options);
void describe(config::Fields& fields, OptimizeOptions& options);
void describe(config::Fields& fields, EvaluateOptions& options);
void describe(config::Fields& fields, ExportOptions& options);
void describe(config::Fields& fields, Configuration& configuration);

// Of a YAML file, with `overrides` ("optimize.beta=50") that win. optimize's steps are set. Throws UserError naming file, line and key.
Configuration read_configuration(const std::string& file, const std::vector<std::string>& overrides);

// pairs_seen / global_batch, rounded up. (`training.steps` is not read for this stage.)
std::int64_t optimizer_steps(const OptimizeOptions& options);

// A prompt template and where it stands ("prompts.txt:3"), for messages.
struct PromptLine {
  std::string text, where;
};
// Templates of a prompt file: one a line, blank lines and lines that begin with # skipped, in Unicode's form NFC (base/text.h). Throws UserError naming file
// and line for text that is not UTF-8 and when a template lacks {subject} or stands twice, or when there is none.
std::vector<PromptLine> read_prompt_lines(const std::filesystem::path& path);
// The same without their places.
std::vector<std::string> read_prompt_templates(const std::filesystem::path& path);

}  // namespace magicid::pipeline
