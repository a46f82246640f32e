#include "run_directory/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "support/temporary_folder.h"
#include "support/without_rights.h"

namespace magicid::run_directory {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using tests::read_bytes;
using tests::TemporaryFolder;
using tests::write_bytes;
namespace fs = std::filesystem;

OpenOptions options(double beta = 2000, const std::string& backbone = "abc") {
  return {"1.0", {{"backbone", backbone}}, {{"optimize", {{"beta", beta}}}, {"name", "x"}}, "optimize:\n  beta: " + std::to_string(beta) + "\n"};
}

Fingerprint fingerprint(double beta, const std::string& pairs = "p") { return {{{"beta", beta}}, {{"pairs", pairs}}}; }

TEST(RunDirectory, StagesAreCurrentUntilTheirOptionsOrInputsChange) {
  TemporaryFolder folder;
  const fs::path root = folder / "runs/a";
  {
    auto run = RunDirectory::open(root, options());
    EXPECT_EQ(run.stage_state(Stage::select, fingerprint(1)).reason, "has not run yet");
    run.begin_stage(Stage::select, fingerprint(1));
    EXPECT_EQ(run.stage_state(Stage::select, fingerprint(1)).reason, "was begun but not finished");
    EXPECT_FALSE(run.result_hash(Stage::select));
    write_bytes(run.layout().pairs(), "pairs");
    run.mark_stage_done(Stage::select, fingerprint(1), {run.layout().pairs()});
    EXPECT_TRUE(run.stage_is_current(Stage::select, fingerprint(1)));
    run.begin_stage(Stage::optimize, fingerprint(2000));
    fs::create_directories(run.layout().optimize());
    write_bytes(run.layout().optimize() / "checkpoint-000001.h5", "old");
    run.mark_stage_done(Stage::optimize, fingerprint(2000), {"optimize/checkpoint-000001.h5"}, "result");
    EXPECT_EQ(run.result_hash(Stage::optimize), "result");
  }
  auto run = RunDirectory::open(root, options(50));
  ASSERT_EQ(run.changed_configuration().size(), 1u);
  EXPECT_EQ(run.changed_configuration()[0].key, "optimize.beta");
  EXPECT_TRUE(run.stage_is_current(Stage::select, fingerprint(1)));
  EXPECT_TRUE(run.stage_is_current(Stage::optimize, fingerprint(2000)));
  const auto state = run.stage_state(Stage::optimize, fingerprint(50, "q"));
  EXPECT_FALSE(state.current);
  EXPECT_THAT(state.reason, AllOf(HasSubstr("options.beta: 2000.0 -> 50.0"), HasSubstr("inputs.pairs: \"p\" -> \"q\"")));
  run.begin_stage(Stage::optimize, fingerprint(50, "q"));
  EXPECT_FALSE(fs::exists(run.layout().optimize()));
  EXPECT_EQ(read_bytes(root / "previous/optimize-1/optimize/checkpoint-000001.h5"), "old");
  EXPECT_TRUE(fs::exists(root / "previous/config-1.yaml"));
  EXPECT_THAT(read_bytes(run.layout().config()), HasSubstr("50"));
  // Begun and killed: the same fingerprint resumes, another one does not take over its files.
  fs::create_directories(run.layout().optimize());
  write_bytes(run.layout().optimize() / "checkpoint-000002.h5", "half");
  run.begin_stage(Stage::optimize, fingerprint(50, "q"));
  EXPECT_TRUE(fs::exists(run.layout().optimize() / "checkpoint-000002.h5"));
  run.begin_stage(Stage::optimize, fingerprint(60, "q"));
  EXPECT_EQ(read_bytes(root / "previous/optimize-2/optimize/checkpoint-000002.h5"), "half");
}

// A start that finds that it must not begin leaves the record of what was used.
TEST(RunDirectory, ARoundHasRecordsAndFilesOfItsOwn) {
  TemporaryFolder folder;
  const fs::path root = folder / "run";
  const auto finish = [](RunDirectory& run, int round, const std::string& text) {
    const Layout at = run.layout().of_round(round);
    run.begin_stage({Stage::optimize, round}, fingerprint(round));
    fs::create_directories(at.optimize());
    write_bytes(at.optimize() / "checkpoint-000001.h5", text);
    run.mark_stage_done({Stage::optimize, round}, fingerprint(round), {at.optimize() / "checkpoint-000001.h5"}, "result of " + text);
  };
  std::string alone;
  {
    auto run = RunDirectory::open(root, options());
    finish(run, 0, "zero");
    alone = run.manifest().at("stages").dump();
    EXPECT_FALSE(run.manifest().contains("rounds")) << "a run of one round is written as ever";
    EXPECT_EQ(run.stage_state({Stage::optimize, 1}, fingerprint(1)).reason, "has not run yet");
    finish(run, 1, "one");
    finish(run, 12, "twelve");
  }
  auto run = RunDirectory::open(root, options());
  EXPECT_EQ(read_bytes(root / "optimize/checkpoint-000001.h5"), "zero");
  EXPECT_EQ(read_bytes(root / "rounds/1/optimize/checkpoint-000001.h5"), "one");
  for (const int round : {0, 1, 12}) EXPECT_TRUE(run.stage_is_current({Stage::optimize, round}, fingerprint(round))) << round;
  EXPECT_EQ(run.result_hash({Stage::optimize, 12}), "result of twelve");
  EXPECT_EQ(run.files_of({Stage::optimize, 1}).begin()->first, "rounds/1/optimize/checkpoint-000001.h5");
  EXPECT_EQ(run.files_of(Stage::select).size(), 0u);
  // Another fingerprint moves the files of its round alone; what is found by content belongs to no round.
  run.begin_stage({Stage::optimize, 1}, fingerprint(7));
  EXPECT_EQ(read_bytes(root / "previous/round-1-optimize-1/optimize/checkpoint-000001.h5"), "one");
  EXPECT_TRUE(run.stage_is_current(Stage::optimize, fingerprint(0)) && run.stage_is_current({Stage::optimize, 12}, fingerprint(12)));
  EXPECT_EQ(run.manifest().at("stages").dump(), alone);
  EXPECT_EQ(run.layout().of_round(3).candidates(), run.layout().candidates());
}

TEST(RunDirectory, ARoundThatIsNoneMakesTheManifestDamaged) {
  TemporaryFolder folder;
  for (const char* rounds : {R"({"x": {"stages": {}}})", R"({"1": 7})", R"({"1": {}})", R"([])", R"({"1": {"stages": {"select": {"done": true}}}})"}) {
    const fs::path root = folder / "run";
    fs::create_directories(root);
    write_bytes(root / "manifest.json", std::string(R"({"format": "magicid.run", "version": 1, "stages": {}, "rounds": )") + rounds + "}");
    EXPECT_FALSE(RunDirectory::open(root, options()).manifest().contains("rounds")) << rounds;
    EXPECT_THROW(
        {
          write_bytes(root / "manifest.json", std::string(R"({"format": "magicid.run", "version": 1, "stages": {}, "rounds": )") + rounds + "}");
          RunDirectory::view(root);
        },
        base::UserError)
        << rounds;
    fs::remove_all(root);
  }
}

TEST(RunDirectory, ValuesAreRecordedWhenSomethingIsDoneWithThem) {
  TemporaryFolder folder;
  const fs::path root = folder / "a";
  {
    RunDirectory::open(root, options());
  }
  const std::string manifest = read_bytes(root / "manifest.json"), config = read_bytes(root / "config.yaml");
  auto later = options(50, "xyz");
  later.accept_other_identity = true;
  later.record = false;
  {
    auto run = RunDirectory::open(root, later);
    ASSERT_EQ(run.changed_configuration().size(), 1u);
    EXPECT_EQ(read_bytes(root / "manifest.json"), manifest);
    EXPECT_EQ(read_bytes(root / "config.yaml"), config);
    EXPECT_FALSE(fs::exists(root / "previous"));
  }
  {
    auto run = RunDirectory::open(root, later);
    run.record();
    run.record();  // once
    EXPECT_THAT(read_bytes(root / "config.yaml"), HasSubstr("50"));
    EXPECT_EQ(read_bytes(root / "previous/config-1.yaml"), config);
    EXPECT_EQ(run.manifest()["identity"]["backbone"], "xyz");
    EXPECT_EQ(run.manifest()["configuration"]["optimize"]["beta"], 50.0);
    EXPECT_FALSE(fs::exists(root / "previous/config-2.yaml"));
  }
  // Where nothing is recorded nothing is lost: a new run is one from the first moment on.
  {
    auto fresh = RunDirectory::open(folder / "fresh", later);
  }
  EXPECT_THAT(read_bytes(folder / "fresh/config.yaml"), HasSubstr("50"));
  fs::remove(folder / "fresh/config.yaml");  // killed between the two
  {
    auto fresh = RunDirectory::open(folder / "fresh", later);
  }
  EXPECT_TRUE(fs::exists(folder / "fresh/config.yaml"));
  EXPECT_THROW(RunDirectory::view(root).record(), base::InvariantError);
}

TEST(RunDirectory, ChangedAndMissingFilesAreNoticed) {
  TemporaryFolder folder;
  auto run = RunDirectory::open(folder / "a", options());
  const auto finish = [&] {
    run.begin_stage(Stage::select, fingerprint(1));
    write_bytes(run.layout().pairs(), "pairs");
    run.mark_stage_done(Stage::select, fingerprint(1), {"pairs.h5"});
  };
  finish();
  const auto first = run.result_hash(Stage::select);
  fs::last_write_time(run.layout().pairs(), fs::last_write_time(run.layout().pairs()) - std::chrono::hours(1));
  EXPECT_TRUE(run.stage_is_current(Stage::select, fingerprint(1)));  // copied: same bytes
  write_bytes(run.layout().pairs(), "pears");
  fs::last_write_time(run.layout().pairs(), fs::last_write_time(run.layout().pairs()) - std::chrono::hours(2));
  EXPECT_THAT(run.stage_state(Stage::select, fingerprint(1)).reason, HasSubstr("its bytes are not those"));
  EXPECT_EQ(read_bytes(run.layout().root / "pairs.h5.damaged-1"), "pears");
  EXPECT_THAT(run.stage_state(Stage::select, fingerprint(1)).reason, HasSubstr("pairs.h5 is missing"));
  finish();
  EXPECT_EQ(run.result_hash(Stage::select), first);
  write_bytes(run.layout().pairs(), "pairs and more");
  EXPECT_THAT(run.stage_state(Stage::select, fingerprint(1)).reason, HasSubstr("14 bytes, 5 were written"));
  EXPECT_THROW(run.mark_stage_done(Stage::select, fingerprint(1), {"../outside"}), base::InvariantError);
  EXPECT_THROW(run.mark_stage_done(Stage::select, fingerprint(1), {"absent"}), base::InvariantError);
}

TEST(RunDirectory, OutputsOfUnknownOriginAreNotTrusted) {
  TemporaryFolder folder;
  auto run = RunDirectory::open(folder / "a", options());
  write_bytes(run.layout().pairs(), "whose?");
  run.begin_stage(Stage::select, fingerprint(1));
  EXPECT_FALSE(fs::exists(run.layout().pairs()));
  EXPECT_EQ(read_bytes(run.layout().previous() / "select-1/pairs.h5"), "whose?");
}

TEST(RunDirectory, AnotherModelIsRefusedUnlessAllowed) {
  TemporaryFolder folder;
  {
    RunDirectory::open(folder / "a", options());
  }
  try {
    RunDirectory::open(folder / "a", options(2000, "xyz"));
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("another model"), HasSubstr("backbone: \"abc\" -> \"xyz\"")));
  }
  auto other = options(2000, "xyz");
  other.accept_other_identity = true;
  {
    RunDirectory::open(folder / "a", other);
  }
  EXPECT_THROW(RunDirectory::open(folder / "a", options()), base::UserError);
}

