#include "pipeline/training_files.h"

#include <ATen/ops/scalar_tensor.h>
#include <c10/core/GradMode.h>

#include "base/errors.h"
#include "base/hash.h"
#include "base/version.h"
#include "parallel/replicas.h"
#include "run_directory/checkpoints.h"
#include "run_directory/event_file.h"
#include "run_directory/metrics_log.h"

namespace magicid::pipeline {
namespace {

namespace fs = std::filesystem;

const std::string adapter_prefix = "adapter/";

models::generator::Adapter adapter_of(const models::generator::Adaptable& network, const run_directory::StoredCheckpoint& checkpoint,
                                      const models::nn::Placement& placement) {
  storage::NamedTensors values;
  for (const auto& [name, tensor] : checkpoint.tensors)
    if (name.starts_with(adapter_prefix)) values[name.substr(adapter_prefix.size())] = tensor;
  return models::generator::Adapter::from_named_tensors(network, values, checkpoint.path.string(), placement);
}

}  // namespace

models::generator::RecomputePlan recompute_plan(const Run& run) {
  const auto plan = models::generator::RecomputePlan::parse(run.config().model.recompute);
  plan.check(run.backbone().blocks());
  return plan;
}

models::generator::AdapterOptions adapter_options(const Configuration& configuration) {
  const auto& a = configuration.adapter;
  return {.targets = a.targets,
          .lora_rank = a.lora_rank,
          .alpha = a.alpha > 0 ? a.alpha : static_cast<double>(a.lora_rank),
          .seed = static_cast<std::uint64_t>(configuration.seed)};
}

models::generator::Adapter load_trained(session::Session& session, Run& run, run_directory::Stage stage) {
  const fs::path checkpoint = run.checkpoint_of(session, stage);
  std::optional<models::generator::Adapter> adapter;
  comm::agree_unless_stopped(session.world(), "reading the adapter of " + run_directory::stage_name(stage),
                             [&] { adapter = read_checkpoint_adapter(session, run, checkpoint); });
  return std::move(*adapter);
}

models::generator::Adapter read_checkpoint_adapter(session::Session& session, const Run& run, const fs::path& path) {
  return adapter_of(run.backbone().adaptable(), run_directory::load_checkpoint(path), {.device = session.placement().device, .dtype = at::kFloat});
}

storage::NamedTensors checkpoint_tensors(const models::generator::Adapter& adapter) {
  storage::NamedTensors tensors;
  for (const auto& [name, tensor] : adapter.named_tensors()) tensors[adapter_prefix + name] = tensor;
  return tensors;
}

struct TrainingFiles::State {
  fs::path folder;
  std::string stage;
  const models::generator::Adapter* adapter;
  models::generator::Adaptable network;
  nlohmann::json about;
  std::optional<run_directory::MetricsLog> metrics;
  std::optional<run_directory::EventFile> events;
  fs::path last_checkpoint;
  std::optional<std::optional<training::Checkpoint>> read_ahead;  // by resume()

  void open_logs(std::int64_t step) {
    metrics.emplace(folder / "metrics.jsonl", step == 0 ? -1 : step);
    events.emplace(folder, step);
  }

  std::optional<training::Checkpoint> load() {
    auto found = run_directory::latest_intact(folder);
    if (!found) {
      open_logs(0);
      return std::nullopt;
    }
    const auto values = adapter_of(network, *found, {});
    open_logs(found->step);
    last_checkpoint = found->path;
    training::Checkpoint checkpoint{.step = found->step,
                                    .parameters = values.flat_parameters().clone(),
                                    .first_moment = found->tensors.at("optimizer/first_moment"),
                                    .second_moment = found->tensors.at("optimizer/second_moment")};
    training::read_position(found->state, checkpoint);
    return checkpoint;
  }

  training::Write save(const training::Checkpoint& checkpoint) {
    last_checkpoint = run_directory::checkpoint_path(folder, checkpoint.step);
    nlohmann::json state = about;
    state.update(training::position_of(checkpoint));
    run_directory::SaveOptions options;
    if (checkpoint.keep) options.keep_as = run_directory::step_name(checkpoint.step);
    return [folder = folder, step = checkpoint.step, tensors = tensors_of(checkpoint), state = std::move(state), options] {
      run_directory::save_checkpoint(folder, step, tensors, state, options);
    };
  }

