#include "pretraining/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/errors.h"
#include "support/temporary_folder.h"

namespace magicid::pretraining {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

json of_clip(const Options& options = {}) { return determinants("clip", options, {}, {}); }

std::string refusal(const json& stored, const json& present, const std::string& end) {
  try {
    refuse_others("clip", "a/checkpoint", stored, present, end);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return {};
}

TEST(Record, WeightsAreNotTakenForThoseOfOtherOptions) {
  Options other;
  other.seed = 7;
  other.world.fps = 12;
  other.clip.width = 64;
  other.clip.validate_every = 3;  // changes no weights
  other.transformer.heads = 1;    // of another network
  EXPECT_TRUE(same_determinants("clip", of_clip(), of_clip()));
  EXPECT_FALSE(same_determinants("clip", of_clip(), of_clip(other)));
  EXPECT_THAT(refusal(of_clip(), of_clip(other), ""),
              AllOf(HasSubstr("a/checkpoint: clip was trained"), HasSubstr("seed is 7 now, was 1 then"), HasSubstr("world.fps is 12.0 now, was 8.0 then"),
                    HasSubstr("clip.width is 64 now, was 128 then"), Not(HasSubstr("validate_every")), Not(HasSubstr("heads"))));
  EXPECT_EQ(refusal(of_clip(), of_clip(), ""), "");
}

TEST(Record, AScheduleMayChangeWhileStepsRemain) {
  Options longer;
  longer.clip.training.steps += 10;
  EXPECT_FALSE(same_determinants("clip", of_clip(), of_clip(longer)));
  EXPECT_EQ(refusal(of_clip(), of_clip(longer), ""), "");
  EXPECT_THAT(refusal(of_clip(), of_clip(longer), "this is of step 5"),
              HasSubstr("clip.steps is 1510 now, was 1500 then. A schedule may change while steps remain, but this is of step 5"));
}

TEST(Record, AYoungerKeyHadItsDefault) {
  json old = of_clip();
  old.at("options").erase("grid");
  EXPECT_TRUE(same_determinants("clip", old, of_clip()));
  Options changed;
  changed.clip.grid = 2;
  EXPECT_FALSE(same_determinants("clip", old, of_clip(changed)));
}

TEST(Record, NetworksThatItLearnedFromCount) {
  const tests::TemporaryFolder model;
  const auto write = [&](const std::string& text) {
    std::filesystem::create_directories(model / "vae");
    std::ofstream(model / "vae/config.json") << text;
  };
  const auto now = [&] { return determinants("transformer", Options(), model.path(), {"vae", "tokenizer"}); };
  const json without = now();
  EXPECT_FALSE(without.contains("networks"));
  write("{}");
  const json with = now();
  EXPECT_EQ(with.at("networks").size(), 1u);
  EXPECT_TRUE(same_determinants("transformer", without, with)) << "what older checkpoints do not know passes";
  write("{ }");
  EXPECT_FALSE(same_determinants("transformer", with, now()));
  std::filesystem::remove_all(model / "vae");
  EXPECT_FALSE(same_determinants("transformer", with, now()));
}

TEST(Record, TheSameCommandUnderTheSameScheduleIsOneStart) {
  json stored = of_clip();
  const json options = stored.at("options");
  stored["starts"] = with_start(json::object(), "magicid pretrain a.yaml", 1, 0, options);
  EXPECT_EQ(stored["starts"].size(), 1u);
  EXPECT_EQ(with_start(stored, "magicid pretrain a.yaml", 1, 20, options), stored["starts"]);
  const json on_two = with_start(stored, "magicid pretrain a.yaml", 2, 20, options);
  ASSERT_EQ(on_two.size(), 2u);
  EXPECT_EQ(on_two[1].at("after_step"), 20);
  EXPECT_EQ(on_two[1].at("ranks"), 2);
  stored.erase("starts");
  const json unknown = with_start(stored, "magicid pretrain a.yaml", 1, 20, options);  // a checkpoint from before starts were recorded
  ASSERT_EQ(unknown.size(), 2u);
  EXPECT_FALSE(unknown[0].contains("command"));
  EXPECT_EQ(unknown[0].at("schedule").at("steps"), 1500);
}

TEST(Record, IsReadAsItWasWritten) {
  const tests::TemporaryFolder model;
  EXPECT_EQ(read_record(model.path()), json::object());
  const json record{{"clip", of_clip()}};
  write_record(model.path(), record);
  EXPECT_EQ(read_record(model.path()), record);
  std::ofstream(record_path(model.path())) << "[1]";
  EXPECT_THROW(read_record(model.path()), base::UserError);
}

}  // namespace
}  // namespace magicid::pretraining
