// `magicid sheet`: the videos of finished evaluations in rows and columns, as one picture that moves.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "base/errors.h"
#include "base/log.h"
#include "base/names.h"
#include "commands/command_line.h"
#include "evaluation/comparison.h"
#include "evaluation/evaluation.h"
#include "media/image.h"
#include "media/sheet.h"
#include "media/video.h"
#include "pipeline/prepared.h"
#include "run_directory/run_directory.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;
using evaluation::EvaluatedRun;
using nlohmann::json;

struct SheetArguments {
  std::vector<std::string> runs, arms;
  std::vector<std::size_t> prompts;
  std::size_t rows = 4;
  bool photos = true;
  media::SheetOptions layout;
  double fps = 8;
  std::string out;
};

enum class SheetFormat { webp, mp4, still };

SheetFormat format_of(const fs::path& path) {
  const std::string extension = path.extension().string();
  if (extension == ".webp") return SheetFormat::webp;
  if (extension == ".mp4") return SheetFormat::mp4;
  if (extension == ".png") return SheetFormat::still;
  throw base::UserError("--out ", path.string(), ": a file ending in .webp (moves, for pages), .mp4 (a video) or .png (the frames in the middle) is expected");
}

// `rows` indices spread over `count` prompts.
std::vector<std::size_t> spread(std::size_t rows, std::size_t count) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < std::min(rows, count); ++i) out.push_back(i * count / std::min(rows, count));
  return out;
}

fs::path root_of(const EvaluatedRun& run) {
  const fs::path path = fs::absolute(run.name).lexically_normal();
  const fs::path root = fs::is_directory(path) ? path : path.parent_path();
  return root.has_filename() ? root : root.parent_path();  // behind a slash at the end
}

// What tells the run apart in titles: nothing where it is alone, else its folder's name, with the folder above where those are all the same (PERSON/full).
std::string title_of(const EvaluatedRun& run, const std::vector<EvaluatedRun>& runs) {
  if (runs.size() == 1) return {};
  const fs::path own = root_of(run);
  const bool alike = std::all_of(runs.begin(), runs.end(), [&](const EvaluatedRun& other) { return root_of(other).filename() == own.filename(); });
  return ((alike ? own.parent_path().filename() / own.filename() : own.filename()).string()) + ": ";
}

// The first video of a prompt under an arm; undefined when there is none.
at::Tensor video_of(const EvaluatedRun& run, const fs::path& root, const std::string& arm, std::size_t prompt, const SheetArguments& a) {
  for (const auto& video : run.evaluation.at("videos")) {
    if (video.at("arm") != arm || video.at("prompt").get<std::size_t>() != prompt) continue;
    const fs::path file = evaluation::video_file(run.evaluation, video, run_directory::Layout{root}.previews());
    // Scaled at once: sixteen videos of full size would not fit into a laptop's memory.
    return media::scale_to_width(media::read_video(file, {.fps = a.fps}).frames, a.layout.cell_width);
  }
  return {};
}

int sheet(const SheetArguments& a) {
  const SheetFormat format = format_of(a.out);
  std::vector<EvaluatedRun> runs;
  for (const auto& path : a.runs) runs.push_back(evaluation::read_evaluated_run(path));
  const std::vector<std::string> arms = a.arms.empty() ? arms_of(runs.front()) : a.arms;
  for (const auto& run : runs) {
    const auto known = arms_of(run);
    for (const auto& arm : arms)
      if (std::find(known.begin(), known.end(), arm) == known.end())
        throw base::UserError(run.name, ": has no arm '", arm, "'", base::did_you_mean(arm, known), "; it has ", base::join_names(known),
                              "; choose with --arm");
  }
  std::vector<std::string> columns;
  if (a.photos) columns.emplace_back("Photo");
  for (const auto& arm : arms) columns.push_back(evaluation::arm_label(arm));

  std::vector<media::SheetRow> rows;
  for (const auto& run : runs) {
    const fs::path root = root_of(run);
    const auto& prompts = run.evaluation.at("prompts");
    at::Tensor photo;
    if (a.photos) {
      const auto references = pipeline::Prepared::load(run_directory::Layout{root}.prepared()).references;
      photo = media::scale_to_width(media::decode_image(references.front().thumbnail, references.front().file).unsqueeze(0), a.layout.cell_width);
    }
    for (const std::size_t prompt : a.prompts.empty() ? spread(a.rows, prompts.size()) : a.prompts) {
      if (prompt >= prompts.size()) throw base::UserError("--prompt ", prompt, ": ", run.name, " has the prompts 0 to ", prompts.size() - 1);
      media::SheetRow row{.title = title_of(run, runs) + prompts.at(prompt).get<std::string>(), .cells = {}};
      if (a.photos) row.cells.push_back(photo);
      for (const auto& arm : arms) row.cells.push_back(video_of(run, root, arm, prompt, a));
      rows.push_back(std::move(row));
    }
  }
  const at::Tensor frames = media::contact_sheet(columns, rows, a.layout);
  switch (format) {
    case SheetFormat::webp: media::write_webp(a.out, frames, {.fps = a.fps}); break;
    case SheetFormat::mp4: media::write_mp4(a.out, frames, {.fps = a.fps}); break;
    case SheetFormat::still: media::write_png(a.out, frames.select(0, frames.size(0) / 2)); break;
  }
  base::log::info("wrote " + a.out);
  return 0;
}

}  // namespace

void add_sheet(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("sheet", "The videos of finished evaluations side by side in one moving picture: a row a prompt, a column an arm");
  auto a = std::make_shared<SheetArguments>();
  command->add_option("runs", a->runs, "run directories; the rows of several stand below each other")->required();
  command->add_option("--arm", a->arms, "column; may be repeated. Default: every arm of the first run")->allow_extra_args(false);
  auto* prompts = command->add_option("--prompt", a->prompts, "row: index of a prompt, from 0; may be repeated")->allow_extra_args(false);
  command->add_option("--rows", a->rows, "that many prompts of each run, spread over all of them")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->excludes(prompts);
  command->add_flag("!--no-photos", a->photos, "leave out the column with the first photo");
  command->add_option("--cell-width", a->layout.cell_width, "pixels")->check(CLI::Range(16, 2048))->capture_default_str();
  command->add_option("--fps", a->fps, "frames a second that are shown")->check(CLI::Range(0.1, 240.0))->capture_default_str();
  command->add_option("--out", a->out, "file: .webp (moves and repeats), .mp4, or .png (the frames in the middle)")->required();
  command->callback([a, &work] { work = [a] { return sheet(*a); }; });
}

}  // namespace magicid::commands
