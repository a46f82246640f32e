// `magicid world`: people of the small world as a user would bring them.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "base/errors.h"
#include "base/log.h"
#include "base/text.h"
#include "commands/command_line.h"
#include "miniature/names.h"
#include "miniature/people_files.h"

namespace magicid::commands {
namespace {

struct WorldArguments {
  std::string out, split = "test";
  std::int64_t seed = 0;
  miniature::PeopleOptions people;
};

int world(const WorldArguments& a) {
  auto people = a.people;
  people.seed = static_cast<std::uint64_t>(a.seed);
  people.split = a.split == "train" ? miniature::Split::train : miniature::Split::test;
  if (people.flow && people.size.frames < 2) throw base::UserError("--flow: a clip of one frame has no flow; give --frames 2 or more");
  const auto folder = miniature::write_people(a.out, people);
  base::log::info(base::concat("wrote ", people.people, " people of split ", a.split, " with ", people.photos, " photos and ", people.clips, " clips each to ",
                               folder.string()));
  return 0;
}

}  // namespace

void add_world(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("world", "Write people of the small cartoon world: reference photos, clips with captions, prompt files");
  auto a = std::make_shared<WorldArguments>();
  auto& p = a->people;
  const auto count = [](std::int64_t lowest, std::int64_t highest) { return CLI::Range(lowest, highest); };
  command->add_option("out", a->out, "folder to write; new or empty")->required();
  command->add_option("--seed", a->seed, "of people, scenes and photos")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_option("--split", a->split, "train, or test: people that `magicid pretrain` never saw")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
  command->add_option("--people", p.people, "how many")->check(count(1, 100'000))->capture_default_str();
  command->add_option("--first", p.first, "index of the first person")->check(count(0, 1'000'000'000))->capture_default_str();
  command->add_option("--clips", p.clips, "for each person")->check(count(0, miniature::scenes_per_person))->capture_default_str();
  command->add_option("--photos", p.photos, "reference photos for each person")->check(count(0, 10'000))->capture_default_str();
  command->add_option("--photo-size", p.photo_size, "side of the square photos in pixels; 0: twice the clips' shorter side")
      ->check(count(0, 8192))
      ->capture_default_str();
  command->add_option("--frames", p.size.frames, "of a clip")->check(count(1, 10'000))->capture_default_str();
  command->add_option("--height", p.size.height, "of a clip, in pixels")->check(count(16, 4096))->capture_default_str();
  command->add_option("--width", p.size.width, "of a clip, in pixels")->check(count(16, 4096))->capture_default_str();
  command->add_option("--fps", p.size.fps, "frames a second")->check(CLI::Range(0.5, 240.0))->capture_default_str();
  command->add_option("--subject", p.subject, "what captions of clips call a person")->capture_default_str();
  command->add_flag("--captions", p.captions, "write a caption with {subject} beside each photo");
  command->add_flag("--evaluation", p.evaluation,
                    "write each person in the twenty held-out prompts too, a folder for evaluate.folders and evaluate.real_videos");
  command->add_flag("--flow", p.flow, "write exact flow, landmarks and face boxes beside each clip, as safetensors");
  command->callback([a, &work] {
    work = [a] {
      a->people.subject = base::decode_written_text(a->people.subject, "--subject");
      return world(*a);
    };
  });
}

}  // namespace magicid::commands
