#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "run_directory/candidate_store.h"
#include "run_directory/set_aside.h"
#include "support/temporary_folder.h"
#include "support/without_rights.h"

namespace magicid::run_directory {
namespace {

using nlohmann::json;
using tests::read_bytes;
using tests::TemporaryFolder;
using tests::write_bytes;

StoredCandidate candidate(int seed, at::ScalarType type = at::kFloat) {
  return {{{"prompt", "a person"}, {"seed", seed}}, {{"seconds", 1.5}}, at::full({2, 3, 4}, seed).to(type)};
}

int damaged_files(const std::filesystem::path& folder) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) count += entry.path().filename().string().find(".damaged-") != std::string::npos;
  return count;
}

void flip_byte(const std::filesystem::path& path, std::size_t from_end) {
  std::string bytes = read_bytes(path);
  bytes[bytes.size() - from_end] ^= 1;
  write_bytes(path, bytes);
}

TEST(CandidateStore, PutFindList) {
  TemporaryFolder folder;
  CandidateStore store(folder / "candidates");
  EXPECT_TRUE(store.list().empty());
  const std::string key = store.put(candidate(7, at::kBFloat16));
  EXPECT_EQ(key, CandidateStore::key_of({{"seed", 7}, {"prompt", "a person"}}));
  EXPECT_TRUE(store.contains(key));
  EXPECT_FALSE(store.contains(std::string(32, '0')));
  EXPECT_FALSE(store.contains("../escape"));
  CandidateStore other(folder / "candidates");
  const auto found = other.find(key);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->latents.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(found->latents, candidate(7, at::kBFloat16).latents));
  EXPECT_EQ(found->metadata["seconds"], 1.5);
  // What another process wrote meanwhile is found without looking at the folder again.
  const std::string later = store.put(candidate(8));
  EXPECT_TRUE(other.contains(later));
}

TEST(CandidateStore, MergesIntoFewFilesAndReadsBoth) {
  TemporaryFolder folder;
  CandidateStore store(folder.path());
  std::vector<std::string> keys;
  for (int seed = 0; seed < 10; ++seed) keys.push_back(store.put(candidate(seed)));
  const std::string a_segment = read_bytes(folder / ("segment-" + keys[3] + ".h5"));
  EXPECT_EQ(store.merge().size(), 1u);
  EXPECT_EQ(store.list().size(), 10u);
  for (int seed = 0; seed < 10; ++seed) EXPECT_TRUE(at::equal(store.find(keys[seed])->latents, candidate(seed).latents));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_EQ(store.merge().size(), 1u);  // nothing to do
  // A crash between the merged file and the deletion of its sources leaves both.
  write_bytes(folder / ("segment-" + keys[3] + ".h5"), a_segment);
  CandidateStore again(folder.path());
  EXPECT_EQ(again.list().size(), 10u);
  again.put(candidate(99));
  EXPECT_EQ(again.merge().size(), 1u);
  EXPECT_EQ(again.list().size(), 11u);
  for (const auto& key : keys) EXPECT_TRUE(CandidateStore(folder.path()).find(key));
}

