// Adapters and training checkpoints in a run directory.
#pragma once

#include <optional>
#include <string>

#include "commands/run_context.h"
#include "models/hunyuan_video/adapter.h"
#include "models/hunyuan_video/recompute.h"
#include "training/step_loop.h"

namespace magicid::commands {

models::hunyuan_video::AdapterOptions adapter_options(const Configuration& configuration);
// model.recompute for every block.
models::hunyuan_video::RecomputePlan recompute_plan(const Configuration& configuration);

// The adapter after a finished training stage (reconstruct or optimize), read from its last checkpoint by every rank, as parameters in fp32 on the
// placement's device. Throws UserError naming the stage to run first.
models::hunyuan_video::Adapter load_trained(RunContext& context, run_directory::Stage stage);

// The adapter of a training checkpoint, of this run or another, as load_trained() gives it. Not collective. Throws as run_directory::load_checkpoint does, and UserError
// when it does not fit the transformer.
models::hunyuan_video::Adapter read_checkpoint_adapter(const RunContext& context, const std::filesystem::path& path);

// Files of a training stage below `folder`: checkpoints, metrics.jsonl, TensorBoard events. Used on rank 0.
class TrainingFiles {
 public:
  // `adapter` gives the names of the parameters; both must outlive the hooks.
  TrainingFiles(RunContext& context, std::filesystem::path folder, std::string stage, const models::hunyuan_video::Adapter& adapter);
  ~TrainingFiles();
  training::StepHooks hooks();
  // What the manifest lists.
  RunContext::StageResult result() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace magicid::commands
