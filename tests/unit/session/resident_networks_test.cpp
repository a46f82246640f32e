#include "session/resident_networks.h"

#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/errors.h"

namespace magicid::session {
namespace {

// Tells when it is destroyed.
struct Network {
  Network(std::string name, std::vector<std::string>& gone) : name(std::move(name)), gone(gone) {}
  ~Network() { gone.push_back(name); }
  std::string name;
  std::vector<std::string>& gone;
};

struct Memory {
  explicit Memory(double budget) : networks(budget) {}
  std::shared_ptr<const Network> borrow(const std::string& name, double bytes) {
    return networks.borrow<const Network>(name, [=] { return bytes; }, [&] { return std::make_shared<const Network>(name, gone); });
  }
  std::vector<std::string> gone;
  ResidentNetworks networks;
};

TEST(ResidentNetworks, StayForTheNextBorrowerWhileTheyFit) {
  Memory memory(10);
  const auto* first = memory.borrow("transformer", 6).get();
  memory.borrow("autoencoder", 3);
  EXPECT_EQ(memory.borrow("transformer", 6).get(), first) << "the same network, not another one";
  EXPECT_EQ(memory.networks.loads(), 2);
  EXPECT_EQ(memory.networks.bytes(), 9);
  EXPECT_TRUE(memory.gone.empty());
}

TEST(ResidentNetworks, TheLeastRecentlyUsedGoesFirst) {
  Memory memory(10);
  memory.borrow("a", 4);
  memory.borrow("b", 4);
  memory.borrow("a", 4);
  memory.borrow("c", 4);
  EXPECT_EQ(memory.gone, std::vector<std::string>{"b"});
  EXPECT_TRUE(memory.networks.holds("a") && memory.networks.holds("c") && !memory.networks.holds("b"));
  memory.borrow("d", 9);
  EXPECT_EQ(memory.gone, (std::vector<std::string>{"b", "a", "c"}));
}

TEST(ResidentNetworks, WhatIsLentStaysWhateverTheBudget) {
  Memory memory(10);
  auto lent = memory.borrow("transformer", 8);
  const auto other = memory.borrow("autoencoder", 8);
  EXPECT_TRUE(memory.gone.empty()) << "more than the budget is lent when it must be";
  memory.networks.let_go("test");
  EXPECT_TRUE(memory.gone.empty());
  lent.reset();
  memory.networks.let_go("test");
  EXPECT_EQ(memory.gone, std::vector<std::string>{"transformer"});
  EXPECT_EQ(memory.networks.bytes(), 8);
}

TEST(ResidentNetworks, LargerThanTheBudgetIsLentAlone) {
  Memory memory(10);
  memory.borrow("a", 4);
  EXPECT_EQ(memory.borrow("huge", 50)->name, "huge");
  EXPECT_EQ(memory.gone, std::vector<std::string>{"a"});
}

TEST(ResidentNetworks, WhenMemoryRunsOutTheIdleOnesGoAndItIsTriedAgain) {
  Memory memory(100);
  memory.borrow("a", 4);
  int tries = 0;
  const auto load = [&]() -> std::shared_ptr<const Network> {
    if (++tries == 1) throw std::bad_alloc();
    return std::make_shared<const Network>("b", memory.gone);
  };
  const auto b = memory.networks.borrow<const Network>("b", [] { return 4.0; }, load);
  EXPECT_EQ(b->name, "b");
  EXPECT_EQ(memory.gone, std::vector<std::string>{"a"});
  const auto full = []() -> std::shared_ptr<const Network> { throw std::bad_alloc(); };
  EXPECT_THROW(memory.networks.borrow<const Network>("c", [] { return 4.0; }, full), std::bad_alloc) << "there is nothing left to let go";
}

TEST(ResidentNetworks, AFailureLeavesNothingBehind) {
  Memory memory(10);
  const auto fail = [&] {
    memory.networks.borrow<const Network>("a", [] { return 1.0; }, []() -> std::shared_ptr<const Network> { throw base::UserError("no such file"); });
  };
  EXPECT_THROW(fail(), base::UserError);
  EXPECT_FALSE(memory.networks.holds("a"));
  EXPECT_EQ(memory.borrow("a", 1)->name, "a");
}

}  // namespace
}  // namespace magicid::session
