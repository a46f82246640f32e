#include "pretraining/network_training.h"

#include <c10/core/GradMode.h>

#include "base/errors.h"
#include "base/log.h"
#include "pretraining/network_files.h"
#include "pretraining/record.h"
#include "run_directory/set_aside.h"

namespace magicid::pretraining {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

enum class NetworkState { made, goes_on, begins };

// What lies on the disk and goes into the record is rank 0's; the other ranks' members for it stay empty.
class NetworkTraining {
 public:
  NetworkTraining(const NetworkEntry& entry, const Context& context, const Options& options, const Start& start, comm::Communicator& world)
      : entry_(entry), context_(context), options_(options), start_(start), world_(world), folder_(fs::path(options.output) / "training" / entry.name) {}

  void run() {
    const NetworkState state = look();
    if (state == NetworkState::made) {
      if (leader()) base::log::info(entry_.name + ": made earlier, nothing to do");
      return;
    }
    context_.goes_on = state == NetworkState::goes_on;
    comm::agree(world_, "starting " + entry_.name, [&] {
      network_ = entry_.make(context_);
      if (leader()) describe();
    });
    NetworkFiles files(folder_, entry_.name, *network_, about_, std::move(found_));
    const auto result = train(files);
    comm::agree(world_, "writing " + entry_.name, [&] {
      if (leader()) finish(files, result);
    });
  }

 private:
  bool leader() const { return world_.rank() == 0; }

  // Collective.
  NetworkState look() {
    std::string state;
    comm::agree(world_, "looking at " + entry_.name, [&] {
      if (leader()) state = std::to_string(static_cast<int>(look_at_files()));
    });
    return static_cast<NetworkState>(std::stoi(world_.broadcast_string(state, 0)));
  }

  NetworkState look_at_files() {
    about_ = determinants(entry_.name, options_, context_.model, entry_.needs);
    made_ = read_record(context_.model).value(entry_.name, json::object());
    if (!made_.empty() && same_determinants(entry_.name, made_, about_)) return NetworkState::made;
    run_directory::remove_leftovers(folder_);
    found_ = run_directory::latest_intact(folder_);
    if (found_) refuse_others(entry_.name, found_->path, found_->state, about_, found_->step < steps() ? "" : base::concat("this is of step ", found_->step));
    else if (!made_.empty()) refuse_others(entry_.name, record_path(context_.model), made_, about_, "no checkpoint is left to go on from");
    return found_ ? NetworkState::goes_on : NetworkState::begins;
  }

  // Adds to `about_` how the weights come about.
  void describe() {
    const json stored = found_ ? found_->state : json::object();
    const std::int64_t step = found_ ? found_->step : 0;
    about_["starts"] = step < steps() ? with_start(stored, start_.command, world_.size(), step, about_.at("options")) : stored.value("starts", json::array());
    about_["code_version"] = start_.code_version;
    if (context_.goes_on) {
      if (!stored.contains("networks")) about_.erase("networks");  // nobody knows whether it was trained on those of now
      // The record knows what older checkpoints lack, and what somebody wrote into it.
      for (const char* key : {"origin", "history"})
        if (const auto text = made_.value(key, stored.value(key, "")); !text.empty()) about_[key] = text;
    } else if (const auto origin = network_->origin(); !origin.empty()) {
      about_["origin"] = origin;
    }
  }

  // Collective.
  training::StepLoopResult train(NetworkFiles& files) {
    training::StepHooks hooks{.load = [&] { return files.load(); },
                              .save = [&](const training::Checkpoint& x) { return files.save(x); },
                              .record = [&](const training::StepRecord& r) { files.record(r); }};
    hooks.after_step = [&](const training::StepRecord& r) {
      if (r.step % entry_.options->validate_every != 0 && r.step != steps()) return;
      comm::agree(world_, "validating " + entry_.name, [&] {
        if (leader()) files.validate(r.step);
      });
    };
    return training::run_steps(entry_.name, entry_.options->training, network_->objective(), world_, hooks);
  }

  void finish(NetworkFiles& files, const training::StepLoopResult& result) {
    const c10::AutoGradMode no_grad(false);
    if (result.first_step == result.steps) files.validate(result.steps);  // no step was left that would have done so
    network_->write();
    json record = read_record(context_.model);
    record[entry_.name] = about_;
    record[entry_.name].update(files.summary(result.steps));
    record.erase("assessment");
    write_record(context_.model, record);
  }

  std::int64_t steps() const { return entry_.options->training.steps; }

  const NetworkEntry& entry_;
  Context context_;
  const Options& options_;
  const Start& start_;
  comm::Communicator& world_;
  fs::path folder_;
  json about_, made_;  // the network of this start, and what the record says of an earlier one
  std::optional<run_directory::StoredCheckpoint> found_;
  std::unique_ptr<Network> network_;
};

}  // namespace

void make_network(const NetworkEntry& entry, const Context& context, const Options& options, const Start& start, comm::Communicator& world) {
  NetworkTraining(entry, context, options, start, world).run();
}

}  // namespace magicid::pretraining
