#include "run_directory/run_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "run_directory/set_aside.h"
#include "storage/atomic_file.h"
#include "storage/files.h"

namespace magicid::run_directory {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using nlohmann::json;

constexpr const char* format_name = "magicid.run";
constexpr int format_version = 1;

struct FileTimes {
  std::uint64_t bytes = 0;
  std::int64_t changed_ns = 0;
};

// Nothing when there is no such file. Throws SystemError when that cannot be told: a stage is not made again because its disk does not answer.
std::optional<FileTimes> look(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw base::SystemError(path.string(), ": cannot be examined: ", base::errno_text(errno));
  }
  if (!S_ISREG(status.st_mode)) return std::nullopt;
  return FileTimes{static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec};
}

void compare(const std::string& prefix, const json& before, const json& after, std::vector<Difference>& out) {
  if (before == after && before.dump() == after.dump()) return;
  if (!before.is_object() || !after.is_object()) {
    out.push_back({prefix, before.is_discarded() ? "(absent)" : before.dump(), after.is_discarded() ? "(absent)" : after.dump()});
    return;
  }
  const json absent(json::value_t::discarded);
  const auto joined = [&](const std::string& key) { return prefix.empty() ? key : prefix + "." + key; };
  for (const auto& [key, value] : before.items()) compare(joined(key), value, after.contains(key) ? after[key] : absent, out);
  for (const auto& [key, value] : after.items())
    if (!before.contains(key)) compare(joined(key), absent, value, out);
}

fs::path first_free(const fs::path& folder, const std::string& stem, const std::string& extension) {
  std::error_code code;
  for (int n = 1;; ++n) {
    fs::path path = folder / (stem + "-" + std::to_string(n) + extension);
    if (!fs::exists(fs::symlink_status(path, code))) return path;
  }
}

void move(const fs::path& from, const fs::path& to) {
  std::error_code code;
  fs::create_directories(to.parent_path(), code);
  if (!code) fs::rename(from, to, code);
  if (code) throw base::SystemError(from.string(), ": cannot be moved to ", to.string(), ": ", code.message());
}

std::string hash_of(const json& value) { return base::hash_hex(std::string_view(value.dump())); }

json empty_manifest() { return {{"format", format_name}, {"version", format_version}, {"stages", json::object()}}; }

// Empty, or what is wrong with the records of stages.
std::string problem_of_stages(const json& stages) {
  if (!stages.is_object()) return "it has no stages";
  for (const auto& [name, stage] : stages.items()) {
    if (!stage.is_object()) return "stage " + name + " is not an object";
    for (const char* key : {"fingerprint", "result"})
      if (stage.contains(key) && !stage[key].is_string()) return "stage " + name + " has no valid " + key;
    for (const char* key : {"options", "inputs", "files"})
      if (stage.contains(key) && !stage[key].is_object()) return "stage " + name + " has no valid " + key;
    if (stage.contains("done") && !stage["done"].is_boolean()) return "stage " + name + " has no valid mark of being done";
    if (stage.value("done", false) && !(stage.contains("files") && stage.contains("result"))) return "stage " + name + " lacks its files";
    if (!stage.contains("files")) continue;
    for (const auto& [file, record] : stage["files"].items())
      if (!record.is_object() || !record.value("bytes", json()).is_number_unsigned() || !record.value("xxh128", json()).is_string() ||
          !record.value("changed_ns", json()).is_number_integer())
        return "stage " + name + " has no valid record of " + file;
  }
  return {};
}

// Empty, or what is wrong with a manifest that is JSON.
std::string problem_of(const json& manifest) {
  if (!manifest.is_object()) return "it is not a JSON object";
  if (manifest.value("format", json()) != format_name) return "it is not the manifest of a run";
  if (!manifest.contains("version") || !manifest["version"].is_number_integer()) return "it names no version";
  if (std::string problem = problem_of_stages(manifest.value("stages", json())); !problem.empty()) return problem;
  const json rounds = manifest.value("rounds", json::object());
  if (!rounds.is_object()) return "its rounds are not an object";
  for (const auto& [number, round] : rounds.items()) {
    const bool valid = !number.empty() && number.find_first_not_of("0123456789") == std::string::npos && round.is_object();
    if (!valid) return "'" + number + "' is no round";
    if (std::string problem = problem_of_stages(round.value("stages", json())); !problem.empty()) return "round " + number + ": " + problem;
  }
  return {};
}

