#include "pipeline/identities.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/errors.h"
#include "config/writer.h"
#include "support/temporary_folder.h"

namespace magicid::pipeline {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using tests::write_bytes;

// A model folder with reward networks; contents are not looked at, only hashed.
Configuration with_networks(const fs::path& root) {
  for (const char* name : {"arcface", "raft", "clip", "landmarks"}) {
    fs::create_directories(root / "rewards" / name);
    write_bytes(root / "rewards" / name / "config.json", name);
    write_bytes(root / "rewards" / name / "model.safetensors", std::string(name) + " weights");
  }
  Configuration c;
  c.model.folder = root.string();
  c.rewards.scoring.face_detector.kind = "landmarks";
  return c;
}

TEST(Identities, FollowEachNetworksContentsAndNotItsPath) {
  tests::TemporaryFolder folder;
  const Configuration here = with_networks(folder / "here"), there = with_networks(folder / "there/below");
  const auto before = reward_network_identities(here);
  EXPECT_EQ(before, reward_network_identities(there));
  for (const auto& [network, key] : {std::pair{"arcface", "arcface"}, {"raft", "raft"}, {"clip", "clip"}, {"landmarks", "face_detector"}}) {
    write_bytes(folder / "here/rewards" / network / "model.safetensors", "other weights");
    const auto after = reward_network_identities(here);
    for (const auto& [name, identity] : before.items()) EXPECT_EQ(after.at(name) == identity, name != key) << name << " after other weights of " << network;
    write_bytes(folder / "here/rewards" / network / "model.safetensors", std::string(network) + " weights");
    EXPECT_EQ(reward_network_identities(here), before);
  }
}

TEST(Identities, OfTheVisionLanguageModelCountWhereItGivesTheSemanticReward) {
  tests::TemporaryFolder folder;
  Configuration c = with_networks(folder / "model");
  const auto clip = reward_network_identities(c);
  fs::create_directories(folder / "qwen");
  write_bytes(folder / "qwen/config.json", "a");
  c.rewards.vqa = (folder / "qwen").string();
  c.rewards.question.frames = 4;
  EXPECT_EQ(reward_network_identities(c), clip) << "with CLIP, keys are those of programs that had no choice";
  c.rewards.semantics = "vqa";
  const auto before = reward_network_identities(c);
  EXPECT_NE(before, clip);
  for (const auto& [name, identity] : clip.items()) EXPECT_EQ(before.at(name), identity);
  c.rewards.question.frames = 5;
  EXPECT_NE(reward_network_identities(c), before) << "other frames are seen";
  c.rewards.question.frames = 4;
  fs::rename(folder / "qwen", folder / "moved");
  c.rewards.vqa = (folder / "moved").string();
  EXPECT_EQ(reward_network_identities(c), before);
  write_bytes(folder / "moved/config.json", "b");
  EXPECT_NE(reward_network_identities(c), before);
  c.rewards.vqa = (folder / "absent").string();
  EXPECT_THROW(reward_network_identities(c), base::UserError);
}

TEST(Identities, OfTheFaceDetectorAreItsFilesContents) {
  tests::TemporaryFolder folder;
  Configuration c;
  auto& detector = c.rewards.scoring.face_detector;
  for (const char* kind : {"haar", "yunet"}) {
    detector.kind = kind;
    detector.file = (folder / "a").string();
    write_bytes(folder / "a", "contents");
    const auto before = face_detector_identity(c);
    EXPECT_EQ(before.at("kind"), kind);
    detector.file = (folder / "b").string();
    write_bytes(folder / "b", "contents");
    EXPECT_EQ(face_detector_identity(c), before);
    write_bytes(folder / "b", "Contents");
    EXPECT_NE(face_detector_identity(c), before);
    detector.file = (folder / "absent").string();
    try {
      face_detector_identity(c);
      FAIL();
    } catch (const base::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr("rewards.face_detector.file"));
    }
  }
  detector = {.kind = "haar"};  // the installed cascade
  EXPECT_TRUE(face_detector_identity(c).at("contents").is_string());
  detector = {.kind = "none", .file = "anything"};
  EXPECT_TRUE(face_detector_identity(c).at("contents").is_null());
}

TEST(Identities, OfTheTemplateAreItsContents) {
  tests::TemporaryFolder folder;
  write_bytes(folder / "a.json", "text");
  write_bytes(folder / "b.json", "text");
  EXPECT_EQ(template_identity({.template_file = (folder / "a.json").string()}), template_identity({.template_file = (folder / "b.json").string()}));
  write_bytes(folder / "b.json", "other");
  EXPECT_NE(template_identity({.template_file = (folder / "a.json").string()}), template_identity({.template_file = (folder / "b.json").string()}));
  EXPECT_TRUE(template_identity({}).is_null());
}

// Whoever adds a path must take the identity of what it names, not the path itself.
TEST(Identities, NoPathStandsInAFingerprint) {
  Configuration c;
  const auto all = [&](config::FieldSet selection) { return config::to_json([&](config::Fields& fields) { describe(fields, c); }, selection).dump(); };
  const std::string mark = "/a/place";
  c.output = c.reuse = c.prompts = c.model.folder = c.model.template_file = c.subject.references = c.rewards.arcface = c.rewards.raft = c.rewards.clip = mark;
  c.rewards.scoring.face_detector.file = c.optimize.previews.prompts = c.evaluate.prompts = c.evaluate.real_videos = c.evaluate.i3d = mark;
  c.evaluate.runs = c.evaluate.folders = {{"name", mark}};
  EXPECT_THAT(all(config::FieldSet::all), HasSubstr(mark));
  EXPECT_THAT(all(config::FieldSet::fingerprint), ::testing::Not(HasSubstr(mark)));
}

}  // namespace
}  // namespace magicid::pipeline