TEST(RunDirectory, FoldersThatAreNoRun) {
  TemporaryFolder folder;
  fs::create_directories(folder / "photos");
  write_bytes(folder / "photos/me.jpg", "x");
  EXPECT_THROW(RunDirectory::open(folder / "photos", options()), base::UserError);
  EXPECT_THROW(RunDirectory::open(folder / "photos/me.jpg", options()), base::UserError);
  EXPECT_THROW(RunDirectory::view(folder / "photos"), base::UserError);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "photos"), {}), 1);
  fs::create_directories(folder / "empty");
  auto run = RunDirectory::open(folder / "empty", options());
  EXPECT_THROW(RunDirectory::open(folder / "empty", options()), base::UserError);  // locked
  auto view = RunDirectory::view(folder / "empty");
  EXPECT_EQ(view.manifest()["code_version"], "1.0");
  EXPECT_THROW(view.begin_stage(Stage::select, fingerprint(1)), base::InvariantError);
}

TEST(RunDirectory, DamagedManifestsAreSetAside) {
  TemporaryFolder folder;
  int expected = 0;
  for (const char* bytes : {"{\"format\": \"magic", "[]", "{}", "{\"format\":\"magicid.run\",\"version\":1,\"stages\":{\"select\":{\"done\":\"yes\"}}}",
                            "{\"format\":\"magicid.run\",\"version\":1,\"stages\":{\"select\":{\"done\":true}}}",
                            "{\"format\":\"magicid.run\",\"version\":1,\"stages\":{\"select\":{\"files\":{\"a\":5}}}}"}) {
    {
      RunDirectory::open(folder / "a", options());
    }
    write_bytes(folder / "a/manifest.json", bytes);
    EXPECT_THROW(RunDirectory::view(folder / "a"), base::UserError);
    auto run = RunDirectory::open(folder / "a", options());
    ++expected;
    EXPECT_EQ(read_bytes(folder / ("a/manifest.json.damaged-" + std::to_string(expected))), bytes);
    EXPECT_FALSE(run.stage_is_current(Stage::select, fingerprint(1)));
  }
  write_bytes(folder / "a/manifest.json", "{\"format\":\"magicid.run\",\"version\":99,\"stages\":{}}");
  try {
    RunDirectory::open(folder / "a", options());
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("newer program"));
  }
}