// Every folder that atomic writes go to; previous/ only receives finished files by renaming.
std::vector<fs::path> written_folders(const Layout& layout) {
  std::vector<fs::path> folders{layout.root, layout.candidates(), layout.previews(), layout.scores(), layout.evaluation_store()};
  const auto add = [&](const Layout& round) { folders.insert(folders.end(), {round.folder(), round.reconstruct(), round.optimize(), round.adapter()}); };
  add(layout);
  for (const auto& path : storage::list_folder(layout.root / "rounds"))
    if (const std::string name = path.filename().string(); !name.empty() && name.size() < 9 && name.find_first_not_of("0123456789") == std::string::npos)
      add(layout.of_round(std::stoi(name)));
  return folders;
}

}  // namespace

std::string stage_name(Stage stage) {
  switch (stage) {
    case Stage::prepare: return "prepare";
    case Stage::reconstruct: return "reconstruct";
    case Stage::generate: return "generate";
    case Stage::score: return "score";
    case Stage::select: return "select";
    case Stage::optimize: return "optimize";
    case Stage::evaluate: return "evaluate";
    case Stage::adapter_export: return "export";
    case Stage::report: return "report";
  }
  throw base::InvariantError("unknown stage");
}

std::string StageOfRound::text() const { return stage_name(stage) + (round == 0 ? "" : " of round " + std::to_string(round)); }

std::vector<fs::path> Layout::owned_by(Stage stage) const {
  switch (stage) {
    case Stage::prepare: return {prepared()};
    case Stage::reconstruct: return {reconstruct()};
    case Stage::generate:
    case Stage::score: return {};
    case Stage::select: return {pairs()};
    case Stage::optimize: return {optimize()};
    case Stage::evaluate: return {evaluation(), evaluation_table(), evaluation_summary()};
    case Stage::adapter_export: return {adapter()};
    case Stage::report: return {report()};
  }
  throw base::InvariantError("unknown stage");
}

std::string Fingerprint::hash() const { return hash_of({{"options", options}, {"inputs", inputs}}); }

std::vector<Difference> differences(const json& before, const json& after) {
  std::vector<Difference> out;
  compare("", before, after, out);
  return out;
}

std::string describe(const std::vector<Difference>& differences) {
  std::string text;
  for (const auto& difference : differences)
    text += (text.empty() ? "  " : "\n  ") + (difference.key.empty() ? "" : difference.key + ": ") + difference.before + " -> " + difference.after;
  return text;
}

RunDirectory RunDirectory::open(const fs::path& root, const OpenOptions& options) {
  std::error_code code;
  const Layout layout{root};
  const bool there = storage::exists(root);
  if (there && !fs::is_directory(root, code)) throw UserError(root.string(), ": is a file; the run directory must be a folder");
  if (there && !storage::exists(layout.manifest())) {
    // Anything but our own early traces (lock, leftovers, an earlier manifest set aside) means that the folder serves something else.
    for (const auto& path : storage::list_folder(root)) {
      const std::string name = path.filename().string();
      if (!name.starts_with("run.lock") && !name.starts_with('.') && !name.starts_with("manifest.json."))
        throw UserError(root.string(), ": holds files (", name, ") but no manifest.json, so it is no run directory. Name a new or empty folder.");
    }
  }
  fs::create_directories(root, code);
  if (code) throw base::SystemError(root.string(), ": cannot be created: ", code.message());

  RunDirectory run;
  run.layout_ = layout;
  run.code_version_ = options.code_version;
  run.lock_ = RunLock::acquire(root);
  for (const auto& folder : written_folders(layout)) remove_leftovers(folder);
  run.load();

  if (run.manifest_.contains("identity")) {
    const auto changed = differences(run.manifest_["identity"], options.identity);
    if (!changed.empty() && !options.accept_other_identity)
      throw UserError(root.string(), ": this run was made with another model:\n", run_directory::describe(changed),
                      "\nName another run directory, or allow it explicitly: every stage that depends on the model then runs again.");
    if (!changed.empty()) base::log::warning(base::concat(root.string(), ": goes on with another model, as asked:\n", run_directory::describe(changed)));
  }
  if (run.manifest_.contains("configuration")) {
    run.changed_ = differences(run.manifest_["configuration"], options.configuration);
    if (!run.changed_.empty())
      base::log::info(base::concat(root.string(), ": configuration changed since the last start:\n", run_directory::describe(run.changed_)));
  }
  run.unrecorded_ = options;
  const bool recorded = run.manifest_.contains("configuration") && storage::exists(layout.config());
  if (options.record || !recorded) run.record();
  return run;
}

