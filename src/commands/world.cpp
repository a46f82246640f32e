// `magicid world`: people of the small world as a user would bring them: reference photos, clips with captions, prompt files, and on request exact flow.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "base/errors.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/text.h"
#include "commands/command_line.h"
#include "media/image.h"
#include "media/video.h"
#include "miniature/names.h"
#include "miniature/world.h"
#include "storage/atomic_file.h"
#include "storage/csv.h"
#include "storage/safetensors.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct WorldArguments {
  std::string out, split = "test", subject = "person";
  std::int64_t seed = 0, first = 0, people = 1, clips = 4, photos = 4, photo_size = 0;
  miniature::ClipSize size;
  bool captions = false, flow = false, evaluation = false;
};

// Scenes of one person must not repeat those of the next.
constexpr std::int64_t scenes_per_person = 1'000'000;

std::string numbered(const char* format, std::int64_t number) {
  char text[64];
  std::snprintf(text, sizeof text, format, static_cast<long long>(number));
  return text;
}

// A photo to learn the person from: upright, looking at the camera but for the small turns that every scene has, and another place and other clothes in each.
miniature::Scene photo_scene(const miniature::Person& person, std::uint64_t seed, std::int64_t person_index, std::int64_t photo) {
  miniature::Scene scene = miniature::draw_scene(person, seed ^ 0x70686f746fULL, person_index * scenes_per_person + photo);
  scene.action = miniature::Action::stands_still;
  scene.camera = miniature::Camera::still;
  const auto places = base::CounterRandom(seed, "world-photo-places").permutation(miniature::backgrounds, static_cast<std::uint64_t>(person_index));
  scene.background = static_cast<miniature::Background>(places[static_cast<std::size_t>(photo % miniature::backgrounds)]);
  return scene;
}

// "a photo of a {subject} in the snow": a still shows no action.
std::string photo_caption(const miniature::Scene& scene) {
  const std::string action = " stands still", text = miniature::caption(scene, "{subject}");
  const std::size_t at = text.find(action);
  if (at == std::string::npos) throw base::InvariantError("caption of a photo: '", text, "' does not hold '", action, "'");
  return "a photo of " + text.substr(0, at) + text.substr(at + action.size());
}

void write_prompts(const fs::path& path, const char* title, const std::vector<std::string>& prompts) {
  std::string text = std::string("# ") + title + "\n";
  for (const auto& prompt : prompts) text += prompt + "\n";
  storage::write_text_atomically(path, text);
}

void write_photos(const fs::path& folder, const WorldArguments& a, const miniature::Person& person, std::int64_t index) {
  const std::int64_t side = a.photo_size > 0 ? a.photo_size : 2 * std::min(a.size.height, a.size.width);
  for (std::int64_t i = 0; i < a.photos; ++i) {
    const miniature::Scene scene = photo_scene(person, static_cast<std::uint64_t>(a.seed), index, i);
    const std::string name = numbered("%02lld", i);
    media::write_png(folder / (name + ".png"), miniature::render_photo(scene, 0.5, side, side).image);
    if (a.captions) storage::write_text_atomically(folder / (name + ".txt"), photo_caption(scene) + "\n");
  }
}

// One line of clips.jsonl for each clip.
std::string write_clips(const fs::path& out, const WorldArguments& a, const std::string& name, const miniature::Person& person, std::int64_t index, base::Progress& progress) {
  std::string lines;
  for (std::int64_t i = 0; i < a.clips; ++i) {
    const miniature::Scene scene = miniature::draw_scene(person, static_cast<std::uint64_t>(a.seed), index * scenes_per_person + i);
    const miniature::Clip clip = miniature::render(scene, a.size, a.flow);
    const fs::path stem = fs::path(name) / "clips" / numbered("%04lld", i);
    const std::string file = stem.string() + ".mp4";
    // Finer than visually lossless at common sizes: an eye is three pixels wide here.
    media::write_mp4(out / file, clip.frames, {.fps = a.size.fps, .quality = 8});
    if (a.flow) {
      storage::write_safetensors(out / (stem.string() + ".safetensors"), {{"flow", clip.flow}, {"landmarks", clip.landmarks}, {"boxes", clip.boxes}}, {{"caption", miniature::caption(scene, a.subject)}});
    }
    lines += json{{"person", name},
                  {"file", file},
                  {"caption", miniature::caption(scene, a.subject)},
                  {"action", miniature::name_of(scene.action)},
                  {"speed", miniature::name_of(scene.speed)},
                  {"background", miniature::name_of(scene.background)},
                  {"camera", miniature::name_of(scene.camera)},
                  {"variation", scene.variation}}
                 .dump() +
             "\n";
    progress.advance();
  }
  return lines;
}

// The person in every held-out prompt, with prompts.csv: what a perfect model would make of them, a folder for evaluate.folders and evaluate.real_videos.
void write_evaluation(const fs::path& folder, const WorldArguments& a, const miniature::Person& person, std::int64_t index) {
  std::string table = storage::csv_row({"file", "prompt"});
  std::int64_t number = 0;
  for (miniature::Scene scene : miniature::evaluation_scenes()) {
    scene.person = person;
    scene.variation = miniature::draw_scene(person, static_cast<std::uint64_t>(a.seed) ^ 0x6576616cULL, index * scenes_per_person + number).variation;
    const std::string file = numbered("%02lld.mp4", number++);
    media::write_mp4(folder / file, miniature::render(scene, a.size, /*with_flow=*/false).frames, {.fps = a.size.fps, .quality = 8});
    table += storage::csv_row({file, miniature::caption(scene, a.subject)});
  }
  storage::write_text_atomically(folder / "prompts.csv", table);
}

