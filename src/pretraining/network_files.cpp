#include "pretraining/network_files.h"

#include "base/errors.h"
#include "base/log.h"

namespace magicid::pretraining {

using nlohmann::json;

NetworkFiles::NetworkFiles(std::filesystem::path folder, std::string name, Network& network, json about, std::optional<run_directory::StoredCheckpoint> found)
    : folder_(std::move(folder)), name_(std::move(name)), network_(network), about_(std::move(about)), found_(std::move(found)) {}

std::optional<training::Checkpoint> NetworkFiles::load() {
  metrics_.emplace(folder_ / "metrics.jsonl", found_ ? found_->step : -1);
  events_.emplace(folder_, found_ ? found_->step : 0);
  if (!found_) return std::nullopt;
  seconds_ = found_->state.value("seconds", 0.0);
  training::Checkpoint checkpoint{.step = found_->step,
                                  .parameters = found_->tensors.at("parameters"),
                                  .first_moment = found_->tensors.at("optimizer/first_moment"),
                                  .second_moment = found_->tensors.at("optimizer/second_moment")};
  training::read_position(found_->state, checkpoint);
  found_.reset();
  return checkpoint;
}

training::Write NetworkFiles::save(const training::Checkpoint& c) {
  json state = about_;
  state["seconds"] = seconds_;
  state.update(training::position_of(c));
  run_directory::SaveOptions options;
  if (c.keep) options.keep_as = run_directory::step_name(c.step);
  return [folder = folder_, c, state = std::move(state), options] {
    run_directory::save_checkpoint(folder, c.step,
                                   {{"parameters", c.parameters}, {"optimizer/first_moment", c.first_moment}, {"optimizer/second_moment", c.second_moment}},
                                   state, options);
  };
}

void NetworkFiles::record(const training::StepRecord& r) {
  seconds_ += r.metrics.at("step_seconds");
  write(r.step, "", r.metrics);
}

void NetworkFiles::validate(std::int64_t step) {
  const auto figures = network_.validate();
  network_.write_samples(folder_ / "samples" / base::concat("step-", step));
  write(step, "validation/", figures);
  std::string line = base::concat(name_, ": validation at step ", step);
  for (const auto& [name, value] : figures) line += base::concat("  ", name, ' ', value);
  base::log::info(line);
  last_ = figures;
}

json NetworkFiles::summary(std::int64_t steps) const { return {{"steps", steps}, {"hours", seconds_ / 3600}, {"validation", last_}}; }

// The network's name tells events apart that lie in one folder of TensorBoard's; metrics.jsonl is the network's own.
void NetworkFiles::write(std::int64_t step, const std::string& kind, const std::map<std::string, double>& values) {
  std::map<std::string, double> tagged, plain;
  for (const auto& [name, value] : values) tagged[name_ + "/" + kind + name] = value, plain[kind + name] = value;
  metrics_->append(step, plain);
  events_->scalars(step, tagged);
}

}  // namespace magicid::pretraining