void RunDirectory::record() {
  require_writable();
  if (!unrecorded_) return;
  const OpenOptions options = *unrecorded_;
  manifest_["identity"] = options.identity;
  manifest_["configuration"] = options.configuration;
  manifest_["code_version"] = options.code_version;
  // First: a start that is killed here must find a run directory, not a folder that holds somebody's config.yaml.
  save();
  if (!options.resolved_yaml.empty()) {
    if (storage::exists(layout_.config()) && storage::read_text(layout_.config()) != options.resolved_yaml)
      move(layout_.config(), first_free(layout_.previous(), "config", ".yaml"));
    if (!storage::exists(layout_.config())) storage::write_text_atomically(layout_.config(), options.resolved_yaml);
  }
  unrecorded_.reset();
}

RunDirectory RunDirectory::view(const fs::path& root) {
  RunDirectory run;
  run.layout_ = Layout{root};
  if (!storage::exists(run.layout_.manifest())) throw UserError(root.string(), ": is no run directory (it has no manifest.json)");
  run.load();
  return run;
}

void RunDirectory::load() {
  manifest_ = empty_manifest();
  if (!storage::exists(layout_.manifest())) return;
  const json found = json::parse(storage::read_text(layout_.manifest()), nullptr, false);
  const std::string problem = found.is_discarded() ? "it is not JSON" : problem_of(found);
  if (!problem.empty()) {
    if (!lock_) throw UserError(layout_.manifest().string(), ": is damaged: ", problem);
    set_aside(layout_.manifest(), problem + "; every stage runs again, finished candidates are kept");
    return;
  }
  if (found["version"].get<std::int64_t>() > format_version)
    throw UserError(layout_.manifest().string(), ": was written by a newer program (version ", found["version"].dump(), ", this one knows ", format_version,
                    "). Use that program, or another run directory.");
  manifest_ = found;
}

void RunDirectory::save() { storage::write_text_atomically(layout_.manifest(), manifest_.dump(1, ' ', false, json::error_handler_t::replace) + "\n"); }

std::int64_t RunDirectory::changed_ns(const fs::path& path) {
  const auto found = look(path);
  base::check_invariant(found.has_value(), path.string(), ": a file that was just written is not there");
  return found->changed_ns;
}

void RunDirectory::require_writable() const {
  base::check_invariant(lock_.has_value(), layout_.root.string(), ": a view of a run directory cannot be written to");
}

const Layout& RunDirectory::layout() const { return layout_; }
json RunDirectory::manifest() const { return manifest_; }
const std::vector<Difference>& RunDirectory::changed_configuration() const { return changed_; }

const json* RunDirectory::record_of(StageOfRound stage) const {
  const json* stages = &manifest_.at("stages");
  if (stage.round != 0) {
    if (!manifest_.contains("rounds") || !manifest_["rounds"].contains(std::to_string(stage.round))) return nullptr;
    stages = &manifest_["rounds"][std::to_string(stage.round)].at("stages");
  }
  const auto found = stages->find(stage_name(stage.stage));
  return found == stages->end() ? nullptr : &*found;
}

json& RunDirectory::record_to_write(StageOfRound stage) {
  base::check_invariant(stage.round >= 0, "a stage of round ", stage.round);
  json& stages = stage.round == 0 ? manifest_["stages"] : manifest_["rounds"][std::to_string(stage.round)]["stages"];
  return stages[stage_name(stage.stage)];
}

