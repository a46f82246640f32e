#include "miniature/people_files.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "base/errors.h"
#include "base/progress.h"
#include "base/random.h"
#include "media/image.h"
#include "media/video.h"
#include "miniature/names.h"
#include "storage/atomic_file.h"
#include "storage/csv.h"
#include "storage/safetensors.h"

namespace magicid::miniature {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string numbered(const char* format, std::int64_t number) {
  char text[64];
  std::snprintf(text, sizeof text, format, static_cast<long long>(number));
  return text;
}

// A photo to learn the person from: upright, looking at the camera but for the small turns that every scene has, and another place and other clothes in each.
Scene photo_scene(const Person& person, std::uint64_t seed, std::int64_t person_index, std::int64_t photo) {
  Scene scene = draw_scene(person, seed ^ 0x70686f746fULL, person_index * scenes_per_person + photo);
  scene.action = Action::stands_still;
  scene.camera = Camera::still;
  const auto places = base::CounterRandom(seed, "world-photo-places").permutation(backgrounds, static_cast<std::uint64_t>(person_index));
  scene.background = static_cast<Background>(places[static_cast<std::size_t>(photo % backgrounds)]);
  return scene;
}

void write_prompts(const fs::path& path, const char* title, const std::vector<std::string>& prompts) {
  std::string text = std::string("# ") + title + "\n";
  for (const auto& prompt : prompts) text += prompt + "\n";
  storage::write_text_atomically(path, text);
}

void write_photos(const fs::path& folder, const PeopleOptions& a, const Person& person, std::int64_t index) {
  const std::int64_t side = a.photo_size > 0 ? a.photo_size : 2 * std::min(a.size.height, a.size.width);
  for (std::int64_t i = 0; i < a.photos; ++i) {
    const Scene scene = photo_scene(person, a.seed, index, i);
    const std::string name = numbered("%02lld", i);
    media::write_png(folder / (name + ".png"), render_photo(scene, 0.5, side, side).image);
    if (a.captions) storage::write_text_atomically(folder / (name + ".txt"), photo_caption(scene, "{subject}") + "\n");
  }
}

// One line of clips.jsonl for each clip.
std::string write_clips(const fs::path& out, const PeopleOptions& a, const std::string& name, const Person& person, std::int64_t index,
                        base::Progress& progress) {
  std::string lines;
  for (std::int64_t i = 0; i < a.clips; ++i) {
    const Scene scene = draw_scene(person, a.seed, index * scenes_per_person + i);
    const Clip clip = render(scene, a.size, a.flow);
    const fs::path stem = fs::path(name) / "clips" / numbered("%04lld", i);
    const std::string file = stem.string() + ".mp4";
    // Finer than visually lossless at common sizes: an eye is three pixels wide here.
    media::write_mp4(out / file, clip.frames, {.fps = a.size.fps, .quality = 8});
    if (a.flow) {
      storage::write_safetensors(out / (stem.string() + ".safetensors"), {{"flow", clip.flow}, {"landmarks", clip.landmarks}, {"boxes", clip.boxes}},
                                 {{"caption", caption(scene, a.subject)}});
    }
    lines += json{{"person", name},
                  {"file", file},
                  {"caption", caption(scene, a.subject)},
                  {"action", name_of(scene.action)},
                  {"speed", name_of(scene.speed)},
                  {"background", name_of(scene.background)},
                  {"camera", name_of(scene.camera)},
                  {"variation", scene.variation}}
                 .dump() +
             "\n";
    progress.advance();
  }
  return lines;
}

// The person in every held-out prompt, with prompts.csv: what a perfect model would make of them, a folder for evaluate.folders and evaluate.real_videos.
void write_evaluation(const fs::path& folder, const PeopleOptions& a, const Person& person, std::int64_t index) {
  std::string table = storage::csv_row({"file", "prompt"});
  std::int64_t number = 0;
  for (Scene scene : evaluation_scenes()) {
    scene.person = person;
    scene.variation = draw_scene(person, a.seed ^ 0x6576616cULL, index * scenes_per_person + number).variation;
    const std::string file = numbered("%02lld.mp4", number++);
    media::write_mp4(folder / file, render(scene, a.size, /*with_flow=*/false).frames, {.fps = a.size.fps, .quality = 8});
    table += storage::csv_row({file, caption(scene, a.subject)});
  }
  storage::write_text_atomically(folder / "prompts.csv", table);
}

void write_world(const fs::path& out, const PeopleOptions& a) {
  base::Progress progress("world", a.people * (a.clips + 1), true);
  std::string people, clips;
  for (std::int64_t index = a.first; index < a.first + a.people; ++index) {
    const std::string name = numbered("person-%04lld", index);
    const Person person = make_person(a.seed, a.split, index);
    people += json{{"person", name}, {"index", index}, {"split", name_of(a.split)}, {"seed", a.seed}, {"looks", describe_person(person)}}.dump() + "\n";
    write_photos(out / name / "references", a, person, index);
    progress.advance();
    clips += write_clips(out, a, name, person, index, progress);
    if (a.evaluation) write_evaluation(out / name / "evaluation", a, person, index);
  }
  storage::write_text_atomically(out / "people.jsonl", people);
  storage::write_text_atomically(out / "clips.jsonl", clips);
  write_prompts(out / "prompts" / "training.txt", "Twenty templates for candidate videos of the small world.", training_prompts());
  write_prompts(out / "prompts" / "evaluation.txt", "Twenty held-out templates: no action, speed and place of training.txt come together here.",
                evaluation_prompts());
}

}  // namespace

fs::path write_people(const fs::path& folder, const PeopleOptions& options) {
  const fs::path out = fs::absolute(folder).lexically_normal();
  const fs::path target = out.has_filename() ? out : out.parent_path();
  std::error_code failed;
  if (fs::exists(target) && !(fs::is_directory(target) && fs::is_empty(target, failed))) {
    throw base::UserError(target.string(), ": already exists and is not an empty folder; choose another one or remove it first");
  }
  const fs::path partial = target.string() + ".partial-" + std::to_string(::getpid());
  try {
    fs::create_directories(partial, failed);
    if (failed) throw base::SystemError(partial.string(), ": cannot be made: ", failed.message());
    write_world(partial, options);
    fs::rename(partial, target, failed);
    if (failed) throw base::SystemError(target.string(), ": ", partial.string(), " cannot be renamed to it: ", failed.message());
  } catch (...) {
    fs::remove_all(partial, failed);
    throw;
  }
  return target;
}

}  // namespace magicid::miniature
