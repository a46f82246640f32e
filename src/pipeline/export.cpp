// `magicid export`: the trained adapter in the formats of diffusers, musubi-tuner and ComfyUI.

#include "base/log.h"
#include "base/version.h"
#include "pipeline/fingerprints.h"
#include "pipeline/stages.h"
#include "pipeline/training_files.h"
#include "storage/hdf5.h"

namespace magicid::pipeline {

using run_directory::Stage;

run_directory::Fingerprint export_fingerprint(session::Session& session, Run& run) {
  // Model and subject stand in the files' headers.
  return {run.options_of({"subject", "export"}), {{"optimize", run.result_of(session, Stage::optimize)}, {"model", run.model().model}}};
}

void export_adapter(session::Session& session, Run& run) {
  require_predecessors(session, run, Stage::adapter_export);
  run.stage(session, Stage::adapter_export, export_fingerprint(session, run), [&] {
    const auto adapter = load_trained(session, run, Stage::optimize);
    Run::StageResult done;
    comm::agree(session.world(), "writing the adapter", [&] {
      if (!session.leader()) return;
      const auto folder = run.layout().adapter();
      const auto& c = run.config();
      const std::map<std::string, std::string> provenance{{"magicid_version", base::code_version()},
                                                          {"magicid_trigger", c.subject.trigger},
                                                          {"magicid_class", c.subject.class_name},
                                                          {"magicid_model", run.model().model}};
      const auto native = folder / "native.h5";
      storage::write_hdf5(native, {"magicid.adapter", 1}, [&](storage::Hdf5Writer& out) {
        for (const auto& [name, tensor] : adapter.named_tensors()) out.tensor("adapter/" + name, tensor);
        for (const auto& [key, value] : provenance) out.attribute("/", key, value);
      });
      done.files.push_back(native);
      for (const auto& format : c.export_.formats) {
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
