// `magicid export`: the trained adapter in the formats of diffusers, musubi-tuner and ComfyUI.

#include "base/errors.h"
#include "base/log.h"
#include "base/version.h"
#include "pipeline/fingerprints.h"
#include "pipeline/pairs_file.h"
#include "pipeline/stages.h"
#include "pipeline/training_files.h"
#include "run_directory/checkpoints.h"
#include "storage/hdf5.h"

namespace magicid::pipeline {

using run_directory::Stage;

namespace {

// Entries of the files' headers: what it is for, and how it was made.
std::map<std::string, std::string> provenance_of(const Run& run, const models::generator::Adapter& adapter, std::int64_t step) {
  const auto& c = run.config();
  const auto options = adapter_options(c);
  std::map<std::string, std::string> entries{{"magicid_version", base::code_version()},
                                             {"magicid_trigger", c.subject.trigger},
                                             {"magicid_class", c.subject.class_name},
                                             {"magicid_model", run.model().model},
                                             {"magicid_lora_rank", std::to_string(options.lora_rank)},
                                             {"magicid_alpha", base::concat(options.alpha)},
                                             {"magicid_modules", std::to_string(adapter.modules().size())},
                                             {"magicid_reconstruct_steps", std::to_string(c.reconstruct.training.steps)},
                                             {"magicid_optimize_steps", std::to_string(step)},
                                             {"magicid_pairs", std::to_string(PairsFile::load(run.layout().pairs()).selection.pairs.size())}};
  if (!c.export_.licence.empty()) entries["magicid_licence"] = c.export_.licence;
  return entries;
}

}  // namespace

run_directory::Fingerprint export_fingerprint(session::Session& session, Run& run) {
  // Model and subject stand in the files' headers.
  nlohmann::json inputs{{"optimize", run.result_of(session, Stage::optimize)}, {"model", run.model().model}};
  if (!run.config().export_.licence.empty()) inputs["licence"] = run.config().export_.licence;
  return {run.options_of({"subject", "export"}), inputs};
}

void export_adapter(session::Session& session, Run& run) {
  require_predecessors(session, run, Stage::adapter_export);
  run.stage(session, Stage::adapter_export, export_fingerprint(session, run), [&] {
    const auto adapter = load_trained(session, run, Stage::optimize);
    const std::int64_t step = run_directory::step_of(run.checkpoint_of(session, Stage::optimize));
    Run::StageResult done;
    comm::agree(session.world(), "writing the adapter", [&] {
      if (!session.leader()) return;
      const auto folder = run.layout().adapter();
      const auto provenance = provenance_of(run, adapter, step);
      const auto native = folder / "native.h5";
      storage::write_hdf5(native, {"magicid.adapter", 1}, [&](storage::Hdf5Writer& out) {
        for (const auto& [name, tensor] : adapter.named_tensors()) out.tensor("adapter/" + name, tensor);
        for (const auto& [key, value] : provenance) out.attribute("/", key, value);
      });
      done.files.push_back(native);
      for (const auto& format : run.config().export_.formats) {
        const auto path = folder / (format + ".safetensors");
        run.backbone().save_adapter(adapter, format, path, provenance);
        done.files.push_back(path);
        base::log::info("export: wrote " + path.string());
      }
    });
    return done;
  });
}

}  // namespace magicid::pipeline
