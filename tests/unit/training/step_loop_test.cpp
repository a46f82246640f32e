#include "training/step_loop.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cmath>
#include <mutex>

#include "base/errors.h"
#include "base/random.h"
#include "comm/local.h"
#include "comm/threads.h"
#include "training/signals.h"

namespace magicid::training {
namespace {

// Sample `s` pulls the parameters towards a point of its own: loss 0.5 |p - c_s|^2.
class Pull : public Objective {
 public:
  explicit Pull(int size = 64) : parameters_(at::linspace(-1, 1, size)), gradient_(at::zeros({size})) {}
  at::Tensor parameters() override { return parameters_; }
  at::Tensor gradient() override { return gradient_; }
  std::vector<std::string> metric_names() const override { return {"loss", "slot"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override {
    if (step == fail_at && slot == fail_slot) throw base::UserError("sample ", slot, " is broken");
    if (step == signal_at && slot == 0) std::raise(SIGUSR1);
    at::Tensor c = at::empty({parameters_.size(0)});
    base::CounterRandom(1, "pull").normal(std::span(c.data_ptr<float>(), c.numel()), static_cast<std::uint64_t>(step * global_batch + slot));
    if (step == nan_at) c.fill_(NAN);
    at::Tensor d = parameters_ - c;
    gradient_.add_(d);
    return {0.5 * d.square().sum().item<double>(), static_cast<double>(slot)};
  }
  std::int64_t fail_at = -1, fail_slot = -1, nan_at = -1, signal_at = -1;

 private:
  at::Tensor parameters_, gradient_;
};

Options options_for(std::int64_t steps, std::int64_t batch) {
  Options o;
  o.steps = steps, o.global_batch = batch, o.learning_rate = 1e-2, o.checkpoint_every = 3, o.hash_check_every = 2, o.clip_norm = 1;
  return o;
}

// Keeps what rank 0 was asked to save.
struct Memory {
  std::optional<Checkpoint> checkpoint;
  std::vector<StepRecord> records;
  StepHooks hooks() {
    return {.load = [this] { return checkpoint; }, .save = [this](const Checkpoint& c) { checkpoint = c; }, .record = [this](const StepRecord& r) { records.push_back(r); }};
  }
};

at::Tensor train(int ranks, std::int64_t steps, std::int64_t batch, Memory& memory) {
  at::Tensor result;
  comm::run_threads(ranks, [&](comm::Communicator& world) {
    Pull pull;
    run_steps("pull", options_for(steps, batch), pull, world, memory.hooks());
    if (world.rank() == world.size() - 1) result = pull.parameters().clone();
  });
  return result;
}

TEST(StepLoop, ReplicasAgreeWithOneRankAndBatchNeedNotDivide) {
  Memory memory;
  const at::Tensor one = train(1, 12, 5, memory);
  for (int ranks : {2, 3, 5}) {
    Memory other;
    const at::Tensor many = train(ranks, 12, 5, other);
    EXPECT_LT(((many - one).abs().max() / one.abs().max()).item<double>(), 1e-5) << ranks << " ranks";
    ASSERT_EQ(other.records.size(), 12u);
    EXPECT_NEAR(other.records[7].metrics.at("loss"), memory.records[7].metrics.at("loss"), 1e-4);
    EXPECT_NEAR(other.records[7].metrics.at("slot"), 2.0, 1e-12);  // mean of 0..4
  }
}

TEST(StepLoop, SameLayoutGivesTheSameBytes) {
  Memory a, b;
  EXPECT_TRUE(at::equal(train(3, 10, 7, a), train(3, 10, 7, b)));
}

TEST(StepLoop, ResumedEqualsUnbrokenToTheBit) {
  Memory whole, halves;
  const at::Tensor unbroken = train(2, 10, 4, whole);
  comm::run_threads(2, [&](comm::Communicator& world) {
    Pull pull;
    pull.fail_at = 7, pull.fail_slot = 1;
    EXPECT_ANY_THROW(run_steps("pull", options_for(10, 4), pull, world, halves.hooks()));
  });
  ASSERT_TRUE(halves.checkpoint.has_value());
  EXPECT_EQ(halves.checkpoint->step, 6);
  EXPECT_TRUE(at::equal(train(2, 10, 4, halves), unbroken));
}

TEST(StepLoop, AFailureOnOneRankReachesAll) {
  std::mutex mutex;
  std::vector<std::string> messages;
  comm::run_threads(3, [&](comm::Communicator& world) {
    Pull pull;
    pull.fail_at = 2, pull.fail_slot = 1;
    try {
      run_steps("pull", options_for(10, 3), pull, world, {});
    } catch (const base::Error& error) {
      const std::lock_guard lock(mutex);
      messages.push_back(error.what());
    }
  });
  ASSERT_EQ(messages.size(), 3u);
  for (const auto& message : messages) EXPECT_NE(message.find("sample 1 is broken"), std::string::npos) << message;
}

TEST(StepLoop, NotFiniteStopsBeforeTheParametersChange) {
  const auto alone = comm::make_local_communicator();
  comm::Communicator& world = *alone;
  Pull pull;
  pull.nan_at = 4;
  Memory memory;
  try {
    run_steps("pull", options_for(10, 1), pull, world, memory.hooks());
    FAIL() << "a NaN went through";
  } catch (const base::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("step 5"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(pull.parameters().isfinite().all().item<bool>());
  EXPECT_EQ(memory.checkpoint->step, 3);
}

TEST(StepLoop, AStopRequestSavesAndAsksToBeStartedAgain) {
  Memory memory, whole;
  const auto alone = comm::make_local_communicator();
  comm::Communicator& world = *alone;
  Pull pull;
  pull.signal_at = 4;
  EXPECT_THROW(run_steps("pull", options_for(10, 1), pull, world, memory.hooks()), base::RequeueRequest);
  StopSignals::clear();
  EXPECT_EQ(memory.checkpoint->step, 5);
  EXPECT_TRUE(at::equal(train(1, 10, 1, memory), train(1, 10, 1, whole)));
}

TEST(StepLoop, RefusesMoreReplicasThanSamplesAndAnotherAdaptersCheckpoint) {
  comm::run_threads(2, [&](comm::Communicator& world) {
    Pull pull;
    EXPECT_THROW(run_steps("pull", options_for(10, 1), pull, world, {}), base::UserError);
  });
  Memory memory;
  train(1, 3, 1, memory);
  const auto alone = comm::make_local_communicator();
  comm::Communicator& world = *alone;
  Pull larger(65);
  EXPECT_THROW(run_steps("pull", options_for(10, 1), larger, world, memory.hooks()), base::UserError);
}

}  // namespace
}  // namespace magicid::training