StageState RunDirectory::stage_state(StageOfRound stage, const Fingerprint& fingerprint) {
  if (record_of(stage) == nullptr) return {false, "has not run yet"};
  json& record = record_to_write(stage);
  if (record.value("fingerprint", "") != fingerprint.hash()) {
    const json before{{"options", record.value("options", json::object())}, {"inputs", record.value("inputs", json::object())}};
    const json after{{"options", fingerprint.options}, {"inputs", fingerprint.inputs}};
    return {false, "options or inputs changed:\n" + run_directory::describe(differences(before, after))};
  }
  if (!record.value("done", false)) return {false, "was begun but not finished"};
  for (auto& [file, expected] : record["files"].items()) {
    const fs::path path = layout_.root / file;
    const auto found = look(path);
    if (!found) return {false, file + " is missing"};
    std::string problem;
    if (found->bytes != expected["bytes"].get<std::uint64_t>()) {
      problem = base::concat("it has ", found->bytes, " bytes, ", expected["bytes"].get<std::uint64_t>(), " were written");
    } else if (found->changed_ns != expected["changed_ns"].get<std::int64_t>()) {
      if (base::hash_file(path) != expected["xxh128"].get<std::string>()) problem = "its bytes are not those that were written";
      else expected["changed_ns"] = found->changed_ns;  // copied or touched
    }
    if (problem.empty()) continue;
    if (lock_) set_aside(path, problem);
    return {false, file + " was changed: " + problem};
  }
  return {true, ""};
}

void RunDirectory::begin_stage(StageOfRound stage, const Fingerprint& fingerprint) {
  require_writable();
  const std::string name = (stage.round == 0 ? "" : "round-" + std::to_string(stage.round) + "-") + stage_name(stage.stage), hash = fingerprint.hash();
  const json* const begun = record_of(stage);
  const bool same = begun != nullptr && begun->value("fingerprint", "") == hash;
  if (!same) {
    fs::path kept;
    for (const auto& path : layout_.of_round(stage.round).owned_by(stage.stage)) {
      if (!fs::exists(fs::symlink_status(path))) continue;
      if (kept.empty()) kept = first_free(layout_.previous(), name, "");
      move(path, kept / path.filename());
    }
    if (!kept.empty()) base::log::info(base::concat("stage ", stage.text(), ": results of other options or inputs are kept in ", kept.string()));
  }
  record_to_write(stage) = {
      {"fingerprint", hash}, {"options", fingerprint.options}, {"inputs", fingerprint.inputs}, {"done", false}, {"code_version", code_version_}};
  save();
}

void RunDirectory::mark_stage_done(StageOfRound stage, const Fingerprint& fingerprint, const std::vector<fs::path>& files, const std::string& result) {
  require_writable();
  json records = json::object();
  for (const auto& path : files) {
    const fs::path relative = path.is_absolute() || path.lexically_normal().native().starts_with(layout_.root.lexically_normal().native())
                                  ? path.lexically_normal().lexically_relative(layout_.root.lexically_normal())
                                  : path;
    base::check_invariant(!relative.empty() && !relative.native().starts_with(".."), path.string(), ": lies outside the run directory ", layout_.root.string());
    const auto found = look(layout_.root / relative);
    base::check_invariant(found.has_value(), "stage ", stage.text(), " names a result that is not there: ", relative.string());
    records[relative.generic_string()] = {{"bytes", found->bytes}, {"changed_ns", found->changed_ns}, {"xxh128", base::hash_file(layout_.root / relative)}};
  }
  std::string outcome = result;
  if (outcome.empty()) {
    json hashes = json::object();
    for (const auto& [file, record] : records.items()) hashes[file] = record["xxh128"];
    outcome = hash_of(hashes);
  }
  record_to_write(stage) = {{"fingerprint", fingerprint.hash()},
                            {"options", fingerprint.options},
                            {"inputs", fingerprint.inputs},
                            {"done", true},
                            {"files", records},
                            {"result", outcome},
                            {"code_version", code_version_},
                            {"finished", static_cast<std::int64_t>(std::time(nullptr))}};
  save();
}

std::optional<std::string> RunDirectory::result_hash(StageOfRound stage) const {
  const json* const record = record_of(stage);
  if (record == nullptr || !record->value("done", false)) return std::nullopt;
  return record->at("result").get<std::string>();
}

std::map<std::string, std::string> RunDirectory::files_of(StageOfRound stage) const {
  std::map<std::string, std::string> files;
  const json* const record = record_of(stage);
  if (record == nullptr || !record->value("done", false)) return files;
  for (const auto& [file, about] : record->at("files").items()) files[file] = about.at("xxh128").get<std::string>();
  return files;
}

}  // namespace magicid::run_directory
