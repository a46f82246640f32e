#include "run_directory/checkpoints.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "support/temporary_folder.h"
#include "support/without_rights.h"

namespace magicid::run_directory {
namespace {

using tests::read_bytes;
using tests::TemporaryFolder;
using tests::write_bytes;

storage::NamedTensors tensors(int step) { return {{"adapter.lora_A.weight", at::full({3, 2}, step)}, {"optimizer/moments", at::full({6}, step, at::kDouble)}}; }

void save(const std::filesystem::path& folder, int step, const SaveOptions& options = {}) {
  save_checkpoint(folder, step, tensors(step), {{"position", step * 2}}, options);
}

void damage(const std::filesystem::path& path) {
  std::string bytes = read_bytes(path);
  bytes.resize(bytes.size() / 2);
  write_bytes(path, bytes);
}

TEST(Checkpoints, TheNewestComesBackAndOldGenerationsGo) {
  TemporaryFolder folder;
  EXPECT_FALSE(latest_intact(folder.path()));
  EXPECT_FALSE(latest_intact(folder / "absent"));
  for (int step : {500, 1000, 1500, 1000000}) save(folder.path(), step);
  EXPECT_TRUE(std::filesystem::exists(folder / "checkpoint-001500.h5"));
  EXPECT_FALSE(std::filesystem::exists(folder / "checkpoint-001000.h5"));
  const auto found = latest_intact(folder.path());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->step, 1000000);
  EXPECT_EQ(found->state["position"], 2000000);
  ASSERT_EQ(found->tensors.size(), 2u);
  EXPECT_TRUE(at::equal(found->tensors.at("optimizer/moments"), tensors(1000000).at("optimizer/moments")));
}

// A process that dies between writing and deleting leaves one too many.
TEST(Checkpoints, GenerationsLeftOverGoWhenTheNewestIsRead) {
  const TemporaryFolder folder;
  for (int step = 1; step <= 5; ++step) save(folder.path(), step, {.generations = 9, .keep_as = step == 1 ? "first" : ""});
  damage(checkpoint_path(folder.path(), 5));
  EXPECT_EQ(latest_intact(folder.path())->step, 4);
  for (int step = 1; step <= 5; ++step) EXPECT_EQ(std::filesystem::exists(checkpoint_path(folder.path(), step)), step == 3 || step == 4) << step;
  EXPECT_TRUE(std::filesystem::exists(keep_path(folder.path(), "first")));
}

TEST(Checkpoints, DamagedOnesAreSetAsideNotDeleted) {
  TemporaryFolder folder;
  save(folder.path(), 1);
  save(folder.path(), 2);
  damage(folder / "checkpoint-000002.h5");
  const auto found = latest_intact(folder.path());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->step, 1);
  EXPECT_TRUE(std::filesystem::exists(folder / "checkpoint-000002.h5.damaged-1"));
  save(folder.path(), 2);
  EXPECT_EQ(latest_intact(folder.path())->step, 2);
  damage(folder / "checkpoint-000002.h5");
  EXPECT_EQ(latest_intact(folder.path())->step, 1);
  EXPECT_TRUE(std::filesystem::exists(folder / "checkpoint-000002.h5.damaged-2"));
}

// Training from step 0 beside intact checkpoints of another user, or beside a disk that does not answer, would throw them away.
TEST(Checkpoints, WhatCannotBeReadNowIsNotTakenForDamaged) {
  namespace fs = std::filesystem;
  TemporaryFolder folder;
  save(folder.path(), 1);
  save(folder.path(), 2, {.keep_as = "best"});
  fs::permissions(folder.path(), fs::perms::all);
  const auto refusal = [&]() -> std::string {
    const tests::WithoutRights nobody;
    if (!nobody.given_up()) return "skipped";
    try {
      latest_intact(folder.path());
    } catch (const base::SystemError& error) {
      return error.what();
    }
    return "none";
  };
  fs::permissions(folder / "checkpoint-000002.h5", fs::perms::none);
  const std::string refused = refusal();
  if (refused == "skipped") GTEST_SKIP() << "root cannot become another user here";
  EXPECT_NE(refused.find("checkpoint-000002.h5"), std::string::npos) << refused;
  EXPECT_NE(refused.find("Permission denied"), std::string::npos) << refused;
  EXPECT_EQ(latest_intact(folder.path())->step, 2);
  // The folder itself: no checkpoint to be seen is not no checkpoint.
  fs::permissions(folder.path(), fs::perms::none);
  const std::string closed = refusal();
  fs::permissions(folder.path(), fs::perms::all);
  EXPECT_NE(closed.find("Permission denied"), std::string::npos) << closed;
  // A disk that opens the file and fails to read it: what /proc gives for the unmapped page 0.
  fs::create_symlink("/proc/self/mem", folder / "checkpoint-000003.h5");
  EXPECT_THROW(latest_intact(folder.path()), base::SystemError);
  fs::remove(folder / "checkpoint-000003.h5");
  for (const auto& entry : fs::directory_iterator(folder.path())) EXPECT_EQ(entry.path().string().find(".damaged-"), std::string::npos) << entry.path();
}

TEST(Checkpoints, NamedKeepsStay) {
  TemporaryFolder folder;
  save(folder.path(), 1, {.keep_as = "best"});
  for (int step = 2; step <= 5; ++step) save(folder.path(), step);
  EXPECT_EQ(load_checkpoint(keep_path(folder.path(), "best")).step, 1);
  save(folder.path(), 6, {.keep_as = "best"});
  EXPECT_EQ(load_checkpoint(keep_path(folder.path(), "best")).step, 6);
  // With every generation gone, the keep is what the run goes on from.
  std::filesystem::remove(folder / "checkpoint-000005.h5");
  std::filesystem::remove(folder / "checkpoint-000006.h5");
  EXPECT_EQ(latest_intact(folder.path())->step, 6);
}

TEST(Checkpoints, AKeepIsTheCheckpointsBytes) {
  TemporaryFolder folder;
  save(folder.path(), 1, {.keep_as = step_name(1)});
  EXPECT_TRUE(read_bytes(folder / "keep-000001.h5") == read_bytes(folder / "checkpoint-000001.h5"));
  for (int step = 2; step <= 4; ++step) save(folder.path(), step);
  EXPECT_EQ(load_checkpoint(folder / "keep-000001.h5").step, 1);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) EXPECT_FALSE(entry.path().filename().string().starts_with('.')) << entry.path();
}

TEST(Checkpoints, AnAbandonedFutureIsNotMistakenForThisRun) {
  TemporaryFolder folder;
  for (int step : {400, 500}) save(folder.path(), step);
  save(folder.path(), 350);
  EXPECT_EQ(latest_intact(folder.path())->step, 350);
  EXPECT_TRUE(std::filesystem::exists(folder / "checkpoint-000400.h5.damaged-1"));
}

TEST(Checkpoints, SameStateSameBytes) {
  TemporaryFolder folder;
  save(folder / "a", 7);
  save(folder / "b", 7);
  EXPECT_TRUE(read_bytes(folder / "a/checkpoint-000007.h5") == read_bytes(folder / "b/checkpoint-000007.h5"));
}

}  // namespace
}  // namespace magicid::run_directory
