#include "commands/other_runs.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "commands/adapters.h"
#include "parallel/replicas.h"
#include "run_directory/run_directory.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using run_directory::Stage;

OtherRun look_at(const RunContext& context, const std::string& name, const fs::path& root) {
  const auto run = run_directory::RunDirectory::view(root);
  const json manifest = run.manifest();
  const std::string where = "evaluate.runs." + name + ": " + root.string();
  const std::string model = manifest.value("/identity/model"_json_pointer, "");
  if (model != context.model().model) throw base::UserError(where, ": was made with another model (", model, ") than this run (", context.model().model, ")");
  const auto& subject = context.config().subject;
  const std::string trigger = manifest.value("/configuration/subject/trigger"_json_pointer, ""),
                    class_name = manifest.value("/configuration/subject/class_name"_json_pointer, "");
  if (trigger != subject.trigger || class_name != subject.class_name)
    throw base::UserError(where, ": was trained for \"", trigger, " ", class_name, "\", and this run's prompts say \"", subject.trigger, " ",
                          subject.class_name, "\"");
  const auto result = run.result_hash(Stage::optimize);
  if (!result) throw base::UserError(where, ": its stage optimize has not finished; run `magicid optimize` or `magicid run` with its configuration first");
  for (const auto& [file, record] : manifest.at("stages").at("optimize").at("files").items())
    if (fs::path(file).extension() == ".h5") return {name, root / file, *result};
  throw base::UserError(where, ": its manifest names no checkpoint of stage optimize");
}

}  // namespace

std::vector<OtherRun> other_runs(RunContext& context) {
  json found = json::array();
  comm::agree(context.world(), "looking at other runs", [&] {
    if (!context.leader()) return;
    for (const auto& [name, root] : context.config().evaluate.runs) {
      const OtherRun run = look_at(context, name, root);
      found.push_back({run.arm, run.checkpoint.string(), run.result});
    }
  });
  std::vector<OtherRun> runs;
  for (const auto& run : json::parse(context.world().broadcast_string(found.dump(), 0))) runs.push_back({run[0], run[1].get<std::string>(), run[2]});
  return runs;
}

models::generator::Adapter load_other(RunContext& context, const OtherRun& run) {
  std::optional<models::generator::Adapter> adapter;
  comm::agree(context.world(), "reading the adapter of " + run.arm, [&] {
    adapter = read_checkpoint_adapter(context, run.checkpoint);
    if (const std::string hash = parallel::hash_of(adapter->flat_parameters()); hash != run.result)
      throw base::UserError(run.checkpoint.string(), ": its parameters hash to ", hash, ", the run recorded ", run.result,
                            "; run `magicid optimize` there again");
  });
  return std::move(*adapter);
}

}  // namespace magicid::commands
