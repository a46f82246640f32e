#include "training/step_loop.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <mutex>
#include <thread>

#include "base/errors.h"
#include "base/random.h"
#include "base/stop_signals.h"
#include "comm/local.h"
#include "comm/threads.h"

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
  std::function<void(const Checkpoint&)> before_write = [](const Checkpoint&) {};  // on the writing thread
  StepHooks hooks() {
    const auto save = [this](Checkpoint c) {
      return [this, c = std::move(c)] {
        before_write(c);
        checkpoint = c;
      };
    };
    return {.load = [this] { return checkpoint; }, .save = save, .record = [this](const StepRecord& r) { records.push_back(r); }};
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
  base::StopSignals::clear();
  EXPECT_EQ(memory.checkpoint->step, 5);
  EXPECT_TRUE(at::equal(train(1, 10, 1, memory), train(1, 10, 1, whole)));
}

TEST(StepLoop, ACheckpointIsWrittenBesideTheNextStepFromACopy) {
  const auto alone = comm::make_local_communicator();
  std::atomic<std::int64_t> begun = 0;  // steps whose forward has begun
  struct Watched : Pull {
    std::atomic<std::int64_t>& begun;
    explicit Watched(std::atomic<std::int64_t>& b) : begun(b) {}
    std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override {
      begun = step + 1;
      return Pull::accumulate(step, slot, global_batch);
    }
  } watched(begun);
  Memory memory;
  std::vector<Checkpoint> saved;  // not cloned: later steps must not reach them
  memory.before_write = [&](const Checkpoint& c) {
    saved.push_back(c);
    if (c.step == 9) return;  // the last one has no step beside it
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (begun <= c.step && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    EXPECT_GT(begun, c.step) << "the loop waits for the write";
  };
  run_steps("pull", options_for(9, 2), watched, *alone, memory.hooks());
  EXPECT_EQ(memory.checkpoint->step, 9);
  for (const auto& checkpoint : saved) {
    Memory shorter;
    train(1, checkpoint.step, 2, shorter);
    EXPECT_TRUE(at::equal(checkpoint.parameters, shorter.checkpoint->parameters)) << checkpoint.step;
    EXPECT_TRUE(at::equal(checkpoint.second_moment, shorter.checkpoint->second_moment)) << checkpoint.step;
  }
}

TEST(StepLoop, AtMostOneIntervalIsNotDurable) {
  for (const std::int64_t every : {1, 3}) {
    const auto alone = comm::make_local_communicator();
    std::atomic<std::int64_t> durable = 0;
    Memory memory;
    memory.before_write = [&](const Checkpoint& c) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      durable = c.step;
    };
    auto hooks = memory.hooks();
    hooks.record = [&](const StepRecord& r) { EXPECT_GE(durable, r.step - every) << "after update " << r.step; };
    Options options = options_for(10, 1);
    options.checkpoint_every = every;
    Pull pull;
    run_steps("pull", options, pull, *alone, hooks);
    EXPECT_EQ(durable, 10) << "the loop left before its last checkpoint was written";
  }
}

TEST(StepLoop, AFailedWriteEndsTheLoopOnEveryRankBeforeTheNextUpdate) {
  for (const auto& [shape, failing, expected] : {std::tuple<comm::MeshShape, std::int64_t, std::int64_t>{{.replica = 3}, 6, 6},
                                                 {{.replica = 1, .pair = 1, .sequence = 2}, 3, 3},
                                                 {{.replica = 2}, 10, 10}}) {
    const comm::Mesh mesh(shape);
    Memory memory;
    memory.before_write = [failing = failing](const Checkpoint& c) {
      if (c.step == failing) throw base::SystemError("checkpoint of step ", c.step, ": no space");
    };
    std::mutex mutex;
    std::vector<std::string> messages;
    comm::run_threads(mesh.world_size(), [&](comm::Communicator& world) {
      Pull pull;
      try {
        run_steps("pull", options_for(10, 3), pull, world, mesh, memory.hooks());
        ADD_FAILURE() << "rank " << world.rank() << " did not notice";
      } catch (const base::SystemError& error) {
        const std::lock_guard lock(mutex);
        messages.push_back(error.what());
      }
    });
    ASSERT_EQ(messages.size(), static_cast<std::size_t>(mesh.world_size())) << mesh.describe();
    for (const auto& message : messages) EXPECT_NE(message.find(base::concat("checkpoint of step ", failing, ": no space")), std::string::npos) << message;
    EXPECT_EQ(memory.records.back().step, expected) << "a step was made after the failure";
    EXPECT_EQ(memory.checkpoint ? memory.checkpoint->step : 0, failing == 10 ? 9 : failing - 3);
  }
}