// Every stage would run again beside a manifest and files that are intact.
TEST(RunDirectory, WhatCannotBeReadNowIsNeitherDamagedNorMissing) {
  TemporaryFolder folder;
  const fs::path root = folder / "a";
  {
    auto run = RunDirectory::open(root, options());
    run.begin_stage(Stage::optimize, fingerprint(1));
    fs::create_directories(run.layout().optimize());
    write_bytes(run.layout().optimize() / "checkpoint-000001.h5", "weights");
    run.mark_stage_done(Stage::optimize, fingerprint(1), {"optimize/checkpoint-000001.h5"});
  }
  const auto refusal = [&](const auto& action) -> std::string {
    try {
      action();
    } catch (const base::SystemError& error) {
      return error.what();
    }
    return "none";
  };
  // A manifest whose reading fails: what /proc gives for the unmapped page 0.
  const std::string manifest = read_bytes(root / "manifest.json");
  fs::rename(root / "manifest.json", folder / "kept");
  fs::create_symlink("/proc/self/mem", root / "manifest.json");
  EXPECT_THAT(refusal([&] { RunDirectory::open(root, options()); }), AllOf(HasSubstr("manifest.json"), HasSubstr("Input/output error")));
  EXPECT_TRUE(fs::is_symlink(root / "manifest.json")) << "it was set aside";
  fs::remove(root / "manifest.json");
  fs::rename(folder / "kept", root / "manifest.json");

  fs::permissions(root, fs::perms::all);
  fs::permissions(root / "manifest.json", fs::perms::none);
  {
    const tests::WithoutRights nobody;
    if (!nobody.given_up()) GTEST_SKIP() << "root cannot become another user here";
    EXPECT_THAT(refusal([&] { RunDirectory::open(root, options()); }), AllOf(HasSubstr("manifest.json"), HasSubstr("Permission denied")));
    EXPECT_THAT(refusal([&] { RunDirectory::view(root); }), HasSubstr("Permission denied"));
  }
  fs::permissions(root / "manifest.json", fs::perms::all);
  fs::permissions(root / "optimize", fs::perms::none);
  {
    const tests::WithoutRights nobody;
    EXPECT_THAT(refusal([&] { RunDirectory::view(root).stage_state(Stage::optimize, fingerprint(1)); }),
                AllOf(HasSubstr("checkpoint-000001.h5"), HasSubstr("Permission denied")));
    EXPECT_THAT(refusal([&] { RunDirectory::open(root, options()); }), AllOf(HasSubstr("optimize"), HasSubstr("Permission denied")))
        << "its files cannot be seen";
  }
  fs::permissions(root / "optimize", fs::perms::owner_all);
  EXPECT_EQ(read_bytes(root / "manifest.json"), manifest);
  auto run = RunDirectory::open(root, options());
  EXPECT_TRUE(run.stage_is_current(Stage::optimize, fingerprint(1)));
}

