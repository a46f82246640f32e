// The layout of a run and what is known about its stages. Knows no models and no ranks: rank 0 opens and writes, others view.
//
//   runs/<name>/  run.lock  manifest.json  config.yaml  prepared.h5  reconstruct/  candidates/  previews/  scores/  pairs.h5
//                 optimize/  evaluation.json  adapter/  report.html  previous/
//
// manifest.json holds the run's identity, its configuration, and for each stage the fingerprint of what it was made from and the sizes and
// xxh128 hashes of what it made. Files are described in docs/files.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "run_directory/lock.h"

namespace magicid::run_directory {

enum class Stage { prepare, reconstruct, generate, score, select, optimize, evaluate, adapter_export, report };
inline constexpr Stage all_stages[] = {Stage::prepare,  Stage::reconstruct, Stage::generate,       Stage::score, Stage::select,
                                       Stage::optimize, Stage::evaluate,    Stage::adapter_export, Stage::report};
std::string stage_name(Stage stage);  // "prepare", ..., "export", "report"

// A stage in one round of the method. The method may go through its stages again, from the adapter that a round results in; a stage by itself is that of round
// 0.
struct StageOfRound {
  Stage stage;
  int round = 0;

  StageOfRound(Stage stage, int round = 0) : stage(stage), round(round) {}
  std::string text() const;  // "optimize", "optimize of round 1"
  bool operator==(const StageOfRound&) const = default;
};

// Where things lie; pure names. What a stage makes lies in its round's folder: that of round 0 is the root. What is found by content, and the photos'
// preparation, is shared by all rounds.
struct Layout {
  std::filesystem::path root;
  int round = 0;

  Layout of_round(int other) const { return {root, other}; }
  std::filesystem::path folder() const { return round == 0 ? root : root / "rounds" / std::to_string(round); }

  std::filesystem::path manifest() const { return root / "manifest.json"; }
  std::filesystem::path config() const { return root / "config.yaml"; }
  std::filesystem::path prepared() const { return root / "prepared.h5"; }
  std::filesystem::path reconstruct() const { return folder() / "reconstruct"; }  // checkpoints, metrics.jsonl, event files
  std::filesystem::path candidates() const { return root / "candidates"; }
  std::filesystem::path previews() const { return root / "previews"; }
  std::filesystem::path scores() const { return root / "scores"; }
  std::filesystem::path pairs() const { return folder() / "pairs.h5"; }
  std::filesystem::path optimize() const { return folder() / "optimize"; }
  std::filesystem::path evaluation() const { return folder() / "evaluation.json"; }
  std::filesystem::path evaluation_table() const { return folder() / "evaluation.csv"; }  // one row a video
  std::filesystem::path evaluation_summary() const { return folder() / "evaluation-summary.csv"; }
  std::filesystem::path evaluation_store() const { return root / "evaluation"; }  // figures of each video, by key
  std::filesystem::path adapter() const { return folder() / "adapter"; }
  std::filesystem::path report() const { return folder() / "report.html"; }
  std::filesystem::path previous() const { return root / "previous"; }