TEST(StepLoop, CheckpointsSayWhatTheyAreAndWhichStay) {
  Memory memory;
  std::vector<std::int64_t> saved, kept;
  memory.before_write = [&](const Checkpoint& c) {
    saved.push_back(c.step);
    if (c.keep) kept.push_back(c.step);
    EXPECT_EQ(c.next_sample, 5 * c.step);
    EXPECT_EQ(c.layout, (comm::MeshShape{.replica = 2}));
  };
  comm::run_threads(2, [&](comm::Communicator& world) {
    Pull pull;
    Options options = options_for(10, 5);
    options.keep_checkpoints_every = 4;
    run_steps("pull", options, pull, world, memory.hooks());
  });
  EXPECT_EQ(saved, (std::vector<std::int64_t>{3, 4, 6, 8, 9, 10}));
  EXPECT_EQ(kept, (std::vector<std::int64_t>{4, 8}));
  Checkpoint read;
  read_position(position_of(*memory.checkpoint), read);
  EXPECT_EQ(read.next_sample, 50);
  EXPECT_EQ(read.layout, (comm::MeshShape{.replica = 2}));
  read_position(nlohmann::json::object(), read);
  EXPECT_EQ(read.next_sample, 50);
}

// What one replica has to itself, the others wait for.
TEST(StepLoop, ReplicasBeyondTheBatchChangeNothing) {
  Memory one, three;
  EXPECT_TRUE(at::equal(train(1, 10, 1, one), train(3, 10, 1, three)));
  EXPECT_EQ(one.records.back().metrics.at("loss"), three.records.back().metrics.at("loss"));
}

// Rank 1's parameters change behind the loop's back, after step 4: found before the checkpoint of step 6 is written.
TEST(StepLoop, RanksThatDriftApartLeaveTheCheckpointBefore) {
  Memory memory;
  std::mutex mutex;
  std::vector<std::string> messages;
  comm::run_threads(2, [&](comm::Communicator& world) {
    Pull pull;
    Options options = options_for(10, 2);
    options.hash_check_every = 100;
    StepHooks hooks = memory.hooks();
    hooks.after_step = [&](const StepRecord& done) {
      if (done.step == 4 && world.rank() == 1) pull.parameters()[7] += 1e-6;
    };
    try {
      run_steps("pull", options, pull, world, hooks);
    } catch (const base::PeerError& error) {
      const std::lock_guard lock(mutex);
      messages.push_back(error.what());
    }
  });
  ASSERT_EQ(messages.size(), 2u);
  for (const auto& message : messages) {
    EXPECT_NE(message.find("after pull step 6 differs between ranks"), std::string::npos) << message;
    EXPECT_NE(message.find("rank 1 (node "), std::string::npos) << message;
  }
  EXPECT_EQ(memory.checkpoint->step, 3);
}

TEST(StepLoop, RefusesAnotherAdaptersCheckpoint) {
  Memory memory;
  train(1, 3, 1, memory);
  const auto alone = comm::make_local_communicator();
  comm::Communicator& world = *alone;
  Pull larger(65);
  EXPECT_THROW(run_steps("pull", options_for(10, 1), larger, world, memory.hooks()), base::UserError);
}

}  // namespace
}  // namespace magicid::training
