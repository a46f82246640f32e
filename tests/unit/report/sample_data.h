// A run as it could have been: figures from formulas and counter-based noise, pairs and fronts from the real selection.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/random.h"
#include "preference/pairs.h"
#include "report/report.h"

namespace magicid::tests {

using MediaSource = std::function<report::Media(std::size_t)>;

inline std::vector<std::string> sample_prompts() {
  return {
      "sks woman walking through a night market in the rain, neon signs, handheld camera",
      "sks woman dancing on a rooftop at sunset, slow motion, golden light",
      "sks woman says \"hello\" & waves <both> hands, it's windy",
      "close-up of sks woman laughing in a caf\xC3\xA9",
      "sks woman riding a bicycle along the sea, wide shot, gulls overhead, the camera follows from the left and rises slowly until the whole bay can be seen",
      "sks woman playing the violin on a stage"};
}

inline report::ReportData sample_data(const MediaSource& video, const MediaSource& picture, std::size_t tuned_per_prompt = 14, std::size_t steps = 1500) {
  using preference::Source;
  report::ReportData data;
  data.title = "Face adapter for sks woman";
  data.run_name = "astronaut-tiny";
  data.created = "2026-01-02 03:04 UTC";
  data.code_version = "magicid 0.1.0 (1a2b3c4)";
  data.notice = "The tiny model's weights are random: videos are noise and figures mean nothing. This run shows that everything works together.";
  data.subject = {.trigger = "sks", .class_noun = "woman"};
  for (std::size_t i = 0; i < 5; ++i) data.references.push_back({.name = "photo_0" + std::to_string(i + 1) + ".jpg", .picture = picture(i)});

  const auto prompts = sample_prompts();
  const base::CounterRandom random(7, "sample");
  std::size_t made = 0;
  const auto uniform = [&](std::uint64_t what) { return random.uniform(made, what); };
  std::vector<preference::Candidate> scored;
  const auto add = [&](Source source, std::int64_t prompt, double identity, double dynamics) {
    report::ShownCandidate candidate;
    candidate.key = base::hash_hex("candidate " + std::to_string(made));
    candidate.source = source;
    candidate.prompt = prompt < 0 ? "" : prompts[static_cast<std::size_t>(prompt)];
    candidate.normalised = {.identity = identity, .dynamics = dynamics, .semantics = 3 + 6 * uniform(9)};
    candidate.raw = {.identity = identity / 12, .dynamics = dynamics * 1.7, .semantics = 0.2 + candidate.normalised.semantics / 100};
    candidate.preview = video(made);
    if (made % 29 == 28) {
      candidate.rejected = "no face was found in any frame";
      if (made % 2 == 0) candidate.normalised = {};
    } else {
      scored.push_back(
          {.key = candidate.key, .source = source, .prompt = prompt, .identity = identity, .dynamics = dynamics, .semantics = candidate.normalised.semantics});
    }
    data.candidates.push_back(std::move(candidate));
    ++made;
  };
  for (std::size_t i = 0; i < 5; ++i) add(Source::still, -1, 8.8 + 1.1 * uniform(0), 1.0);
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    for (int k = 0; k < 3; ++k) add(Source::initial, static_cast<std::int64_t>(p), 1.3 + 2 * uniform(0), 4 + 6 * uniform(1));
    for (std::size_t k = 0; k < tuned_per_prompt; ++k) {
      const double strength = uniform(0);
      add(Source::tuned, static_cast<std::int64_t>(p), 3 + 5.5 * strength + 1.2 * (uniform(1) - 0.5), 1.5 + 5.5 * (1 - strength) * uniform(2) + uniform(3));
    }
  }
  preference::Options options;
  options.identity_pairs.count = 40;
  options.dynamic_pairs.count = 60;
  const preference::Selection selection = preference::select_pairs(scored, options);
  for (const auto& [key, front] : selection.fronts) {
    for (report::ShownCandidate& candidate : data.candidates) {
      if (candidate.key == key) candidate.front = front;
    }
  }
  for (const preference::Pair& pair : selection.pairs) {
    data.pairs.push_back({.kind = pair.kind,
                          .winner = pair.winner,
                          .loser = pair.loser,
                          .condition = pair.prompt < 0 ? "a photo of sks woman" : prompts[static_cast<std::size_t>(pair.prompt)],
                          .gap = {pair.identity_gap, pair.dynamics_gap, pair.semantics_gap},
                          .winner_front = pair.winner_front,
                          .loser_front = pair.loser_front});
  }
  data.selection_notes = selection.notes;
  data.selection_notes.push_back("dynamic pairs are limited to 8 for each video");

