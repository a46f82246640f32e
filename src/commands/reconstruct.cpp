// `magicid reconstruct`: stage 1, the adapter learns the photos.

#include "commands/adapters.h"
#include "commands/prepared.h"
#include "commands/stages.h"
#include "objectives/reconstruction.h"
#include "training/step_loop.h"

namespace magicid::commands {

void reconstruct(RunContext& context) {
  using run_directory::Stage;
  const nlohmann::json inputs{{"model", context.pipeline().fingerprint()}, {"prepare", context.result_of(Stage::prepare)}};
  context.stage(Stage::reconstruct, context.options_of({"seed", "model", "adapter", "reconstruct"}), inputs, [&] {
    const Configuration& c = context.config();
    const Prepared prepared = Prepared::load(context.layout().prepared());
    const auto transformer = context.pipeline().load_transformer(context.placement());
    auto adapter = models::hunyuan_video::Adapter::create(transformer.config(), adapter_options(c), context.placement().device);
    std::vector<objectives::ReconstructionItem> items;
    for (const auto& reference : prepared.references) items.push_back({reference.latents, prepared.prompt(reference.caption)});
    objectives::Reconstruction objective(transformer, adapter, std::move(items), context.seed(), c.reconstruct.shift);
    TrainingFiles files(context, context.layout().reconstruct(), "reconstruct", adapter);
    training::run_steps("reconstruct", c.reconstruct.training, objective, context.world(), files.hooks());
    return files.result();
  });
}

}  // namespace magicid::commands
