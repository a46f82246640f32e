#include "run_directory/takeover.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "base/errors.h"
#include "run_directory/candidate_store.h"
#include "run_directory/run_directory.h"
#include "support/temporary_folder.h"
#include "support/without_rights.h"

namespace magicid::run_directory {
namespace {

using ::testing::HasSubstr;
using tests::read_bytes;
using tests::TemporaryFolder;
using tests::write_bytes;
namespace fs = std::filesystem;

OpenOptions options() { return {"1.0", {{"backbone", "abc"}}, nlohmann::json::object(), ""}; }
Fingerprint fingerprint(int steps) { return {{{"steps", steps}}, {{"photos", "p"}}}; }

// A run whose stage 1 is finished, as `magicid reconstruct` leaves it.
void finish_stage_one(const fs::path& root, int checkpoints = 1) {
  auto run = RunDirectory::open(root, options());
  run.begin_stage(Stage::reconstruct, fingerprint(5));
  fs::create_directories(run.layout().reconstruct());
  std::vector<fs::path> files{"reconstruct/metrics.jsonl"};
  write_bytes(root / files[0], "{\"step\":1}\n");
  for (int i = 0; i < checkpoints; ++i) {
    files.push_back("reconstruct/checkpoint-" + std::to_string(i) + ".h5");
    write_bytes(root / files.back(), "weights " + std::to_string(i));
  }
  run.mark_stage_done(Stage::reconstruct, fingerprint(5), files, "adapter");
}

TEST(Takeover, AFinishedStageIsLinkedAndItsLogCopied) {
  TemporaryFolder folder;
  finish_stage_one(folder / "a");
  auto run = RunDirectory::open(folder / "b", options());
  const auto outcome = run.take_over(Stage::reconstruct, fingerprint(5), folder / "a");
  EXPECT_TRUE(outcome.done) << outcome.reason;
  EXPECT_EQ(outcome.files, 2u);
  EXPECT_TRUE(run.stage_is_current(Stage::reconstruct, fingerprint(5)));
  EXPECT_EQ(run.result_hash(Stage::reconstruct), "adapter");
  EXPECT_TRUE(fs::equivalent(folder / "a/reconstruct/checkpoint-0.h5", folder / "b/reconstruct/checkpoint-0.h5"));
  // A log grows in place: with a link, training on in one run would write into the other.
  EXPECT_FALSE(fs::equivalent(folder / "a/reconstruct/metrics.jsonl", folder / "b/reconstruct/metrics.jsonl"));
  EXPECT_EQ(read_bytes(folder / "b/reconstruct/metrics.jsonl"), "{\"step\":1}\n");
  EXPECT_EQ(run.manifest()["stages"]["reconstruct"]["taken_from"], (folder / "a").string());
  // The source may go: the bytes stay.
  fs::remove_all(folder / "a");
  EXPECT_TRUE(run.stage_is_current(Stage::reconstruct, fingerprint(5)));
  EXPECT_EQ(read_bytes(folder / "b/reconstruct/checkpoint-0.h5"), "weights 0");
}

TEST(Takeover, OtherOptionsUnfinishedStagesAndForeignFoldersAreRefused) {
  TemporaryFolder folder;
  finish_stage_one(folder / "a");
  auto run = RunDirectory::open(folder / "b", options());
  const auto other = run.take_over(Stage::reconstruct, fingerprint(6), folder / "a");
  EXPECT_FALSE(other.done);
  EXPECT_THAT(other.reason, HasSubstr("options.steps: 5 -> 6"));
  EXPECT_FALSE(run.take_over(Stage::select, fingerprint(5), folder / "a").done);
  EXPECT_FALSE(fs::exists(folder / "b/reconstruct"));
  {
    auto again = RunDirectory::open(folder / "a", options());
    again.begin_stage(Stage::reconstruct, fingerprint(5));  // at work on it once more
    EXPECT_THAT(run.take_over(Stage::reconstruct, fingerprint(5), folder / "a").reason, HasSubstr("not finished"));
  }
  EXPECT_THROW(run.take_over(Stage::reconstruct, fingerprint(5), folder / "nothing"), base::UserError);
}

TEST(Takeover, AManifestThatNamesFilesOutsideTheRunIsRefused) {
  TemporaryFolder folder;
  finish_stage_one(folder / "a");
  write_bytes(folder / "secret.h5", "weights 0");
  fs::last_write_time(folder / "secret.h5", fs::last_write_time(folder / "a/reconstruct/checkpoint-0.h5"));
  std::string manifest = read_bytes(folder / "a/manifest.json");
  manifest.replace(manifest.find("reconstruct/checkpoint-0.h5"), std::string("reconstruct/checkpoint-0.h5").size(), "../secret.h5");
  write_bytes(folder / "a/manifest.json", manifest);
  auto run = RunDirectory::open(folder / "b", options());
  EXPECT_THAT(run.take_over(Stage::reconstruct, fingerprint(5), folder / "a").reason, HasSubstr("outside the run"));
}

TEST(Takeover, DamageIsFoundByReadingNotByTimes) {
  TemporaryFolder folder;
  finish_stage_one(folder / "a");
  const fs::path checkpoint = folder / "a/reconstruct/checkpoint-0.h5";
  const auto time = fs::last_write_time(checkpoint);
  write_bytes(checkpoint, "weightz 0");  // a flipped bit on the disk changes no time
  fs::last_write_time(checkpoint, time);
  ASSERT_TRUE(RunDirectory::view(folder / "a").stage_is_current(Stage::reconstruct, fingerprint(5)));
  auto run = RunDirectory::open(folder / "b", options());
  const auto outcome = run.take_over(Stage::reconstruct, fingerprint(5), folder / "a");
  EXPECT_FALSE(outcome.done);
  EXPECT_THAT(outcome.reason, HasSubstr("checkpoint-0.h5 is damaged"));
  EXPECT_FALSE(run.stage_is_current(Stage::reconstruct, fingerprint(5)));
  EXPECT_TRUE(fs::exists(checkpoint)) << "the other run's files are not ours to move";
}

TEST(Takeover, WhatCannotBeReadNowIsNotMadeAgain) {
  TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms::all);
  finish_stage_one(folder / "a");
  fs::permissions(folder / "a/reconstruct/checkpoint-0.h5", fs::perms::none);
  const tests::WithoutRights nobody;
  if (!nobody.given_up()) GTEST_SKIP() << "root cannot become another user here";
  auto run = RunDirectory::open(folder / "b", options());
  try {
    const auto outcome = run.take_over(Stage::reconstruct, fingerprint(5), folder / "a");
    ADD_FAILURE() << outcome.done << ' ' << outcome.reason;
  } catch (const base::SystemError& error) {
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr("checkpoint-0.h5"), HasSubstr("Permission denied")));
  }
  EXPECT_FALSE(run.result_hash(Stage::reconstruct));
}