TEST(CandidateStore, MergeRespectsTheSizeOfFiles) {
  TemporaryFolder folder;
  CandidateStore store(folder.path());
  for (int seed = 0; seed < 6; ++seed) store.put({{{"seed", seed}}, {}, at::full({25'000}, seed)});  // 100 kB each
  const auto files = store.merge(250'000);
  EXPECT_GE(files.size(), 3u);
  EXPECT_LE(files.size(), 6u);
  EXPECT_EQ(store.list().size(), 6u);
  for (const auto& key : store.list()) EXPECT_TRUE(store.find(key));
}

TEST(CandidateStore, DamagedSegmentIsSetAsideAndAbsent) {
  TemporaryFolder folder;
  CandidateStore store(folder.path());
  const std::string key = store.put(candidate(1)), other = store.put(candidate(2));
  flip_byte(folder / ("segment-" + key + ".h5"), 20);
  write_bytes(folder / "segment-00000000000000000000000000000000.h5", "foreign");
  CandidateStore again(folder.path());
  EXPECT_FALSE(again.find(std::string(32, '0')));
  EXPECT_FALSE(again.contains(key));
  EXPECT_TRUE(again.contains(other));
  EXPECT_EQ(damaged_files(folder.path()), 2);
  EXPECT_EQ(again.list(), std::vector<std::string>{other});
  EXPECT_EQ(again.put(candidate(1)), key);
  EXPECT_TRUE(again.contains(key));
  // A whole file under a wrong name is not what its name promises.
  std::filesystem::copy_file(folder / ("segment-" + key + ".h5"), folder / "segment-11111111111111111111111111111111.h5");
  EXPECT_FALSE(CandidateStore(folder.path()).contains(std::string(32, '1')));
  EXPECT_EQ(damaged_files(folder.path()), 3);
  // Intact to the byte, but the description is of something else.
  const std::string wrong(32, '2');
  storage::write_hdf5(folder / ("segment-" + wrong + ".h5"), {"magicid.candidates", 1}, [&](storage::Hdf5Writer& out) {
    out.text("entries/" + wrong + "/description", "{\"seed\":5}");
    out.text("entries/" + wrong + "/metadata", "{}");
    out.tensor("entries/" + wrong + "/tensors/latents", at::ones({2}));
  });
  EXPECT_FALSE(CandidateStore(folder.path()).find(wrong));
  EXPECT_EQ(damaged_files(folder.path()), 4);
}

TEST(CandidateStore, DamagedMergedFileGivesItsIntactEntriesBack) {
  TemporaryFolder folder;
  CandidateStore store(folder.path());
  std::vector<std::string> keys;
  for (int seed = 0; seed < 5; ++seed) keys.push_back(store.put({{{"seed", seed}}, {}, at::full({5000}, seed, at::kFloat)}));
  const auto merged = store.merge();
  ASSERT_EQ(merged.size(), 1u);
  std::string bytes = read_bytes(merged[0]);
  const float mark[3] = {3, 3, 3};  // inside the data of seed 3
  const auto at = bytes.find(std::string(reinterpret_cast<const char*>(mark), sizeof mark));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 40] ^= 1;
  write_bytes(merged[0], bytes);
  CandidateStore again(folder.path());
  for (int seed = 0; seed < 5; ++seed) EXPECT_EQ(again.contains(keys[seed]), seed != 3) << seed;
  EXPECT_EQ(damaged_files(folder.path()), 1);
  EXPECT_EQ(CandidateStore(folder.path()).list().size(), 4u);
}

TEST(CandidateStore, WhatCannotBeReadNowIsNeitherAbsentNorDamaged) {
  namespace fs = std::filesystem;
  TemporaryFolder folder;
  CandidateStore store(folder.path());
  const std::string merged = store.put(candidate(1)), segment = [&] {
    store.merge();
    return store.put(candidate(2));
  }();
  const auto file = store.files().front(), single = folder / ("segment-" + segment + ".h5");
  ASSERT_NE(file, single);
  fs::permissions(folder.path(), fs::perms::all);
  const auto refusal = [&](const auto& action) -> std::string {
    const tests::WithoutRights nobody;
    if (!nobody.given_up()) return "skipped";
    try {
      action();
    } catch (const base::SystemError& error) {
      return error.what();
    }
    return "none";
  };
  fs::permissions(single, fs::perms::none);
  CandidateStore opened(folder.path());
  const std::string refused = refusal([&] { opened.contains(segment); });
  if (refused == "skipped") GTEST_SKIP() << "root cannot become another user here";
  EXPECT_THAT(refused, ::testing::AllOf(::testing::HasSubstr(single.string()), ::testing::HasSubstr("Permission denied")));
  fs::permissions(file, fs::perms::none);
  EXPECT_THAT(refusal([&] { opened.find(merged); }), ::testing::HasSubstr(file.string()));
  EXPECT_THAT(refusal([&] { CandidateStore again(folder.path()); }), ::testing::HasSubstr(file.string())) << "its table of contents";
  EXPECT_THAT(refusal([&] { opened.merge(); }), ::testing::HasSubstr("Permission denied"));
  fs::permissions(folder.path(), fs::perms::none);
  EXPECT_THAT(refusal([&] { CandidateStore again(folder.path()); }), ::testing::HasSubstr("Permission denied")) << "it is not an empty one";
  EXPECT_THAT(refusal([&] { opened.contains(std::string(32, '0')); }), ::testing::HasSubstr("Permission denied"));
  fs::permissions(folder.path(), fs::perms::all);
  EXPECT_EQ(damaged_files(folder.path()), 0);
  for (const auto& path : {file, single}) fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  CandidateStore again(folder.path());
  EXPECT_TRUE(again.contains(merged));
  EXPECT_TRUE(again.contains(segment));
}

TEST(CandidateStore, ACandidateLostBeforeTheMergeIsTold) {
  TemporaryFolder folder;
  CandidateStore store(folder.path());
  std::vector<std::string> keys;
  for (int seed = 0; seed < 3; ++seed) keys.push_back(store.put(candidate(seed)));
  for (const auto& key : keys) EXPECT_TRUE(store.contains(key));
  flip_byte(folder / ("segment-" + keys[1] + ".h5"), 20);  // after it was found intact
  EXPECT_TRUE(store.absent(keys).empty());
  EXPECT_EQ(store.merge().size(), 1u);
  EXPECT_EQ(store.absent(keys), std::vector<std::string>{keys[1]});
  store.put(candidate(1));
  store.merge();
  EXPECT_TRUE(store.absent(keys).empty());
}

// Two ranks know a merged file and meet its damage one after the other.
TEST(CandidateStore, WhatAnotherRankSavedFromADamagedFileIsFound) {
  TemporaryFolder folder;
  std::vector<std::string> keys;
  {
    CandidateStore store(folder.path());
    for (int seed = 0; seed < 3; ++seed) keys.push_back(store.put({{{"seed", seed}}, {}, at::full({5000}, seed, at::kFloat)}));
    store.merge();
  }
  CandidateStore first(folder.path()), second(folder.path());
  const auto file = first.files().front();
  std::string bytes = read_bytes(file);
  const float mark[3] = {2, 2, 2};
  bytes[bytes.find(std::string(reinterpret_cast<const char*>(mark), sizeof mark)) + 40] ^= 1;
  write_bytes(file, bytes);
  EXPECT_FALSE(first.contains(keys[2]));
  EXPECT_EQ(damaged_files(folder.path()), 1);
  EXPECT_TRUE(second.contains(keys[0])) << "it lies in a segment now";
  EXPECT_FALSE(second.contains(keys[2]));
  EXPECT_EQ(damaged_files(folder.path()), 1);
  EXPECT_NO_THROW(set_aside(file, "it is gone already"));
}

TEST(ScoreStore, NumbersAreExactNotFiniteOnesIncluded) {
  TemporaryFolder folder;
  ScoreStore store(folder.path());
  Score score{"abc",
              {{"arcface", "hash"}},
              {{"faces", 2}},
              {{"identity", 0.1}, {"dynamic", std::nan("")}, {"semantic", -std::numeric_limits<double>::infinity()}},
              at::ones({2, 4})};
  score.face_embeddings[1] = std::nanf("");
  const std::string key = store.put(score);
  EXPECT_EQ(key, ScoreStore::key_of("abc", {{"arcface", "hash"}}));
  store.merge();
  const auto found = ScoreStore(folder.path()).find("abc", {{"arcface", "hash"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->values.at("identity"), 0.1);
  EXPECT_TRUE(std::isnan(found->values.at("dynamic")));
  EXPECT_EQ(found->values.at("semantic"), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(at::allclose(found->face_embeddings, score.face_embeddings, 0, 0, true));
  EXPECT_EQ(found->metadata["faces"], 2);
  EXPECT_FALSE(store.find("abc", {{"arcface", "other"}}));
  store.put({"none", {}, {}, {}, {}});
  EXPECT_FALSE(store.find("none", {})->face_embeddings.defined());
}

}  // namespace
}  // namespace magicid::run_directory
