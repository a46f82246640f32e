// People of the small world as a user would bring them: reference photos, clips with captions, prompt files, and on request exact flow. What `magicid world`
// writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "miniature/world.h"

namespace magicid::miniature {

// Scenes of one person must not repeat those of the next: the most clips that a person can have.
inline constexpr std::int64_t scenes_per_person = 1'000'000;

struct PeopleOptions {
  std::uint64_t seed = 0;  // of people, scenes and photos
  Split split = Split::test;
  std::int64_t first = 0, people = 1;  // index of the first person, and how many
  std::int64_t clips = 4, photos = 4;  // of each person
  std::int64_t photo_size = 0;         // side of the square photos in pixels; 0: twice the clips' shorter side
  ClipSize size;
  std::string subject = "person";  // what captions of clips call a person
  bool captions = false;           // a caption with {subject} beside each photo
  bool flow = false;               // exact flow, landmarks and face boxes beside each clip, as safetensors: needs two frames
  bool evaluation = false;         // each person in the held-out prompts too, a folder of videos with prompts.csv
};

// Writes `folder`, which is new or empty, whole or not at all (docs/miniature.md shows its layout); returns it as an absolute path. Shows progress. Throws
// UserError where it holds something, SystemError when the disk fails.
std::filesystem::path write_people(const std::filesystem::path& folder, const PeopleOptions& options);

}  // namespace magicid::miniature