  // Views of the copy, under the names that Adapter::named_tensors() gives.
  storage::NamedTensors tensors_of(const training::Checkpoint& checkpoint) const {
    storage::NamedTensors tensors{{"optimizer/first_moment", checkpoint.first_moment}, {"optimizer/second_moment", checkpoint.second_moment}};
    std::int64_t offset = 0;
    const auto next = [&](std::int64_t rows, std::int64_t columns) {
      offset += rows * columns;
      return checkpoint.parameters.narrow(0, offset - rows * columns, rows * columns).view({rows, columns});
    };
    for (const auto& m : adapter->modules()) {
      tensors[adapter_prefix + m.name + ".lora_A.weight"] = next(m.rank, m.in);
      tensors[adapter_prefix + m.name + ".lora_B.weight"] = next(m.out, m.rank);
      tensors[adapter_prefix + m.name + ".alpha"] = at::scalar_tensor(m.alpha, at::kDouble);
    }
    return tensors;
  }

  void log(std::int64_t step, const std::map<std::string, double>& values, const nlohmann::json& more) {
    metrics->append(step, values, more);
    std::map<std::string, double> tagged;
    for (const auto& [name, value] : values) tagged[stage + "/" + name] = value;
    events->scalars(step, tagged);
  }
};

TrainingFiles::TrainingFiles(session::Session& session, Run& run, fs::path folder, std::string stage, const models::generator::Adapter& adapter)
    : state_(std::make_shared<State>()) {
  state_->folder = std::move(folder);
  state_->stage = std::move(stage);
  state_->adapter = &adapter;
  state_->network = run.backbone().adaptable();
  const auto& model = run.config().model;
  state_->about = {
      {"stage", state_->stage},     {"code_version", base::code_version()}, {"device", session.placement().device.str()},
      {"dtype", run.model().dtype}, {"recompute", model.recompute},         {"configuration", run.options_of({"seed", "model", "adapter", state_->stage})}};
}

TrainingFiles::~TrainingFiles() = default;

training::StepHooks TrainingFiles::hooks() {
  const auto load = [s = state_] {
    if (!s->read_ahead) return s->load();
    auto checkpoint = std::move(*s->read_ahead);
    s->read_ahead.reset();
    return checkpoint;
  };
  return {.load = load,
          .save = [s = state_](const training::Checkpoint& c) { return s->save(c); },
          .record = [s = state_](const training::StepRecord& r) { s->log(r.step, r.metrics, nlohmann::json::object()); }};
}

std::int64_t TrainingFiles::resume(session::Session& session, Run& run, models::generator::Adapter& adapter) {
  std::string step = "0";
  comm::agree(session.world(), "reading the last checkpoint", [&] {
    if (!session.leader()) return;
    state_->read_ahead = state_->load();
    const auto& checkpoint = *state_->read_ahead;
    if (!checkpoint) return;
    if (checkpoint->parameters.sizes() != adapter.flat_parameters().sizes())
      throw base::UserError(state_->last_checkpoint.string(), ": holds ", checkpoint->parameters.numel(), " parameters, the adapter has ",
                            adapter.flat_parameters().numel(), ". Was lora_rank or targets changed?");
    step = std::to_string(checkpoint->step);
  });
  step = session.world().broadcast_string(step, 0);
  if (step == "0") return 0;
  const c10::AutoGradMode no_grad(false);
  at::Tensor parameters = adapter.flat_parameters();
  if (session.leader()) parameters.copy_((*state_->read_ahead)->parameters);
  parallel::broadcast_adapter(session.world(), parameters);
  return std::stoll(step);
}

void TrainingFiles::log(std::int64_t step, const std::map<std::string, double>& values, const nlohmann::json& more) { state_->log(step, values, more); }

const fs::path& TrainingFiles::folder() const { return state_->folder; }

Run::StageResult TrainingFiles::result() const {
  return {.files = {state_->last_checkpoint, state_->folder / "metrics.jsonl"}, .result = parallel::hash_of(state_->adapter->flat_parameters())};
}

}  // namespace magicid::pipeline