  report::TrainingStage reconstruct{.name = "reconstruct"}, optimize{.name = "optimize"};
  for (std::size_t i = 0; i < steps; ++i) {
    float drawn[1];
    random.normal(drawn, i, 100);
    const double t = static_cast<double>(i) / static_cast<double>(steps), noise = drawn[0], sigma = random.uniform(i, 101);
    const auto step = static_cast<std::int64_t>(i + 1);
    reconstruct.records.push_back({step,
                                   {{"loss", 0.15 + 0.5 * std::exp(-4 * t) * (0.4 + sigma) + 0.04 * std::abs(noise) + (i % 400 == 399 ? 2.0 : 0.0)},
                                    {"sigma", sigma},
                                    {"learning_rate", 1e-4 * std::min(1.0, t * 20)},
                                    {"gradient_norm", 0.8 * std::exp(-t) + 0.2 * std::abs(noise)},
                                    {"step_seconds", 1.9 + 0.05 * noise}}});
    const double margin = 1.8 * (1 - std::exp(-3 * t)) + (0.2 + t) * noise, winner = margin * 0.3 + 0.1 * noise, error = 0.4 + 0.3 * sigma;
    optimize.records.push_back({step,
                                {{"loss", std::log1p(std::exp(-margin))},
                                 {"implicit_reward_accuracy", margin > 0 ? 1.0 : 0.0},
                                 {"reward_margin", margin},
                                 {"winner_reward", winner},
                                 {"loser_reward", winner - margin},
                                 {"gradient_factor", 1000 / (1 + std::exp(margin))},
                                 {"saturation", 1 - 2 / (1 + std::exp(margin))},
                                 {"winner_error", error - winner / 40},
                                 {"reference_winner_error", error},
                                 {"loser_error", error + 0.05 + (margin - winner) / 30},
                                 {"reference_loser_error", error + 0.05},
                                 {"dynamic_share", i % 2 ? 1.0 : 0.0},
                                 {"learning_rate", 2e-5 * std::min(1.0, t * 20)},
                                 {"gradient_norm", 3 * std::exp(-t) + 0.5 * std::abs(noise)},
                                 {"step_seconds", 3.1 + 0.1 * noise}}});
  }
  data.training = {reconstruct, optimize};

  report::Evaluation& evaluation = data.evaluation;
  evaluation.metrics = {{.name = "face_similarity", .label = "Face similarity", .explanation = "Cosine of ArcFace embeddings with the references."},
                        {.name = "dynamic_degree", .label = "Dynamic degree", .explanation = "Mean length of the largest 5% of optical flow, in pixels."},
                        {.name = "clip_t", .label = "CLIP-T", .explanation = "Cosine of text and frames, times 100."}};
  evaluation.arms = {{.name = "base", .label = "Base model", .estimates = {{0.081, 0.052, 0.117}, {11.9, 9.8, 14.1}, {26.4, 25.7, 27.0}}},
                     {.name = "stage1", .label = "After reconstruction", .estimates = {{0.512, 0.471, 0.553}, {5.69, 4.7, 6.9}, {25.1, 24.3, 25.9}}},
                     {.name = "hpo", .label = "After HPO", .estimates = {{0.604, 0.571, 0.637}, {13.8, 11.9, 15.9}, {26.1, 25.5, 26.8}}}};
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    for (std::size_t a = 0; a < 3; ++a) {
      evaluation.samples.push_back({.arm = evaluation.arms[a].name,
                                    .prompt = prompts[p],
                                    .values = {0.1 + 0.25 * static_cast<double>(a), 10.5 + static_cast<double>(p), 25.25},
                                    .video = video(1000 + p * 3 + a)});
    }
  }
  data.adapters = {
      {.name = "adapter/diffusers.safetensors",
       .format = "diffusers",
       .bytes = 78'512'640,
       .description = "For HunyuanVideoPipeline in Python.",
       .snippet =
           "import torch\nfrom diffusers import HunyuanVideoPipeline\n\npipe = HunyuanVideoPipeline.from_pretrained(\"hunyuanvideo\", "
           "torch_dtype=torch.bfloat16)\n"
           "pipe.load_lora_weights(\"adapter\", weight_name=\"diffusers.safetensors\")\nvideo = pipe(prompt=\"sks woman waves\", num_frames=61).frames[0]"},
      {.name = "adapter/comfyui.safetensors",
       .format = "ComfyUI",
       .bytes = 78'514'112,
       .description = "For the node LoraLoaderModelOnly.",
       .snippet = "Copy the file into ComfyUI/models/loras, add the node LoraLoaderModelOnly after the model loader, strength 1.0, and write \"sks woman\" in "
                  "the prompt."}};
  data.next_steps = {"Sample more: magicid sample --adapter adapter/native.h5 --prompt \"sks woman ...\" --output out.mp4",
                     "Add references and start the same command again: finished work is kept."};
  data.settings = {{"model.path", "models/tiny"},
                   {"reconstruct.learning_rate", "0.0001"},
                   {"reconstruct.steps", "1000"},
                   {"generate.frames", "61"},
                   {"generate.height", "192"},
                   {"generate.width", "320"},
                   {"select.identity_pairs.count", "40"},
                   {"optimize.beta", "2000"}};
  data.settings_yaml = "model:\n  path: tiny\noptimize:\n  beta: 2000   # <mean> reduction\n";
  data.stage_times = {{"prepare", 42}, {"reconstruct", 2890}, {"generate", 9120}, {"score", 611}, {"select", 0.4}, {"optimize", 15800}, {"evaluate", 2210}};
  return data;
}

}  // namespace magicid::tests
