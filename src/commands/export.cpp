// `magicid export`: the trained adapter in the formats of diffusers, musubi-tuner and ComfyUI.

#include "base/log.h"
#include "commands/adapters.h"
#include "commands/command_line.h"
#include "commands/fingerprints.h"
#include "commands/stages.h"
#include "models/hunyuan_video/adapter_files.h"
#include "storage/hdf5.h"

namespace magicid::commands {

using run_directory::Stage;

run_directory::Fingerprint export_fingerprint(RunContext& context) {
  // Model and subject stand in the files' headers.
  return {context.options_of({"subject", "export"}), {{"optimize", context.result_of(Stage::optimize)}, {"model", context.model().model}}};
}

void export_adapter(RunContext& context) {
  require_predecessors(context, Stage::adapter_export);
  context.stage(Stage::adapter_export, export_fingerprint(context), [&] {
    const auto adapter = load_trained(context, Stage::optimize);
    RunContext::StageResult done;
    comm::agree(context.world(), "writing the adapter", [&] {
      if (!context.leader()) return;
      const auto folder = context.layout().adapter();
      const auto& c = context.config();
      const std::map<std::string, std::string> provenance{{"magicid_version", code_version()},
                                                          {"magicid_trigger", c.subject.trigger},
                                                          {"magicid_class", c.subject.class_name},
                                                          {"magicid_model", context.model().model}};
      const auto native = folder / "native.h5";
      storage::write_hdf5(native, {"magicid.adapter", 1}, [&](storage::Hdf5Writer& out) {
        for (const auto& [name, tensor] : adapter.named_tensors()) out.tensor("adapter/" + name, tensor);
        for (const auto& [key, value] : provenance) out.attribute("/", key, value);
      });
      done.files.push_back(native);
      for (const auto& format : c.export_.formats) {
        const auto path = folder / (format + ".safetensors");
        models::hunyuan_video::save_adapter(adapter, context.pipeline().transformer_config(), models::hunyuan_video::adapter_format_from_name(format), path,
                                            provenance);
        done.files.push_back(path);
        base::log::info("export: wrote " + path.string());
      }
    });
    return done;
  });
}

}  // namespace magicid::commands
