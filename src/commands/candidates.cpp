#include "commands/candidates.h"

#include "base/hash.h"
#include "diffusion/initial_noise.h"

namespace magicid::commands {
namespace {

using nlohmann::json;

json sampler_description(const SamplingOptions& s) {
  json d{{"scheduler", "flow-match-euler"}, {"steps", s.steps}, {"guidance", s.guidance}, {"shift", s.shift}};
  // Without true guidance the negative prompt determines nothing.
  if (s.true_cfg > 1 && !s.negative_prompt.empty()) d["true_cfg"] = s.true_cfg, d["negative_prompt"] = s.negative_prompt;
  return d;
}

}  // namespace

std::vector<PlannedCandidate> plan_candidates(const Configuration& c, const Prepared& prepared, const std::vector<std::string>& templates, const std::string& model_fingerprint,
                                              const std::string& reconstruct_result, const std::string& dtype) {
  const json size{{"height", c.video.height}, {"width", c.video.width}, {"frames", c.video.frames}};
  std::vector<PlannedCandidate> plan;
  const auto add = [&](PlannedCandidate candidate) {
    candidate.description["model"] = model_fingerprint;
    candidate.description["dtype"] = dtype;
    candidate.description["size"] = size;
    candidate.key = base::hash_json(candidate.description);
    plan.push_back(std::move(candidate));
  };
  for (std::size_t i = 0; i < prepared.references.size(); ++i) {
    PlannedCandidate still{.source = preference::Source::still, .text = render_prompt(c.reconstruct.prompt, c.subject, true), .sample = static_cast<std::int64_t>(i)};
    still.description = {{"still", prepared.references[i].image_hash}, {"detector", c.rewards.scoring.face_detector.kind}, {"index", i}};
    add(std::move(still));
  }
  const auto video = [&](preference::Source source, std::size_t prompt, std::int64_t sample, double strength) {
    PlannedCandidate v{.source = source, .prompt = static_cast<std::int64_t>(prompt), .sample = sample, .strength = strength};
    v.text = render_prompt(templates[prompt], c.subject, source == preference::Source::tuned);
    v.description = {{"prompt", v.text},
                     {"template", {{"max_length", c.model.max_length}, {"text", c.model.template_file.empty() ? json() : json(base::hash_file(c.model.template_file))}}},
                     {"noise", {{"seed", c.seed}, {"source", preference::to_string(source)}, {"sample", sample}}},
                     {"sampler", sampler_description(c.generate.sampling)},
                     {"adapter", source == preference::Source::tuned ? json{{"trained", reconstruct_result}, {"strength", strength}} : json()}};
    add(std::move(v));
  };
  for (std::size_t p = 0; p < templates.size(); ++p)
    for (std::int64_t j = 0; j < c.generate.initial_per_prompt; ++j) video(preference::Source::initial, p, j, 0);
  const auto& strengths = c.generate.adapter_strengths;
  for (std::size_t p = 0; p < templates.size(); ++p)
    for (std::int64_t j = 0; j < c.generate.tuned_per_prompt; ++j)
      video(preference::Source::tuned, p, j, strengths[static_cast<std::size_t>(j) % strengths.size()]);
  return plan;
}

at::Tensor candidate_noise(const PlannedCandidate& candidate, const std::vector<std::int64_t>& shape) {
  const json noise = candidate.description.at("noise");
  // The prompt names the draw: videos of one prompt keep their noise when others are added or reordered.
  const std::string purpose = "candidate-noise/" + candidate.text + "/" + noise.at("source").get<std::string>() + "/" + std::to_string(candidate.sample);
  return diffusion::initial_noise(noise.at("seed").get<std::uint64_t>(), purpose, shape);
}

std::string preview_name(const PlannedCandidate& candidate) { return preference::to_string(candidate.source) + "-" + candidate.key.substr(0, 16) + ".mp4"; }

CandidatePlan candidate_plan(RunContext& context, const Prepared& prepared) {
  CandidatePlan plan;
  const std::string trained = context.result_of(run_directory::Stage::reconstruct);
  comm::agree(context.world(), "planning the candidates", [&] {
    plan.templates = read_prompt_templates(context.config().prompts);
    const std::string dtype = context.placement().dtype == at::kBFloat16 ? "bfloat16" : "float32";
    plan.candidates = plan_candidates(context.config(), prepared, plan.templates, context.pipeline().fingerprint(), trained, dtype);
  });
  return plan;
}

}  // namespace magicid::commands