  // What a stage owns: begin_stage() moves it away when the stage must be made anew. Candidates, previews and scores are found by
  // content key, are never out of date, and so belong to no stage.
  std::vector<std::filesystem::path> owned_by(Stage stage) const;
};

// What a stage's results are a function of. `options`: its own options that change results (config::to_json, fingerprint selection).
// `inputs`: name -> hash or value of everything else it reads (results of earlier stages, references, prompts, model identity).
struct Fingerprint {
  nlohmann::json options = nlohmann::json::object();
  nlohmann::json inputs = nlohmann::json::object();
  std::string hash() const;  // xxh128 of the canonical JSON of both
};

// One leaf that differs: "optimize.beta", "2000.0", "50.0"; "(absent)" where a side has none.
struct Difference {
  std::string key, before, after;
};
std::vector<Difference> differences(const nlohmann::json& before, const nlohmann::json& after);
// "  optimize.beta: 2000.0 -> 50.0" a line.
std::string describe(const std::vector<Difference>& differences);

struct OpenOptions {
  std::string code_version;                                 // recorded with everything that is written
  nlohmann::json identity = nlohmann::json::object();       // backbone class and hash: what the whole run stands on
  nlohmann::json configuration = nlohmann::json::object();  // all options, to say what changed
  std::string resolved_yaml;                                // written as config.yaml
  bool accept_other_identity = false;                       // the user's flag: go on although the model changed
  // false: what an earlier start recorded stays until record(), which is called once something is done with the values of now.
  bool record = true;
};

struct StageState {
  bool current = false;
  std::string reason;  // why it is not: "has not run yet", "options or inputs changed: ...", "pairs.h5 is missing", ...
};

// Whether a stage's results were taken over from another run.
struct Takeover {
  bool done = false;
  std::string reason;  // why not
  std::size_t files = 0;
};

class RunDirectory {
 public:
  // Creates the folder or opens an existing run, takes the lock, removes leftovers of killed writers, records configuration and identity.
  // A damaged manifest is set aside: every stage runs again then, and finished candidates are still found. A changed configuration is
  // logged key by key, and the earlier config.yaml is kept under previous/. Throws UserError when another job holds the lock, when the folder holds
  // files but is no run, and when the identity differs (key by key); SystemError when the disk fails or something in the folder cannot be opened: what was not
  // read is not set aside.
  static RunDirectory open(const std::filesystem::path& root, const OpenOptions& options);
  // For ranks that only read, and for looking at a run that works: no lock, and nothing is written. Throws UserError when it is no run,
  // InvariantError when a method that writes is called.
  static RunDirectory view(const std::filesystem::path& root);

  // Records identity and configuration in the manifest and writes config.yaml, whose earlier version is kept under previous/. Once; a second call does nothing.
  void record();

  const Layout& layout() const;
  nlohmann::json manifest() const;
  // What differs from the configuration of the last opening.
  const std::vector<Difference>& changed_configuration() const;

  // Whether the stage was finished with this fingerprint and its files are as it left them (size and time of change; bytes are hashed when
  // the time differs). A file whose bytes changed is set aside (not by a view), so that the stage is made again. Throws SystemError when a file is there and
  // cannot be looked at.
  StageState stage_state(StageOfRound stage, const Fingerprint& fingerprint);
  bool stage_is_current(StageOfRound stage, const Fingerprint& fingerprint) { return stage_state(stage, fingerprint).current; }

  // Call before a stage's work. When what it owns was made (or begun) from another fingerprint, or from nobody knows what, that is moved to
  // previous/<stage>-N/; otherwise it stays, to be resumed. Records what was begun. Old results are therefore kept until the user deletes previous/.
  void begin_stage(StageOfRound stage, const Fingerprint& fingerprint);
  // Records the finished stage with the hashes of `files` (below the root). `result` is what later stages take as input; empty means the hash of
  // the files' hashes. Give it where equal results may lie in different files (candidates: hash of the sorted keys).
  void mark_stage_done(StageOfRound stage, const Fingerprint& fingerprint, const std::vector<std::filesystem::path>& files, const std::string& result = {});
  // Makes the stage current with the results of another run that finished it with the same fingerprint, instead of the stage's work: its files are linked
  // (copied to another file system, and where they grow in place) and the manifest names the source. Every byte is read and compared with what that run
  // recorded; what is missing, damaged, of other options or not finished is not taken. The other run may be at work. Killed anywhere, the stage is one that was
  // begun and not finished. Throws UserError when `other_root` is no run, SystemError when a disk fails or a file that is there cannot be opened (permission):
  // nothing is taken for damaged unread.
  Takeover take_over(StageOfRound stage, const Fingerprint& fingerprint, const std::filesystem::path& other_root);
  // The result hash of a finished stage, for the inputs of later ones; nothing when it has not finished.
  std::optional<std::string> result_hash(StageOfRound stage) const;
  // The files of a finished stage as its record holds them: name below the root -> xxh128. Empty when it has not finished.
  std::map<std::string, std::string> files_of(StageOfRound stage) const;

 private:
  RunDirectory() = default;
  void load();
  void save();
  void require_writable() const;
  const nlohmann::json* record_of(StageOfRound stage) const;  // null: there is none
  nlohmann::json& record_to_write(StageOfRound stage);
  static std::int64_t changed_ns(const std::filesystem::path& path);  // time of change

  Layout layout_;
  std::string code_version_;
  nlohmann::json manifest_;
  std::vector<Difference> changed_;
  std::optional<OpenOptions> unrecorded_;  // until record()
  std::optional<RunLock> lock_;
};

}  // namespace magicid::run_directory