TEST(RunDirectory, LeftoversOfKilledWritersGo) {
  TemporaryFolder folder;
  {
    RunDirectory::open(folder / "a", options());
  }
  fs::create_directories(folder / "a/candidates");
  write_bytes(folder / "a/candidates/.segment-0.h5.host.1.0.tmp", "torn");
  write_bytes(folder / "a/candidates/.keep", "mine");
  auto run = RunDirectory::open(folder / "a", options());
  EXPECT_FALSE(fs::exists(folder / "a/candidates/.segment-0.h5.host.1.0.tmp"));
  EXPECT_TRUE(fs::exists(folder / "a/candidates/.keep"));
}

TEST(Differences, NameEveryLeaf) {
  const auto found = differences({{"a", 1}, {"b", {{"c", 2}, {"d", {1, 2}}}}, {"gone", true}}, {{"a", 1}, {"b", {{"c", 2.0}, {"d", {1, 3}}}}, {"new", "x"}});
  EXPECT_EQ(describe(found), "  b.c: 2 -> 2.0\n  b.d: [1,2] -> [1,3]\n  gone: true -> (absent)\n  new: (absent) -> \"x\"");
  EXPECT_TRUE(differences({{"a", 1}}, {{"a", 1}}).empty());
}

TEST(Fingerprint, DependsOnContentsNotOnOrder) {
  EXPECT_EQ((Fingerprint{{{"a", 1}, {"b", 2}}, {}}.hash()), (Fingerprint{{{"b", 2}, {"a", 1}}, {}}.hash()));
  EXPECT_NE((Fingerprint{{{"a", 1}}, {{"b", 2}}}.hash()), (Fingerprint{{{"a", 1}, {"b", 2}}, json::object()}.hash()));
}

}  // namespace
}  // namespace magicid::run_directory
