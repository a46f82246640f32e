#include "evaluation/video_folders.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/errors.h"
#include "media/video.h"
#include "support/temporary_folder.h"

namespace magicid::evaluation {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class VideoFolders : public ::testing::Test {
 protected:
  void video(const std::string& name, double level = 0.5) const { media::write_mp4(folder / name, at::full({2, 3, 32, 48}, level), {.fps = 8}); }
  void file(const std::string& name, const std::string& text) const { std::ofstream(folder / name, std::ios::binary) << text; }
  std::vector<FolderVideo> read() const { return read_video_folder("evaluate.folders.other", folder.path()); }
  std::string refusal() const {
    try {
      read();
    } catch (const base::UserError& error) {
      return error.what();
    }
    ADD_FAILURE() << "was accepted";
    return {};
  }

  tests::TemporaryFolder folder;
};

TEST_F(VideoFolders, ATableInCsv) {
  video("b.mp4", 0.2);
  video("a, 1.mp4");
  video("c.MP4", 0.2);
  file("notes.txt", "not looked at");
  file("prompts.csv", "seed, file ,prompt\r\n1,c.MP4,a woman waves\r\n2,\"a, 1.mp4\",\"a woman says \"\"hello\"\",\nand walks\"\r\n3,b.mp4,a woman waves\r\n");
  const auto videos = read();
  ASSERT_EQ(videos.size(), 3u);  // by name
  EXPECT_EQ(videos[0].file, "a, 1.mp4");
  EXPECT_EQ(videos[0].prompt, "a woman says \"hello\",\nand walks");
  EXPECT_EQ(videos[0].sample, 0);
  EXPECT_EQ(videos[1].file, "b.mp4");
  EXPECT_EQ(videos[1].sample, 1);  // the second of its prompt in the table
  EXPECT_EQ(videos[2].sample, 0);
  EXPECT_EQ(videos[1].hash, videos[2].hash);  // the same bytes
  EXPECT_NE(videos[0].hash, videos[1].hash);
}

TEST_F(VideoFolders, FilesAndPromptsInEitherSpellingOfAnAccent) {
  const std::string zoe = "Zo\xC3\xAB", zoe_in_two = "Zoe\xCC\x88";
  video(zoe_in_two + "-0.mp4");
  EXPECT_EQ(read().at(0).prompt, zoe);
  EXPECT_EQ(read().at(0).file, zoe_in_two + "-0.mp4");
  file("prompts.csv", "file,prompt\n" + zoe + "-0.mp4," + zoe_in_two + " waves\n");
  EXPECT_EQ(read().at(0).file, zoe_in_two + "-0.mp4");
  EXPECT_EQ(read().at(0).prompt, zoe + " waves");
  std::filesystem::remove(folder / "prompts.csv");
  file("prompts.jsonl", "\xEF\xBB\xBF{\"file\": \"" + zoe + "-0.mp4\", \"prompt\": \"Zoe\\u0308\"}\n");
  EXPECT_EQ(read().at(0).file, zoe_in_two + "-0.mp4");
  EXPECT_EQ(read().at(0).prompt, zoe);
}

TEST_F(VideoFolders, OtherEncodingsAreNamed) {
  video("a.mp4");
  file("prompts.csv", "file,prompt\na.mp4,a woman in a caf\xE9\n");
  EXPECT_THAT(refusal(), HasSubstr("prompts.csv:2: is not UTF-8: byte 17 is 0xE9"));
  file("prompts.csv", std::string("\xFF\xFE"
                                  "f\0i\0",
                                  6));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("prompts.csv:1: is not UTF-8"), HasSubstr("UTF-16")));
  std::filesystem::remove(folder / "prompts.csv");
  file("prompts.jsonl", "{\"file\": \"a.mp4\", \"prompt\": \"caf\xE9\"}\n");
  EXPECT_THAT(refusal(), HasSubstr("prompts.jsonl:1: is not UTF-8: byte 33"));
  std::filesystem::remove(folder / "prompts.jsonl");
  video("caf\xE9-0.mp4");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("caf\\xE9-0.mp4"), HasSubstr("not UTF-8")));
  EXPECT_THROW(read_real_videos("evaluate.real_videos", folder.path(), 9), base::UserError);
}

TEST_F(VideoFolders, ATableInJsonLines) {
  video("a.mp4");
  video("b.mp4");
  file("prompts.jsonl", "{\"file\": \"b.mp4\", \"prompt\": \"eine Frau grüßt\", \"seed\": 3}\n\n{\"file\": \"a.mp4\", \"prompt\": \"x\"}\n");
  const auto videos = read();
  ASSERT_EQ(videos.size(), 2u);
  EXPECT_EQ(videos[1].prompt, "eine Frau grüßt");
  file("prompts.jsonl", "{\"file\": \"b.mp4\", \"prompt\": \"x\"}\n{\"file\": \"a.mp4\"}\n");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("prompts.jsonl:2: "), HasSubstr("\"prompt\"")));
}

TEST_F(VideoFolders, FileNamesAsVBenchHasThem) {
  video("a woman waves-1.mp4");
  video("a woman waves-0.mp4");
  video("close-up of a woman-10.mp4");
  const auto videos = read();
  ASSERT_EQ(videos.size(), 3u);
  EXPECT_EQ(videos[0].prompt, "a woman waves");
  EXPECT_EQ(videos[1].sample, 1);
  EXPECT_EQ(videos[2].prompt, "close-up of a woman");
  EXPECT_EQ(videos[2].sample, 10);
  video("walk.mp4");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("evaluate.folders.other: 'walk.mp4'"), HasSubstr("prompts.csv")));
}

TEST_F(VideoFolders, EveryProblemIsNamedAtOnce) {
  video("a.mp4");
  video("spare.mp4");
  file("broken.mp4", "this is text");
  file("prompts.csv", "file,prompt\na.mp4,\na.mp4,twice\nbroken.mp4,a woman waves\nspar.mp4,a woman walks\nlatin.mp4,caf\xE9\n");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("prompts.csv:2: the prompt of 'a.mp4' is empty"), HasSubstr("prompts.csv:3: 'a.mp4' stands in prompts.csv:2"),
                               HasSubstr("broken.mp4"), HasSubstr("there is no video 'spar.mp4'"), HasSubstr("'spare.mp4' has no row in prompts.csv"),
                               HasSubstr("prompts.csv:6: is not UTF-8")));
}

TEST_F(VideoFolders, FaultsOfTheTableItself) {
  video("a.mp4");
  file("prompts.csv", "name,prompt\na.mp4,x\n");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("no column 'file'"), HasSubstr("file,prompt")));
  file("prompts.csv", "file,prompt\na.mp4,she walks, then waves\n");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("prompts.csv:2: has 3 cells"), HasSubstr("quotes")));
  file("prompts.csv", "file,prompt\na.mp4,x\n");
  file("prompts.jsonl", "{}");
  EXPECT_THAT(refusal(), HasSubstr("prompts.csv and prompts.jsonl"));
  EXPECT_THROW(read_video_folder("other", folder / "absent"), base::UserError);
}

TEST_F(VideoFolders, RealVideosNeedNoPrompts) {
  for (const char* name : {"c.mp4", "a.mp4", "b.mp4"}) video(name);
  file("d.mp4", "no video");
  const auto first = read_real_videos("real", folder.path(), 3);
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(first[0].file, "a.mp4");
  EXPECT_FALSE(first[0].hash.empty());
  EXPECT_THROW(read_real_videos("real", folder.path(), 4), base::UserError);
}

}  // namespace
}  // namespace magicid::evaluation
