#include "pipeline/other_runs.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "parallel/replicas.h"
#include "pipeline/training_files.h"
#include "run_directory/run_directory.h"
#include "work/from_leader.h"

namespace magicid::pipeline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using run_directory::Stage;

OtherRun look_at(const Run& run, const std::string& name, const fs::path& root) {
  const auto other = run_directory::RunDirectory::view(root);
  const json manifest = other.manifest();
  const std::string where = "evaluate.runs." + name + ": " + root.string();
  const std::string model = manifest.value("/identity/model"_json_pointer, "");
  if (model != run.model().model) throw base::UserError(where, ": was made with another model (", model, ") than this run (", run.model().model, ")");
  const auto& subject = run.config().subject;
  const std::string trigger = manifest.value("/configuration/subject/trigger"_json_pointer, ""),
                    class_name = manifest.value("/configuration/subject/class_name"_json_pointer, "");
  if (trigger != subject.trigger || class_name != subject.class_name)
    throw base::UserError(where, ": was trained for \"", trigger, " ", class_name, "\", and this run's prompts say \"", subject.trigger, " ",
                          subject.class_name, "\"");
  const auto result = other.result_hash(Stage::optimize);
  if (!result) throw base::UserError(where, ": its stage optimize has not finished; run `magicid optimize` or `magicid run` with its configuration first");
  for (const auto& [file, hash] : other.files_of(Stage::optimize))
    if (fs::path(file).extension() == ".h5") return {name, root / file, *result};
  throw base::UserError(where, ": its manifest names no checkpoint of stage optimize");
}

}  // namespace

std::vector<OtherRun> other_runs(session::Session& session, const Run& run) {
  const json found = work::from_leader(session.world(), "looking at other runs", [&] {
    json list = json::array();
    for (const auto& [name, root] : run.config().evaluate.runs) {
      const OtherRun other = look_at(run, name, root);
      list.push_back({{"arm", other.arm}, {"checkpoint", other.checkpoint.string()}, {"result", other.result}});
    }
    return list;
  });
  std::vector<OtherRun> runs;
  for (const auto& other : found) runs.push_back({other.at("arm"), other.at("checkpoint").get<std::string>(), other.at("result")});
  return runs;
}

models::generator::Adapter load_other(session::Session& session, const Run& run, const OtherRun& other) {
  std::optional<models::generator::Adapter> adapter;
  comm::agree(session.world(), "reading the adapter of " + other.arm, [&] {
    adapter = read_checkpoint_adapter(session, run, other.checkpoint);
    if (const std::string hash = parallel::hash_of(adapter->flat_parameters()); hash != other.result)
      throw base::UserError(other.checkpoint.string(), ": its parameters hash to ", hash, ", the run recorded ", other.result,
                            "; run `magicid optimize` there again");
  });
  return std::move(*adapter);
}

}  // namespace magicid::pipeline
