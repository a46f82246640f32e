#include "commands/candidates.h"

#include <map>

#include "base/hash.h"
#include "diffusion/initial_noise.h"
#include "generation/sample.h"

namespace magicid::commands {
namespace {

using nlohmann::json;

json sampler_description(const SamplingOptions& s) {
  json d{{"scheduler", "flow-match-euler"}, {"steps", s.steps}, {"guidance", s.guidance}, {"shift", s.shift}};
  // Without true guidance the negative prompt determines nothing.
  if (s.guided()) d["true_cfg"] = s.true_cfg, d["negative_prompt"] = s.negative_prompt;
  return d;
}

json model_description(const Configuration& c, const ModelIdentity& model, std::int64_t frames) {
  return {{"model", model.model}, {"dtype", model.dtype}, {"size", {{"height", c.video.height}, {"width", c.video.width}, {"frames", frames}}}};
}

json sampling_description(const Configuration& c, const ModelIdentity& model) {
  return {{"template", {{"max_length", c.model.max_length}, {"text", model.prompt_template}}}, {"sampler", sampler_description(c.generate.sampling)}};
}

// With what the model and the size add to its description, a candidate's key is known.
struct KeyMaker {
  const Configuration& c;
  const ModelIdentity& model;

  PlannedCandidate operator()(PlannedCandidate candidate, std::int64_t frames) const {
    candidate.description.update(model_description(c, model, frames));
    candidate.key = base::hash_json(candidate.description);
    return candidate;
  }

  // A generated candidate whose prompt is `planned.text`; `source` keeps the noise of different uses apart.
  PlannedCandidate generated(PlannedCandidate planned, const std::string& source, const json& adapter, std::int64_t seed, std::int64_t frames) const {
    planned.description = sampling_description(c, model);
    planned.description.update(
        json{{"prompt", planned.text}, {"noise", {{"seed", seed}, {"source", source}, {"sample", planned.sample}}}, {"adapter", adapter}});
    return (*this)(std::move(planned), frames);
  }
  PlannedCandidate video(PlannedCandidate planned, const json& adapter) const {
    const std::string source = preference::to_string(planned.source);
    return generated(std::move(planned), source, adapter, c.seed, c.video.frames);
  }