TEST(Takeover, ResultsOfOtherOptionsAreKept) {
  TemporaryFolder folder;
  finish_stage_one(folder / "a");
  auto run = RunDirectory::open(folder / "b", options());
  run.begin_stage(Stage::reconstruct, fingerprint(9));
  fs::create_directories(run.layout().reconstruct());
  write_bytes(run.layout().reconstruct() / "checkpoint-0.h5", "mine");
  run.mark_stage_done(Stage::reconstruct, fingerprint(9), {"reconstruct/checkpoint-0.h5"});
  EXPECT_TRUE(run.take_over(Stage::reconstruct, fingerprint(5), folder / "a").done);
  EXPECT_EQ(read_bytes(folder / "b/previous/reconstruct-1/reconstruct/checkpoint-0.h5"), "mine");
  EXPECT_EQ(read_bytes(folder / "b/reconstruct/checkpoint-0.h5"), "weights 0");
}

TEST(Takeover, StoresAreLinkedAndDamagedEntriesNotTrusted) {
  TemporaryFolder folder;
  const auto describe = [](int number) { return nlohmann::json{{"number", number}}; };
  {
    CandidateStore store(folder / "a");
    for (int i = 0; i < 3; ++i) store.put({describe(i), {}, at::full({4}, i)});
  }
  write_bytes(folder / "a/.segment.host.1.0.tmp", "torn");
  write_bytes(folder / "a/segment-x.h5.damaged-1", "damaged");
  {
    CandidateStore store(folder / "b");
    store.put({describe(0), {}, at::full({4}, 0)});
  }
  EXPECT_EQ(link_new_files(folder / "a", folder / "b"), 2u);
  EXPECT_EQ(link_new_files(folder / "a", folder / "b"), 0u);
  EXPECT_EQ(link_new_files(folder / "nothing", folder / "b"), 0u);
  EXPECT_FALSE(fs::exists(folder / "b/.segment.host.1.0.tmp"));
  const std::string damaged = CandidateStore::key_of(describe(2));
  for (const auto& entry : fs::directory_iterator(folder / "a"))
    if (entry.path().string().find(damaged) != std::string::npos) {
      std::string bytes = read_bytes(entry.path());
      bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] + 1);
      for (std::size_t i = 600; i < bytes.size(); i += 64) bytes[i] = static_cast<char>(bytes[i] ^ 1);
      write_bytes(entry.path(), bytes);
    }
  CandidateStore store(folder / "b");
  EXPECT_TRUE(at::equal(store.find(CandidateStore::key_of(describe(1)))->latents, at::full({4}, 1)));
  EXPECT_FALSE(store.find(damaged));
  // Merging here deletes this run's names only.
  store.merge();
  EXPECT_TRUE(CandidateStore(folder / "a").find(CandidateStore::key_of(describe(1))));
}

