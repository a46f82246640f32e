// `magicid world` as a user runs it.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "end_to_end/program.h"
#include "media/image.h"
#include "media/video.h"
#include "miniature/world.h"
#include "storage/atomic_file.h"
#include "storage/csv.h"
#include "storage/safetensors.h"

namespace magicid::tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<std::string> lines_of(const fs::path& path) {
  std::istringstream in(storage::read_text(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> files_of(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), folder).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(World, ShowsEachPersonInTheHeldOutPrompts) {
  TemporaryFolder folder;
  const fs::path out = folder / "people";
  const auto result = run_program({"world", out.string(), "--seed", "5", "--people", "2", "--clips", "0", "--photos", "0", "--frames", "5", "--height", "32",
                                   "--width", "32", "--evaluation"});
  ASSERT_EQ(result.exit_code, 0) << result.text();
  std::set<std::string> scenes;
  for (const std::int64_t index : {0, 1}) {
    const fs::path own = out / ("person-000" + std::to_string(index)) / "evaluation";
    const auto rows = storage::read_csv(storage::read_text(own / "prompts.csv"), "prompts.csv");
    ASSERT_EQ(rows.size(), 21U);
    EXPECT_EQ(rows[0].cells, (std::vector<std::string>{"file", "prompt"}));
    const auto prompts = miniature::evaluation_scenes();
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(rows[i + 1].cells.at(1), miniature::caption(prompts[i]));
      const auto video = media::read_video(own / rows[i + 1].cells.at(0));
      EXPECT_EQ(video.frames.sizes(), (at::IntArrayRef{5, 3, 32, 32}));
      const float moved = (video.frames[4] - video.frames[0]).abs().mean().item<float>();
      EXPECT_GT(moved, 0.001f) << rows[i + 1].cells.at(1);
      scenes.insert(storage::read_text(own / rows[i + 1].cells.at(0)));
    }
  }
  EXPECT_EQ(scenes.size(), 40U);
}

TEST(World, WritesPeopleWithPhotosClipsCaptionsPromptsAndFlow) {
  TemporaryFolder folder;
  const fs::path out = folder / "people";
  const auto result = run_program({"world",    out.string(), "--seed",   "5",  "--people", "2",  "--first",   "3",     "--clips",    "2",     "--photos", "3",
                                   "--frames", "5",          "--height", "32", "--width",  "40", "--subject", "woman", "--captions", "--flow"});
  ASSERT_EQ(result.exit_code, 0) << result.text();
  std::vector<std::string> expected{"clips.jsonl", "people.jsonl", "prompts/evaluation.txt", "prompts/training.txt"};
  for (const std::string person : {"person-0003/", "person-0004/"}) {
    for (const std::string clip : {"0000", "0001"})
      expected.insert(expected.end(), {person + "clips/" + clip + ".mp4", person + "clips/" + clip + ".safetensors"});
    for (const std::string photo : {"00", "01", "02"})
      expected.insert(expected.end(), {person + "references/" + photo + ".png", person + "references/" + photo + ".txt"});
  }
  EXPECT_THAT(files_of(out), testing::UnorderedElementsAreArray(expected));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1) << "nothing is left beside the folder";

  std::set<std::string> captions;
  for (const auto& line : lines_of(out / "clips.jsonl")) {
    const json clip = json::parse(line);
    EXPECT_EQ(clip.size(), 8U);
    captions.insert(clip.at("caption"));
    EXPECT_THAT(clip.at("caption").get<std::string>(), testing::StartsWith("a woman "));
    const auto video = media::read_video(out / clip.at("file").get<std::string>());
    EXPECT_EQ(video.frames.sizes(), (at::IntArrayRef{5, 3, 32, 40}));
    EXPECT_EQ(video.fps, 8);
    const auto exact = storage::SafetensorsFile::open((out / clip.at("file").get<std::string>()).replace_extension(".safetensors"));
    EXPECT_EQ(exact.at("flow").sizes(), (at::IntArrayRef{4, 2, 32, 40}));
    EXPECT_EQ(exact.at("landmarks").sizes(), (at::IntArrayRef{5, 5, 2}));
    EXPECT_EQ(exact.at("boxes").sizes(), (at::IntArrayRef{5, 4}));
  }
  EXPECT_EQ(captions.size(), 4U) << "the second person's scenes are others than the first's";

  // The pictures are those of the person with that index.
  const auto person = miniature::make_person(5, miniature::Split::test, 3);
  EXPECT_EQ(json::parse(lines_of(out / "people.jsonl").at(0)).at("looks"), miniature::describe_person(person));
  const auto clip = miniature::render(miniature::draw_scene(person, 5, 3'000'000), {5, 32, 40, 8}, false);
  EXPECT_LT((media::read_video(out / "person-0003/clips/0000.mp4").frames - clip.frames).abs().mean().item<float>(), 0.04f);

  std::set<std::string> photo_captions;
  for (const std::string photo : {"00", "01", "02"}) {
    EXPECT_EQ(media::read_image(out / ("person-0003/references/" + photo + ".png")).sizes(), (at::IntArrayRef{3, 64, 64}));
    photo_captions.insert(lines_of(out / ("person-0003/references/" + photo + ".txt")).at(0));
  }
  EXPECT_EQ(photo_captions.size(), 3U) << "every photo has a place of its own";
  for (const auto& text : photo_captions) EXPECT_THAT(text, testing::MatchesRegex("a photo of a \\{subject\\} (on|in|at) .+"));

  auto prompts = lines_of(out / "prompts/training.txt");
  EXPECT_THAT(prompts.at(0), testing::StartsWith("# "));
  prompts.erase(prompts.begin());
  EXPECT_EQ(prompts, miniature::training_prompts());
}

TEST(World, IsTheSameAgainAndLeavesFullFoldersAlone) {
  TemporaryFolder folder;
  const std::vector<std::string> rest{"--clips", "0", "--photos", "1", "--split", "train"};
  const auto run = [&](const std::string& name) {
    std::vector<std::string> words{"world", (folder / name).string()};
    words.insert(words.end(), rest.begin(), rest.end());
    return run_program(words);
  };
  ASSERT_EQ(run("a").exit_code, 0);
  fs::create_directory(folder / "b");  // empty: may be used
  ASSERT_EQ(run("b").exit_code, 0);
  EXPECT_EQ(files_of(folder / "a"), files_of(folder / "b"));
  EXPECT_EQ(storage::read_text(folder / "a/person-0000/references/00.png"), storage::read_text(folder / "b/person-0000/references/00.png"));
  EXPECT_FALSE(fs::exists(folder / "a/person-0000/references/00.txt"));

  const auto again = run("a");
  EXPECT_EQ(again.exit_code, 2) << again.text();
  EXPECT_THAT(again.err, testing::HasSubstr("not an empty folder"));
  EXPECT_EQ(files_of(folder / "a"), files_of(folder / "b"));
}

TEST(World, RefusesBadOptions) {
  TemporaryFolder folder;
  const std::string out = (folder / "x").string();
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--people", "0"}, {"--split", "both"}, {"--height", "3"}, {"--flow", "--frames", "1"}}) {
    std::vector<std::string> all{"world", out};
    all.insert(all.end(), words.begin(), words.end());
    const auto result = run_program(all);
    EXPECT_EQ(result.exit_code, 2) << result.text();
    EXPECT_FALSE(fs::exists(out));
  }
}

}  // namespace
}  // namespace magicid::tests
