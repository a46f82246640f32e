#include "pipeline/candidates.h"

#include <map>

#include "base/errors.h"
#include "base/hash.h"
#include "comm/rank_errors.h"
#include "diffusion/initial_noise.h"
#include "generation/sample.h"

namespace magicid::pipeline {
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
  json d{{"template", {{"max_length", c.model.max_length}, {"text", model.prompt_template}}}, {"sampler", sampler_description(c.generate.sampling)}};
  if (!model.adapters.is_null()) d["adapters"] = model.adapters;
  return d;
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

json adapter_description(const SamplingOptions& options, const std::string& trained, double strength) {
  json d{{"trained", trained}, {"strength", strength}};
  if (options.trained_sigmas() != generation::SigmaRange{}) d["sigmas"] = options.adapter_sigmas;
  return d;
}

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
      const json adapter = adapter_description(c.generate.sampling, reconstruct_result, v.strength);
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
    plan.push_back(
        with_key.generated(std::move(v), "preview", adapter_description(c.generate.sampling, adapter, 1.0), c.optimize.previews.seed, c.video.frames));
  }
  return plan;
}

CandidateSampler::CandidateSampler(session::Session& session, const Run& run)
    : session_(session),
      run_(run),
      denoiser_(session::borrow_denoiser(session, run.backbone(), session.sequence())),
      scheduler_(run.folder().scheduler().with_shift(run.config().generate.sampling.shift)) {
  const auto& sampling = run.config().generate.sampling;
  comm::agree(session.sequence(), "reading generate.with_adapters", [&] {
    for (std::size_t i = 0; i < sampling.with_adapters.size(); ++i) {
      further_.push_back(run.backbone().load_adapter(sampling.with_adapters[i].second, session.placement()));
      further_.back().scale_by(sampling.further_strength(i));
    }
  });
}

at::Tensor CandidateSampler::operator()(const PlannedCandidate& candidate, const Prepared& prepared, const models::generator::Adapter* adapter,
                                        work::Pulse& pulse) const {
  const json& size = candidate.description.at("size");
  const auto shape = latent_shape({.height = size.at("height"), .width = size.at("width"), .frames = size.at("frames")});
  return sample(candidate_noise(candidate, shape), candidate.text, prepared.prompts, adapter, pulse);
}

at::Tensor CandidateSampler::sample(const at::Tensor& noise, const std::string& text, const std::map<std::string, models::generator::Condition>& prompts,
                                    const models::generator::Adapter* adapter, work::Pulse& pulse) const {
  const auto& s = run_.config().generate.sampling;
  const auto prompt = [&](const std::string& wanted) {
    const auto found = prompts.find(wanted);
    base::check_invariant(found != prompts.end(), "the prompt \"", wanted, "\" was not encoded");
    return found->second;
  };
  generation::SampleRequest request{.noise = noise, .prompt = prompt(text)};
  if (s.guided()) request.negative = prompt(s.negative_prompt);
  if (adapter != nullptr) request.adapters.push_back({adapter, s.trained_sigmas()});
  for (std::size_t i = 0; i < further_.size(); ++i) request.adapters.push_back({&further_[i], s.further_sigmas(i)});
  request.options = {.steps = static_cast<int>(s.steps), .guidance = s.guidance, .true_cfg = s.true_cfg};
  return generation::sample_latents(*denoiser_, scheduler_, request, beat_at_each_step(pulse), &session_.sequence_ranks());
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

CandidatePlan candidate_plan(session::Session& session, Run& run) {
  CandidatePlan plan;
  const std::string trained = run.result_of(session, run_directory::Stage::reconstruct);
  const PreparedContents prepared = prepared_contents(session, run);
  comm::agree(session.world(), "planning the candidates", [&] {
    plan.templates = read_prompt_templates(run.config().prompts);
    plan.candidates = plan_candidates(run.config(), prepared.stills, plan.templates, run.model(), trained);
  });
  return plan;
}

}  // namespace magicid::pipeline
