// 20 steps of preference training are 7 steps, a stop request, a checkpoint file, and 13 more: to the bit on the same layout, to rounding on another.
#include <gtest/gtest.h>

#include <csignal>

#include "base/errors.h"
#include "base/stop_signals.h"
#include "comm/threads.h"
#include "run_directory/checkpoints.h"
#include "support/small_hpo.h"
#include "support/temporary_folder.h"
#include "training/step_loop.h"

namespace magicid::objectives {
namespace {

using namespace magicid::tests;

// Passes everything on; asks for a stop in step `stop_at`, counted from 1 (0: never).
class Stopping : public training::Objective {
 public:
  Stopping(training::Objective& inner, std::int64_t stop_at, bool sender) : inner_(inner), stop_at_(stop_at), sender_(sender) {}
  at::Tensor parameters() override { return inner_.parameters(); }
  at::Tensor gradient() override { return inner_.gradient(); }
  std::vector<std::string> metric_names() const override { return inner_.metric_names(); }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override {
    if (sender_ && step + 1 == stop_at_ && slot == 0) std::raise(SIGTERM);
    return inner_.accumulate(step, slot, global_batch);
  }

 private:
  training::Objective& inner_;
  std::int64_t stop_at_;
  bool sender_;
};

training::StepHooks files_in(const std::filesystem::path& folder) {
  training::StepHooks hooks;
  hooks.load = [folder]() -> std::optional<training::Checkpoint> {
    auto found = run_directory::latest_intact(folder);
    if (!found) return std::nullopt;
    training::Checkpoint checkpoint{.step = found->step,
                                    .parameters = found->tensors.at("parameters"),
                                    .first_moment = found->tensors.at("first_moment"),
                                    .second_moment = found->tensors.at("second_moment")};
    training::read_position(found->state, checkpoint);
    return checkpoint;
  };
  hooks.save = [folder](training::Checkpoint c) {
    return [folder, c] {
      run_directory::save_checkpoint(folder, c.step, {{"parameters", c.parameters}, {"first_moment", c.first_moment}, {"second_moment", c.second_moment}},
                                     training::position_of(c));
    };
  };
  return hooks;
}

// Trains to step 20, or to a stop request in step `stop_at`, going on from the newest checkpoint in `folder`. Returns the step it began at.
std::int64_t train(const std::filesystem::path& folder, const comm::Mesh& mesh, at::ScalarType dtype, std::int64_t stop_at = 0, std::int64_t noise_draws = 0) {
  std::int64_t first_step = -1;
  const auto work = [&](comm::Communicator& world) {
    auto groups = comm::make_groups(world, mesh);
    parallel::SampleRanks ranks(groups);
    const auto config = small_hpo_config();
    const auto transformer = hv::Transformer::load(config, models::nn::Weights::from_tensors(hv::initialize_transformer(config, 3), "test", {.dtype = dtype}));
    auto policy = small_hpo_adapter(dtype);
    const auto reference = small_hpo_adapter(dtype);
    Hpo hpo(transformer, {policy, &reference}, small_hpo_pairs(dtype), {.beta = 30, .share_dynamic = 0.5, .noise_draws = noise_draws}, {.seed = 1, .shift = 7},
            {.ranks = &ranks});
    Stopping objective(hpo, stop_at, world.rank() == 0);
    training::Options options;
    options.steps = 20, options.global_batch = 2, options.learning_rate = 1e-3, options.warmup_steps = 3, options.schedule = "cosine",
    options.checkpoint_every = 4, options.hash_check_every = 5;
    const auto result = training::run_steps("optimize", options, objective, world, mesh, files_in(folder));
    if (world.rank() == 0) first_step = result.first_step;
  };
  if (stop_at == 0) comm::run_threads(mesh.world_size(), work);
  else EXPECT_THROW(comm::run_threads(mesh.world_size(), work), base::RequeueRequest);
  base::StopSignals::clear();
  return first_step;
}

const std::string last = "checkpoint-000020.h5";

TEST(Resume, SevenAndThirteenStepsAreTwentyToTheBit) {
  for (const auto& mesh : {comm::Mesh({}), comm::Mesh({.replica = 2}), comm::Mesh({.replica = 1, .pair = 1, .sequence = 2}),
                           comm::Mesh({.replica = 1, .pair = 2, .sequence = 1})}) {
    TemporaryFolder whole, parts;
    EXPECT_EQ(train(whole.path(), mesh, at::kFloat), 0);
    train(parts.path(), mesh, at::kFloat, 7);
    EXPECT_EQ(run_directory::latest_intact(parts.path())->step, 7);
    EXPECT_EQ(train(parts.path(), mesh, at::kFloat), 7);
    const auto a = run_directory::load_checkpoint(whole / last), b = run_directory::load_checkpoint(parts / last);
    for (const auto& [name, tensor] : a.tensors) EXPECT_TRUE(at::equal(tensor, b.tensors.at(name))) << mesh.describe() << ": " << name;
    EXPECT_TRUE(read_bytes(whole / last) == read_bytes(parts / last)) << mesh.describe();
    EXPECT_FALSE(at::equal(a.tensors.at("parameters"), run_directory::load_checkpoint(whole / "checkpoint-000016.h5").tensors.at("parameters")));
  }
}

// The errors of the reference that are kept are in no checkpoint: they are computed again.
TEST(Resume, WithFixedDrawsTheSame) {
  for (const auto& mesh : {comm::Mesh({}), comm::Mesh({.replica = 1, .pair = 2, .sequence = 2})}) {
    TemporaryFolder whole, parts, free;
    train(whole.path(), mesh, at::kFloat, 0, 2);
    train(parts.path(), mesh, at::kFloat, 7, 2);
    EXPECT_EQ(train(parts.path(), mesh, at::kFloat, 0, 2), 7);
    EXPECT_TRUE(read_bytes(whole / last) == read_bytes(parts / last)) << mesh.describe();
    train(free.path(), mesh, at::kFloat);
    EXPECT_FALSE(read_bytes(whole / last) == read_bytes(free / last)) << mesh.describe();
  }
}

TEST(Resume, OnAnotherLayoutToRounding) {
  TemporaryFolder whole, seven;
  train(whole.path(), comm::Mesh({}), at::kDouble);
  train(seven.path(), comm::Mesh({}), at::kDouble, 7);
  const auto expected = run_directory::load_checkpoint(whole / last);
  for (const auto& mesh :
       {comm::Mesh({.replica = 2}), comm::Mesh({.replica = 1, .pair = 1, .sequence = 2}), comm::Mesh({.replica = 1, .pair = 2, .sequence = 1})}) {
    TemporaryFolder parts;
    std::filesystem::copy(seven.path(), parts.path(), std::filesystem::copy_options::recursive);
    EXPECT_EQ(train(parts.path(), mesh, at::kDouble), 7);
    const auto found = run_directory::load_checkpoint(parts / last);
    EXPECT_EQ(found.state.at("layout").at("sequence"), mesh.shape().sequence);
    for (const auto& [name, tensor] : expected.tensors) {
      const double difference = ((found.tensors.at(name) - tensor).abs().max() / tensor.abs().max()).item<double>();
      EXPECT_LT(difference, 1e-9) << mesh.describe() << ": " << name;
      ::testing::Test::RecordProperty(mesh.describe() + ", " + name, std::to_string(difference * 1e16));
    }
  }
}

}  // namespace
}  // namespace magicid::objectives