void write_world(const fs::path& out, const WorldArguments& a) {
  const auto split = a.split == "train" ? miniature::Split::train : miniature::Split::test;
  base::Progress progress("world", a.people * (a.clips + 1), true);
  std::string people, clips;
  for (std::int64_t index = a.first; index < a.first + a.people; ++index) {
    const std::string name = numbered("person-%04lld", index);
    const miniature::Person person = miniature::make_person(static_cast<std::uint64_t>(a.seed), split, index);
    people += json{{"person", name}, {"index", index}, {"split", a.split}, {"seed", a.seed}, {"looks", miniature::describe_person(person)}}.dump() + "\n";
    write_photos(out / name / "references", a, person, index);
    progress.advance();
    clips += write_clips(out, a, name, person, index, progress);
    if (a.evaluation) write_evaluation(out / name / "evaluation", a, person, index);
  }
  storage::write_text_atomically(out / "people.jsonl", people);
  storage::write_text_atomically(out / "clips.jsonl", clips);
  write_prompts(out / "prompts" / "training.txt", "Twenty templates for candidate videos of the small world.", miniature::training_prompts());
  write_prompts(out / "prompts" / "evaluation.txt", "Twenty held-out templates: no action, speed and place of training.txt come together here.", miniature::evaluation_prompts());
}

// Whole or absent: written beside `out`, then renamed.
int world(const WorldArguments& a) {
  if (a.flow && a.size.frames < 2) throw base::UserError("--flow: a clip of one frame has no flow; give --frames 2 or more");
  const fs::path out = fs::absolute(a.out).lexically_normal();
  const fs::path target = out.has_filename() ? out : out.parent_path();
  std::error_code failed;
  if (fs::exists(target) && !(fs::is_directory(target) && fs::is_empty(target, failed))) {
    throw base::UserError(target.string(), ": already exists and is not an empty folder; choose another one or remove it first");
  }
  const fs::path partial = target.string() + ".partial-" + std::to_string(::getpid());
  try {
    fs::create_directories(partial, failed);
    if (failed) throw base::SystemError(partial.string(), ": cannot be made: ", failed.message());
    write_world(partial, a);
    fs::rename(partial, target, failed);
    if (failed) throw base::SystemError(target.string(), ": ", partial.string(), " cannot be renamed to it: ", failed.message());
  } catch (...) {
    fs::remove_all(partial, failed);
    throw;
  }
  base::log::info(base::concat("wrote ", a.people, " people of split ", a.split, " with ", a.photos, " photos and ", a.clips, " clips each to ", target.string()));
  return 0;
}

}  // namespace

void add_world(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("world", "Write people of the small cartoon world: reference photos, clips with captions, prompt files");
  auto a = std::make_shared<WorldArguments>();
  const auto count = [](std::int64_t lowest, std::int64_t highest) { return CLI::Range(lowest, highest); };
  command->add_option("out", a->out, "folder to write; new or empty")->required();
  command->add_option("--seed", a->seed, "of people, scenes and photos")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_option("--split", a->split, "train, or test: people that `magicid pretrain` never saw")->check(CLI::IsMember({"train", "test"}))->capture_default_str();
  command->add_option("--people", a->people, "how many")->check(count(1, 100'000))->capture_default_str();
  command->add_option("--first", a->first, "index of the first person")->check(count(0, 1'000'000'000))->capture_default_str();
  command->add_option("--clips", a->clips, "for each person")->check(count(0, scenes_per_person))->capture_default_str();
  command->add_option("--photos", a->photos, "reference photos for each person")->check(count(0, 10'000))->capture_default_str();
  command->add_option("--photo-size", a->photo_size, "side of the square photos in pixels; 0: twice the clips' shorter side")->check(count(0, 8192))->capture_default_str();
  command->add_option("--frames", a->size.frames, "of a clip")->check(count(1, 10'000))->capture_default_str();
  command->add_option("--height", a->size.height, "of a clip, in pixels")->check(count(16, 4096))->capture_default_str();
  command->add_option("--width", a->size.width, "of a clip, in pixels")->check(count(16, 4096))->capture_default_str();
  command->add_option("--fps", a->size.fps, "frames a second")->check(CLI::Range(0.5, 240.0))->capture_default_str();
  command->add_option("--subject", a->subject, "what captions of clips call a person")->capture_default_str();
  command->add_flag("--captions", a->captions, "write a caption with {subject} beside each photo");
  command->add_flag("--evaluation", a->evaluation, "write each person in the twenty held-out prompts too, a folder for evaluate.folders and evaluate.real_videos");
  command->add_flag("--flow", a->flow, "write exact flow, landmarks and face boxes beside each clip, as safetensors");
  command->callback([a, &work] {
    work = [a] {
      a->subject = base::decode_written_text(a->subject, "--subject");
      return world(*a);
    };
  });
}

}  // namespace magicid::commands
