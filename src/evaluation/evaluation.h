// What `evaluate` measures, and its tables: evaluation.json, evaluation.csv, evaluation-summary.csv.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/text/subject.h"

namespace magicid::evaluation {

// One video of the evaluation.
struct EvaluationItem {
  std::string arm;          // base | stage1 | hpo | a name of evaluate.runs or evaluate.folders; empty for a real video
  std::int64_t prompt = 0;  // index in the list of prompts
  std::int64_t sample = 0;
  std::string text;           // the prompt that it was made from
  std::string measured_text;  // what CLIP-T compares it with: in every arm the class alone, for CLIP knows no trigger
  nlohmann::json video;       // all that determines the video: how it is generated, or the hash of its file
  std::string video_key;
  nlohmann::json description;  // all that determines its figures
  std::string key;
  std::filesystem::path file;  // of a folder's video; empty: it is generated
};

// Name of a generated video below previews/; arms with the same adapter share it.
std::string preview_name(const EvaluationItem& item);

// The figures of one video.
struct VideoFigures {
  nlohmann::json metrics = nlohmann::json::object();  // name -> number, null where it is not finite; empty for a real video
  nlohmann::json size;                                // height, width, frames, fps
  at::Tensor features;                                // [D] for the Frechet distance; undefined: the video has none
};

// What pages call an arm: "base" is "Base model"; arms that the user named keep their names.
std::string arm_label(const std::string& arm);

// The file of one of the "videos" of an evaluation.json: in the folder of its arm, or among the run's previews. Throws nlohmann's exceptions when it is none.
std::filesystem::path video_file(const nlohmann::json& evaluation, const nlohmann::json& video, const std::filesystem::path& previews);

// Names of the figures of a video, in the order of tables.
const std::vector<std::string>& video_metrics();

// Templates, then the prompts of folders that are none of them.
struct PromptList {
  std::vector<std::string> prompts;
  std::size_t templates = 0;  // how many of them are templates of this run

  // The index of a folder's prompt: of the template that it renders, with or without trigger, or is; else of itself, added when new.
  std::int64_t index_of(const std::string& prompt, const models::text::SubjectWords& subject);
};

struct EvaluationResult {
  std::string person;
  std::int64_t noise_seed = 0;
  std::vector<std::string> prompts;
  nlohmann::json video;           // the run's height, width, frames, fps
  std::vector<std::string> arms;  // in the order of tables
  nlohmann::json folders;         // arm -> folder
  std::vector<EvaluationItem> items;
  std::vector<VideoFigures> figures;  // of each item
  std::string frechet;                // "fvd" | "clip_frechet"
  bool real_given = false;            // evaluate.real_videos
  std::vector<at::Tensor> real;       // features of the real videos that were measured; undefined entries as in VideoFigures
};

// How many videos of every arm and of the real ones a Frechet distance compares: the same number everywhere, for it falls with the number.
// `counts` of the arms' videos.
std::size_t frechet_count(const std::vector<std::size_t>& counts, std::size_t real);

// evaluation.json (docs/files.md). Intervals: see "interval" in it.
nlohmann::json summarise(const EvaluationResult& result);

// One row a video: arm, prompt, sample, file, height, width, frames, fps, figures. From evaluation.json.
std::string evaluation_csv(const nlohmann::json& evaluation);
// arm, prompt (or "all"), metric, mean, low, high, n. From evaluation.json.
std::string evaluation_summary_csv(const nlohmann::json& evaluation);

}  // namespace magicid::evaluation