TEST(Takeover, KilledAnywhereItCanBeDoneAgainOrTheStageBeMadeAnew) {
  TemporaryFolder folder;
  constexpr int checkpoints = 40;
  finish_stage_one(folder / "a", checkpoints);
  std::mt19937 random(7);
  int unfinished = 0;
  for (int kill = 0; kill < 20; ++kill) {
    const fs::path root = folder / ("b" + std::to_string(kill));
    const pid_t child = ::fork();
    if (child == 0) {
      auto run = RunDirectory::open(root, options());
      run.take_over(Stage::reconstruct, fingerprint(5), folder / "a");
      ::_exit(0);
    }
    ::usleep(2000 + random() % 30'000);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    auto run = RunDirectory::open(root, options());
    const bool finished = run.stage_is_current(Stage::reconstruct, fingerprint(5));
    unfinished += !finished;
    const bool any_checkpoint = fs::exists(root / "reconstruct/checkpoint-0.h5");
    if (any_checkpoint) {
      EXPECT_TRUE(fs::exists(root / "reconstruct/metrics.jsonl")) << "a checkpoint without its log";
    }
    if (!finished) {
      EXPECT_TRUE(run.take_over(Stage::reconstruct, fingerprint(5), folder / "a").done);
    }
    EXPECT_TRUE(run.stage_is_current(Stage::reconstruct, fingerprint(5)));
    for (int i = 0; i < checkpoints; ++i) EXPECT_EQ(read_bytes(root / ("reconstruct/checkpoint-" + std::to_string(i) + ".h5")), "weights " + std::to_string(i));
    for (const auto& entry : fs::directory_iterator(root / "reconstruct")) EXPECT_FALSE(entry.path().filename().string().ends_with(".tmp"));
  }
  EXPECT_GT(unfinished, 0) << "no kill met a takeover at work";
}

}  // namespace
}  // namespace magicid::run_directory
