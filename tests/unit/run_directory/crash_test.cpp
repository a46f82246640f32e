// SIGKILL at random instants: nothing that was reported finished is lost, nothing torn is trusted.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>
#include <set>

#include "run_directory/candidate_store.h"
#include "run_directory/checkpoints.h"
#include "run_directory/metrics_log.h"
#include "run_directory/set_aside.h"
#include "support/temporary_folder.h"

namespace magicid::run_directory {
namespace {

using tests::TemporaryFolder;

constexpr int kills = 25;

// Runs `work(report)` in a child, kills it after a random time, and returns the numbers it reported as finished.
template <class Work>
std::vector<int> killed_run(std::mt19937& random, const Work& work) {
  int pipes[2];
  if (::pipe(pipes) != 0) throw std::runtime_error("pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pipes[0]);
    work([&](int number) { (void)!::write(pipes[1], &number, sizeof number); });
    ::_exit(0);
  }
  ::close(pipes[1]);
  ::usleep(1000 + random() % 40'000);
  ::kill(child, SIGKILL);
  std::vector<int> finished;
  int number = 0;
  while (::read(pipes[0], &number, sizeof number) == sizeof number) finished.push_back(number);
  ::close(pipes[0]);
  ::waitpid(child, nullptr, 0);
  return finished;
}

at::Tensor contents(int number) { return at::full({2000}, number); }

TEST(Crash, SegmentsAndMerges) {
  TemporaryFolder folder;
  std::mt19937 random(1);
  std::set<int> finished;
  int next = 0;
  for (int kill = 0; kill < kills; ++kill) {
    const int first = next;
    const bool with_merges = kill % 2;
    for (const int number : killed_run(random, [&](const auto& report) {
           CandidateStore store(folder.path());
           for (int i = first; i < first + 200; ++i) {
             store.put({{{"number", i}}, {}, contents(i)});
             report(i);
             if (with_merges && i % 4 == 3) store.merge(200'000);
           }
         })) {
      finished.insert(number);
      next = number + 1;
    }
    remove_leftovers(folder.path());
    CandidateStore store(folder.path());
    for (const int number : finished) {
      const auto found = store.find(CandidateStore::key_of({{"number", number}}));
      ASSERT_TRUE(found) << "number " << number << " was lost in kill " << kill;
      ASSERT_TRUE(at::equal(found->latents, contents(number)));
    }
    for (const auto& key : store.list()) ASSERT_TRUE(store.find(key)) << "a torn entry is listed";
  }
  EXPECT_GT(finished.size(), 20u);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(entry.path().string().find(".damaged"), std::string::npos) << entry.path();
  CandidateStore store(folder.path());
  const auto before = store.list();
  EXPECT_EQ(store.merge().size(), 1u);
  EXPECT_EQ(store.list(), before);
}

TEST(Crash, CheckpointsAndMetrics) {
  TemporaryFolder folder;
  std::mt19937 random(2);
  int last = 0;
  for (int kill = 0; kill < kills; ++kill) {
    const auto finished = killed_run(random, [&](const auto& report) {
      const auto resumed = latest_intact(folder.path());
      const int start = resumed ? static_cast<int>(resumed->step) : 0;
      MetricsLog log(folder / "metrics.jsonl", start);
      for (int step = start + 1; step < start + 500; ++step) {
        log.append(step, {{"loss", step}});
        save_checkpoint(folder.path(), step, {{"x", contents(step)}}, {{"step", step}}, {.keep_as = step % 5 ? "" : "best"});
        report(step);
      }
    });
    if (!finished.empty()) last = finished.back();
    const auto found = latest_intact(folder.path());
    if (last == 0) continue;
    ASSERT_TRUE(found) << kill;
    // The report may come after the checkpoint, never before.
    ASSERT_GE(found->step, last);
    ASSERT_LE(found->step, last + 1);
    last = static_cast<int>(found->step);
    ASSERT_TRUE(at::equal(found->tensors.at("x"), contents(last)));
    MetricsLog(folder / "metrics.jsonl", last);
    const auto lines = read_metrics(folder / "metrics.jsonl");
    ASSERT_EQ(static_cast<int>(lines.size()), last);
    for (int i = 0; i < last; ++i) ASSERT_EQ(lines[i]["step"], i + 1);
  }
  EXPECT_GT(last, 10);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(entry.path().string().find(".damaged"), std::string::npos) << entry.path();
}

}  // namespace
}  // namespace magicid::run_directory