  PlannedCandidate initial_video(const std::vector<std::string>& templates, std::size_t prompt, std::int64_t sample) const {
    return video({.source = preference::Source::initial,
                  .prompt = static_cast<std::int64_t>(prompt),
                  .text = render_prompt(templates[prompt], c.subject, false),
                  .sample = sample},
                 json());
  }
};

}  // namespace

json generation_description(const Configuration& c, const ModelIdentity& model) {
  json description = model_description(c, model, c.video.frames);
  description.update(sampling_description(c, model));
  return description;
}

std::vector<PlannedCandidate> plan_candidates(const Configuration& c, const std::vector<std::string>& stills, const std::vector<std::string>& templates,
                                              const ModelIdentity& model, const std::string& reconstruct_result) {
  const KeyMaker with_key{c, model};
  std::vector<PlannedCandidate> plan;
  std::map<std::string, int> seen;
  for (std::size_t i = 0; i < stills.size(); ++i) {
    PlannedCandidate still{
        .source = preference::Source::still, .text = render_prompt(c.reconstruct.prompt, c.subject, true), .sample = static_cast<std::int64_t>(i)};
    // Two photos may give the same still: keys are unique, and stay as they are when photos are added or renamed.
    still.description = {{"still", stills[i]}, {"copy", seen[stills[i]]++}};
    plan.push_back(with_key(std::move(still), c.video.frames));
  }
  for (std::size_t p = 0; p < templates.size(); ++p)
    for (std::int64_t j = 0; j < c.generate.initial_per_prompt; ++j) plan.push_back(with_key.initial_video(templates, p, j));
  const auto& strengths = c.generate.adapter_strengths;
  for (std::size_t p = 0; p < templates.size(); ++p)
    for (std::int64_t j = 0; j < c.generate.tuned_per_prompt; ++j) {
      PlannedCandidate v{.source = preference::Source::tuned,
                         .prompt = static_cast<std::int64_t>(p),
                         .text = render_prompt(templates[p], c.subject, true),
                         .sample = j,
                         .strength = strengths[static_cast<std::size_t>(j) % strengths.size()]};
      const json adapter{{"trained", reconstruct_result}, {"strength", v.strength}};
      plan.push_back(with_key.video(std::move(v), adapter));
    }
  return plan;
}

std::vector<PlannedCandidate> plan_class_samples(const Configuration& c, const std::vector<std::string>& templates, const ModelIdentity& model) {
  const auto& prior = c.reconstruct.prior_preservation;
  const KeyMaker with_key{c, model};
  std::vector<PlannedCandidate> plan;
  if (prior.weight <= 0) return plan;
  for (std::int64_t i = 0; i < prior.samples; ++i) {
    if (prior.kind == "video") {
      const auto prompts = static_cast<std::int64_t>(templates.size());
      plan.push_back(with_key.initial_video(templates, static_cast<std::size_t>(i % prompts), i / prompts));
      continue;
    }
    PlannedCandidate image{.source = preference::Source::initial, .text = render_prompt(c.reconstruct.prompt, c.subject, false), .sample = i};
    plan.push_back(with_key.generated(std::move(image), "class-image", json(), c.seed, 1));
  }
  return plan;
}

std::vector<PlannedCandidate> plan_previews(const Configuration& c, const std::vector<std::string>& templates, const ModelIdentity& model,
                                            const std::string& adapter) {
  const KeyMaker with_key{c, model};
  std::vector<PlannedCandidate> plan;
  for (std::size_t p = 0; p < templates.size(); ++p) {
    PlannedCandidate v{
        .source = preference::Source::tuned, .prompt = static_cast<std::int64_t>(p), .text = render_prompt(templates[p], c.subject, true), .strength = 1};
    plan.push_back(with_key.generated(std::move(v), "preview", {{"trained", adapter}, {"strength", 1.0}}, c.optimize.previews.seed, c.video.frames));
  }
  return plan;
}

at::Tensor sample_candidate(const Configuration& c, const models::hunyuan_video::Transformer& transformer,
                            const models::hunyuan_video::AutoencoderConfig& autoencoder, const diffusion::FlowMatchEulerScheduler& scheduler,
                            const Prepared& prepared, const PlannedCandidate& candidate, const models::generator::Adapter* adapter,
                            const diffusion::StepCallback& after_step, parallel::SampleRanks* ranks) {
  const auto& s = c.generate.sampling;
  const json& size = candidate.description.at("size");
  const auto shape = generation::latent_shape({size.at("height"), size.at("width"), size.at("frames")}, transformer.config(), autoencoder);
  std::optional<generation::PromptEmbeddings> negative;
  if (s.guided()) negative = prepared.prompt(s.negative_prompt);
  return generation::sample_latents(transformer, adapter, scheduler, candidate_noise(candidate, shape), prepared.prompt(candidate.text), negative,
                                    {.steps = static_cast<int>(s.steps), .guidance = s.guidance, .true_cfg = s.true_cfg}, after_step, ranks);
}

diffusion::StepCallback beat_at_each_step(work::Pulse& pulse) {
  return [&pulse](const diffusion::StepState&) { pulse.beat_or_stop(); };
}

at::Tensor candidate_noise(const PlannedCandidate& candidate, const std::vector<std::int64_t>& shape) {
  const json noise = candidate.description.at("noise");
  // The prompt names the draw: videos of one prompt keep their noise when others are added or reordered.
  const std::string purpose = "candidate-noise/" + candidate.text + "/" + noise.at("source").get<std::string>() + "/" + std::to_string(candidate.sample);
  return diffusion::initial_noise(noise.at("seed").get<std::uint64_t>(), purpose, shape);
}

std::string preview_name(const PlannedCandidate& candidate) { return preference::to_string(candidate.source) + "-" + candidate.key.substr(0, 16) + ".mp4"; }

CandidatePlan candidate_plan(RunContext& context) {
  CandidatePlan plan;
  const std::string trained = context.result_of(run_directory::Stage::reconstruct);
  const PreparedContents prepared = prepared_contents(context);
  comm::agree(context.world(), "planning the candidates", [&] {
    plan.templates = read_prompt_templates(context.config().prompts);
    plan.candidates = plan_candidates(context.config(), prepared.stills, plan.templates, context.model(), trained);
  });
  return plan;
}

}  // namespace magicid::commands
