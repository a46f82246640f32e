// Adapters and training checkpoints in a run directory.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "models/generator/adapter.h"
#include "models/generator/recompute.h"
#include "pipeline/run.h"
#include "storage/hdf5.h"
#include "training/step_loop.h"

namespace magicid::pipeline {

models::generator::AdapterOptions adapter_options(const Configuration& configuration);
// model.recompute. Throws UserError when it is not for the model's blocks. Not collective; the same on every rank.
models::generator::RecomputePlan recompute_plan(const Run& run);

// The adapter after a finished training stage (reconstruct or optimize), read by every rank from the checkpoint that the stage results in, as parameters in
// fp32 on the placement's device. Throws UserError naming the stage to run first.
models::generator::Adapter load_trained(session::Session& session, Run& run, run_directory::Stage stage);

// The adapter of a training checkpoint, of this run or another, as load_trained() gives it. Not collective. Throws as run_directory::load_checkpoint does, and
// UserError when it does not fit the transformer.
models::generator::Adapter read_checkpoint_adapter(session::Session& session, const Run& run, const std::filesystem::path& path);

// The adapter's part of a checkpoint's tensors, which read_checkpoint_adapter() reads.
storage::NamedTensors checkpoint_tensors(const models::generator::Adapter& adapter);

// Files of a training stage below `folder`: checkpoints, metrics.jsonl, TensorBoard events. Used on rank 0.
class TrainingFiles {
 public:
  // `adapter` gives the names of the parameters; both must outlive the hooks.
  TrainingFiles(session::Session& session, Run& run, std::filesystem::path folder, std::string stage, const models::generator::Adapter& adapter);
  ~TrainingFiles();
  training::StepHooks hooks();
  // For who needs the state that training goes on from before run_steps begins: reads the newest intact checkpoint, which the load hook then gives, opens the
  // logs, and sets `adapter` to the checkpoint's parameters on every rank. Returns its step, 0 when there is none. Collective over the world.
  std::int64_t resume(session::Session& session, Run& run, models::generator::Adapter& adapter);
  // Figures of a step beside the step's own: a line of their own in metrics.jsonl (with `more` merged in), scalars in the event file. After resume() or the
  // load hook.
  void log(std::int64_t step, const std::map<std::string, double>& values, const nlohmann::json& more);
  const std::filesystem::path& folder() const;
  // What the manifest lists.
  Run::StageResult result() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace magicid::pipeline
