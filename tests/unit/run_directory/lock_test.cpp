#include "run_directory/lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/errors.h"
#include "support/temporary_folder.h"

namespace magicid::run_directory {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using tests::read_bytes;
using tests::TemporaryFolder;
using tests::write_bytes;

std::string refusal(const std::filesystem::path& folder) {
  try {
    RunLock::acquire(folder);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return {};
}

void make_old(const std::filesystem::path& path, int seconds) {
  const timespec times[2] = {{std::time(nullptr) - seconds, 0}, {std::time(nullptr) - seconds, 0}};
  ::utimensat(AT_FDCWD, path.c_str(), times, 0);
}

TEST(RunLock, OneHolderAtATime) {
  TemporaryFolder folder;
  {
    const RunLock lock = RunLock::acquire(folder.path());
    EXPECT_THAT(refusal(folder.path()), HasSubstr("process " + std::to_string(::getpid())));
    EXPECT_THAT(refusal(folder.path()), HasSubstr("run.lock"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "run.lock"));
  EXPECT_EQ(refusal(folder.path()), "");
}

TEST(RunLock, AKilledHolderIsReplacedAtOnce) {
  TemporaryFolder folder;
  int pipes[2];
  ASSERT_EQ(::pipe(pipes), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const RunLock lock = RunLock::acquire(folder.path());
    (void)!::write(pipes[1], "x", 1);
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(pipes[0], &byte, 1), 1);
  EXPECT_THAT(refusal(folder.path()), HasSubstr("process " + std::to_string(child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "run.lock"));
  EXPECT_EQ(refusal(folder.path()), "");
  ::close(pipes[0]);
  ::close(pipes[1]);
}

// A start that was killed between naming its lock and linking it, and one that was killed while it read the file system's clock.
TEST(RunLock, LeavingsOfKilledStartsGo) {
  TemporaryFolder folder;
  char host[256] = {};
  ASSERT_EQ(::gethostname(host, sizeof host - 1), 0);
  for (const std::string& name : {std::string(host) + ".4242.0", std::string("clock.") + host + ".4242"}) write_bytes(folder / ("run.lock." + name), "x");
  write_bytes(folder / "run.lock.another-host.4242.0", "x");
  const RunLock lock = RunLock::acquire(folder.path());
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) names.push_back(entry.path().filename().string());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("run.lock", "run.lock.another-host.4242.0"));
}

TEST(RunLock, ANumberUsedAgainIsNotTheHolder) {
  TemporaryFolder folder;
  json holder;
  {
    const RunLock lock = RunLock::acquire(folder.path());
    holder = json::parse(read_bytes(folder / "run.lock"));
  }
  holder["started"] = "1";
  write_bytes(folder / "run.lock", holder.dump());
  EXPECT_EQ(refusal(folder.path()), "");
}

TEST(RunLock, OtherHostsAreJudgedByTheirHeartbeat) {
  TemporaryFolder folder;
  write_bytes(folder / "run.lock", R"({"host":"elsewhere","boot":"b","pid":1,"started":"1","slurm_job":"42","slurm_restart":0,"since":"then"})");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("elsewhere, Slurm job 42, since then"));
  ::setenv("SLURM_JOB_ID", "42", 1);
  EXPECT_THAT(refusal(folder.path()), HasSubstr("elsewhere"));
  ::setenv("SLURM_RESTART_COUNT", "1", 1);
  EXPECT_EQ(refusal(folder.path()), "");  // the same job, started again on another node
  ::unsetenv("SLURM_JOB_ID");
  ::unsetenv("SLURM_RESTART_COUNT");
  write_bytes(folder / "run.lock", R"({"host":"elsewhere","pid":1})");
  make_old(folder / "run.lock", 100);
  EXPECT_THAT(refusal(folder.path()), HasSubstr("elsewhere"));
  make_old(folder / "run.lock", 1000);
  EXPECT_EQ(refusal(folder.path()), "");
  write_bytes(folder / "run.lock", "");  // died between creating and writing it
  EXPECT_THAT(refusal(folder.path()), HasSubstr("not named itself"));
  make_old(folder / "run.lock", 1000);
  EXPECT_EQ(refusal(folder.path()), "");
}

}  // namespace
}  // namespace magicid::run_directory
