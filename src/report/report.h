// A run as one HTML file that a person opens in a browser: no network, no other files. From plain values: this room runs no models, computes
// no scores and reads no HDF5.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "preference/pairs.h"

namespace magicid::report {

inline constexpr double unknown = std::numeric_limits<double>::quiet_NaN();  // shown as a dash

// A picture (JPEG, PNG, WebP) or a video (MP4, WebM): its bytes, or the file that holds them, read when the page is rendered. Neither: absent.
// The same file or the same bytes used twice are embedded once.
struct Media {
  std::string bytes;
  std::filesystem::path path;
  bool absent() const { return bytes.empty() && path.empty(); }
};

struct Subject {
  std::string trigger, class_noun;  // "sks", "woman"
};

struct Reference {
  std::string name;
  Media picture;  // embedded as it is and outside the videos' budget: the caller scales it down
};

struct ShownRewards {
  double identity = unknown, dynamics = unknown, semantics = unknown;
};

struct ShownCandidate {
  std::string key;  // unique
  preference::Source source = preference::Source::initial;
  std::string prompt;
  ShownRewards raw;         // cosine, pixels, cosine
  ShownRewards normalised;  // 1 to 10; unknown for candidates that could not be scored
  int front = -1;           // 0 is the best; -1: not sorted
  Media preview;
  std::string rejected;  // why it took no part in the selection; empty: it did
};

struct PreferencePair {
  preference::PairKind kind = preference::PairKind::identity;
  std::string winner, loser;  // candidates' keys; unknown keys are allowed and shown as such
  std::string condition;      // the prompt that the pair is trained under
  ShownRewards gap;           // winner minus loser, normalised
  int winner_front = -1, loser_front = -1;
};

// One line of metrics.jsonl. Names that the training writes (training/step_loop.h, objectives/) get titles, units and reference lines; others
// are drawn under their own name.
struct MetricRecord {
  std::int64_t step = 0;
  std::map<std::string, double> values;  // not finite: a gap in the curve
};

// A video made while a stage trained, with its raw rewards.
struct ShownPreview {
  std::string prompt;
  ShownRewards raw;
  Media video;
};

// The previews of one step: the same prompts and noise at every step.
struct ShownPreviewRound {
  std::int64_t step = 0;
  ShownRewards mean;
  std::vector<ShownPreview> videos;
};

struct TrainingStage {
  std::string name;                              // "reconstruct", "optimize"
  std::vector<MetricRecord> records;             // by step
  std::vector<ShownPreviewRound> previews = {};  // by step
  std::int64_t taken = -1;                       // the preview step whose adapter the stage results in; -1: its last step's
  std::string taken_why = {};                    // by which rule
};

struct EvaluationMetric {
  std::string name;         // "face_similarity"
  std::string label;        // "Face similarity"; empty: the name
  std::string explanation;  // one sentence
  bool higher_is_better = true;
};

// A mean with its bootstrap interval; low and high may be unknown.
struct Estimate {
  double mean = unknown, low = unknown, high = unknown;
};

struct EvaluationArm {
  std::string name;                 // "base", "stage1", "hpo"
  std::string label;                // "After reconstruction"; empty: the name
  std::vector<Estimate> estimates;  // one for each metric
  std::int64_t videos = 0;          // behind the figures; 0: not shown
};

// The figures of an arm on one prompt.
struct PromptEstimates {
  std::string arm, prompt;
  std::vector<Estimate> estimates;  // one for each metric
};

struct EvaluationSample {
  std::string arm, prompt;
  std::vector<double> values;  // one for each metric; those that are unknown are left out
  Media video;
};

struct Evaluation {
  std::vector<EvaluationMetric> metrics;
  std::vector<EvaluationArm> arms;         // in the order of the columns
  std::vector<EvaluationSample> samples;   // prompts are shown in order of first appearance, arms side by side
  std::vector<PromptEstimates> by_prompt;  // shown as a table; metrics that no prompt has are left out
  std::vector<std::string> notes;          // what the reader must know before comparing figures
  std::string interval = "95% bootstrap interval over prompts";
};

struct AdapterFile {
  std::string name;    // "adapter/diffusers.safetensors"
  std::string format;  // "diffusers", "ComfyUI"
  std::int64_t bytes = 0;
  std::string description;  // what it is for, one sentence
  std::string snippet;      // how it is loaded: text to copy
};

struct Setting {
  std::string key, value;  // "optimize.beta", "2000"
};

struct StageTime {
  std::string name;
  double seconds = unknown;
};

struct ReportData {
  std::string title = "MagicID report";
  std::string run_name;
  std::string created;       // as it shall be printed
  std::string code_version;  // "magicid 0.1 (1a2b3c4)"
  std::string notice;        // shown on top, e.g. that the model's weights are random
  Subject subject;
  std::vector<Reference> references;
  std::vector<ShownCandidate> candidates;
  std::vector<PreferencePair> pairs;         // best first within a kind
  std::vector<std::string> selection_notes;  // Selection::notes
  std::vector<TrainingStage> training;
  Evaluation evaluation;
  std::vector<AdapterFile> adapters;
  std::vector<std::string> next_steps;  // sentences after the adapters, e.g. commands to type
  std::vector<Setting> settings;
  std::string settings_yaml;  // shown as it stands; either or both
  std::vector<StageTime> stage_times;
};

struct ReportOptions {
  // Of all embedded videos together, counted as they stand in the file (base64). Evaluation first, then the pairs that are shown first, the
  // other pairs, the previews, the other candidates; what does not fit is listed without its video, and the page says how many.
  std::int64_t video_budget_bytes = 40'000'000;
  std::size_t pairs_shown = 12;  // of each kind before "show more"
};

// The page, UTF-8. The same data give the same bytes. Every text is escaped; bytes that are not UTF-8 become U+FFFD. Files that are missing or
// unreadable are named on the page instead of ending a finished run with an error.
// Throws InvariantError when a candidate's key appears twice or an arm's or sample's values do not match the metrics.
std::string render_report(const ReportData& data, const ReportOptions& options = {});

// render_report written atomically. Throws SystemError when the disk fails.
void write_report(const std::filesystem::path& path, const ReportData& data, const ReportOptions& options = {});

}  // namespace magicid::report
