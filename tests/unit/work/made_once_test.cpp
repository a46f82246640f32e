#include "work/made_once.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "base/errors.h"
#include "comm/threads.h"

namespace magicid::work {
namespace {

TEST(MadeOnce, OneRankMakesAndAllGetTheSameNumbers) {
  std::atomic<int> calls{0};
  const at::Tensor strided = at::arange(6, at::kDouble).view({2, 3}).t() / 7, half = at::arange(5, at::kFloat).to(at::kBFloat16),
                   mask = at::tensor({1, 1, 0}, at::kLong);
  comm::run_threads(3, [&](comm::Communicator& world) {
    const NamedTensors made = made_once(world, "encoding", [&](Pulse& pulse) {
      ++calls;
      pulse.beat();
      return NamedTensors{{"embeds of a \"prompt\", ümlaut", strided}, {"half", half}, {"mask", mask}, {"none", at::empty({0, 4})}};
    });
    ASSERT_EQ(made.size(), 4u);
    EXPECT_TRUE(at::equal(made.at("embeds of a \"prompt\", ümlaut"), strided));
    EXPECT_EQ(made.at("half").scalar_type(), at::kBFloat16);
    EXPECT_TRUE(at::equal(made.at("half"), half));
    EXPECT_TRUE(at::equal(made.at("mask"), mask));
    EXPECT_EQ(made.at("none").sizes(), (std::vector<std::int64_t>{0, 4}));
  });
  EXPECT_EQ(calls, 1);
}

TEST(MadeOnce, AnErrorOfTheMakerIsEverybodys) {
  std::atomic<int> threw{0};
  comm::run_threads(3, [&](comm::Communicator& world) {
    try {
      made_once(world, "encoding", [](Pulse&) -> NamedTensors { throw base::UserError("text_encoder/config.json: is missing"); });
    } catch (const base::UserError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("text_encoder/config.json: is missing"));
      ++threw;
    }
  });
  EXPECT_EQ(threw, 3);
}

// Text that no header can hold must not leave the others waiting.
TEST(MadeOnce, ANameThatIsNoTextIsEverybodysErrorToo) {
  std::atomic<int> threw{0};
  comm::run_threads(2, [&](comm::Communicator& world) {
    try {
      made_once(world, "encoding", [](Pulse&) { return NamedTensors{{"\xff", at::ones({1})}}; });
    } catch (const base::InvariantError&) {
      ++threw;
    }
  });
  EXPECT_EQ(threw, 2);
}

}  // namespace
}  // namespace magicid::work
