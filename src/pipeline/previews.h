// Previews while `optimize` trains: the adapter as it is makes videos of a fixed set of prompts and noise, which are scored as candidates are and logged beside
// the loss (optimize.previews); and the choice of the step that the stage results in (optimize.keep_best).
//
//   optimize/previews/step-000100-prompt-1.mp4   the videos
//   optimize/previews/segment-*.h5               their scores, by key: what a stopped job has finished is not made again
//   optimize/previews/latents/                   what is sampled and not yet decoded and scored; gone after each step's previews
//   optimize/previews/stopped/                   adapters of steps whose previews a stop request left unfinished
//   optimize/best/checkpoint-000100.h5           with keep_best: the adapter of every step that was the best so far, at the end of the chosen one alone
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/generator/adapter.h"
#include "pipeline/candidates.h"
#include "pipeline/pairs_file.h"
#include "pipeline/prepared.h"
#include "pipeline/preview_rounds.h"
#include "pipeline/run.h"
#include "pipeline/training_files.h"
#include "run_directory/candidate_store.h"
#include "run_directory/segment_store.h"

namespace magicid::pipeline {

class Previews {
 public:
  // Reads what previews are of; nothing where optimize.previews.every is 0. After `select`. Collective over the world, as all of the following are.
  explicit Previews(session::Session& session, Run& run);

  // All that the chosen adapter depends on beside the training: rule, videos, scorer. Null where the last adapter is the result.
  nlohmann::json inputs() const;

  // Reads references and scorer, and encodes prompts that the stage `prepare` did not. To be called before the transformer is loaded, for the text encoders
  // need the memory.
  void prepare();

  // Before run_steps, with the transformer in memory: sets `policy` to the state that training goes on from and makes the previews that are due there and not
  // in the log: of step 0, and of steps at which an earlier job was stopped. All referred to must outlive the hooks.
  void begin(models::generator::Adapter& policy, TrainingFiles& files);

  // With previews after the steps at which they are due. The networks are loaded for a step's previews and let go after them: training needs the memory. On a
  // stop request they are left as they are, the loop goes on to save its checkpoint, and the next start finishes them from the adapter that is saved here.
  training::StepHooks add_to(training::StepHooks hooks);

  // After run_steps. `last`: the stage's result without a rule.
  Run::StageResult result(Run::StageResult last);

 private:
  bool wanted() const;
  bool decides() const;
  void read();
  // Returns false when a stop request came in between; what was finished stays.
  bool make(std::int64_t step, const models::generator::Adapter& adapter);
  // The previews of one step.
  struct Batch {
    std::int64_t step = 0;
    std::vector<PlannedCandidate> plan;
    std::vector<nlohmann::json> descriptions;  // of their scores
    std::vector<std::size_t> missing;          // without scores
  };
  // The latents of the missing videos that `latents` does not hold yet, put there by the leader of each sequence group.
  void sample(const Batch& batch, const models::generator::Adapter& adapter, run_directory::CandidateStore& latents);
  // Decodes and scores the missing videos, each by the rank that draws it.
  void score(const Batch& batch, run_directory::CandidateStore& latents, run_directory::SegmentStore& store);
  void record(PreviewRound round, const models::generator::Adapter& adapter);
  std::filesystem::path folder() const;
  std::filesystem::path best_folder() const;
  std::filesystem::path stopped_folder() const;
  std::filesystem::path latents_folder() const;

  session::Session& session_;
  Run& run_;
  std::vector<std::string> templates_;
  Prepared prepared_;
  nlohmann::json scorer_;  // scorer_description()
  RewardRanges ranges_;
  models::generator::Adapter* policy_ = nullptr;
  TrainingFiles* files_ = nullptr;
  std::vector<PreviewRound> rounds_;  // on rank 0, by step
};

}  // namespace magicid::pipeline
