// Layouts chosen, refusals and their advice, times and bytes that follow from the formulas.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "models/hunyuan_video/cost.h"
#include "planning/networks.h"
#include "planning/plan.h"
#include "preference/pair_order.h"

namespace magicid::planning {
namespace {

using models::hunyuan_video::HunyuanVideoCost;
using testing::HasSubstr;
using testing::Not;

const HunyuanVideoCost kCost;
const Networks kFull{std::make_shared<HunyuanVideoCost>(), "HunyuanVideo"};

Cluster cluster(int nodes, int gpus, const char* device = "h100-80gb") { return {.nodes = nodes, .gpus = gpus, .device = device_named(device)}; }

const Phase& phase(const Plan& plan, const std::string& name) {
  for (const auto& p : plan.phases)
    if (p.name == name) return p;
  throw std::runtime_error("no phase " + name);
}

std::string refusal(const Networks& n, const Workload& w, const Cluster& c, const Wish& wish = {}) {
  try {
    make_plan(n, w, c, {}, wish);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "no refusal";
}

void expect_sound(const Plan& plan, const Cluster& c) {
  EXPECT_EQ(plan.layout.replica * plan.layout.pair * plan.layout.sequence, c.world());
  EXPECT_EQ(c.gpus % plan.layout.sequence, 0) << "a sequence group leaves its node";
  EXPECT_LE(plan.memory(), c.device.memory_bytes);
  for (const auto& p : plan.phases) {
    EXPECT_GT(p.seconds, 0) << p.name;
    EXPECT_GE(p.gpus, 1) << p.name;
    EXPECT_LE(p.gpus, c.world()) << p.name;
  }
}

TEST(Plan, IsTheFastestThatFits) {
  for (const auto& [nodes, gpus] : {std::pair{1, 8}, {8, 8}, {3, 5}, {2, 4}}) {
    SCOPED_TRACE(std::to_string(nodes) + "x" + std::to_string(gpus));
    const Cluster c = cluster(nodes, gpus);
    const Plan plan = make_plan(kFull, {}, c, {});
    expect_sound(plan, c);
    // By brute force over all layouts.
    for (int pair = 1; pair <= 2; ++pair)
      for (int sequence = 1; sequence <= gpus; ++sequence) {
        if (gpus % sequence != 0 || c.world() % (pair * sequence) != 0) continue;
        for (const auto mode : {models::generator::Recompute::none, models::generator::Recompute::attention_kept, models::generator::Recompute::full}) {
          const Plan other = estimate(kFull, {}, c, {}, {c.world() / (pair * sequence), pair, sequence, mode});
          if (other.memory() <= c.device.memory_bytes) {
            EXPECT_GE(other.seconds(), 0.99 * plan.seconds());
          }
        }
      }
  }
}

// With the default efficiencies; a change of the cost model that changes a choice shows here.
TEST(Plan, LayoutsOfTheFullModel) {
  const auto chosen = [](const Cluster& c) {
    const RankLayout l = make_plan(kFull, {}, c, {}).layout;
    return std::to_string(l.replica) + " " + std::to_string(l.pair) + " " + std::to_string(l.sequence) + " " + l.recompute.text();
  };
  EXPECT_EQ(chosen(cluster(1, 1)), "1 1 1 full:24,attention_kept");
  EXPECT_EQ(chosen(cluster(1, 8)), "1 1 8 attention_kept:7,none");
  EXPECT_EQ(chosen(cluster(8, 8)), "8 1 8 attention_kept:7,none");
  EXPECT_EQ(chosen(cluster(3, 5)), "3 1 5 attention_kept:29,none");
}

// One device of some memory between what two kinds need: the first blocks take the leaner one, as few as fit.
TEST(Plan, MixesRecomputationByBlock) {
  const auto with = [](const models::generator::RecomputePlan& recompute) { return estimate(kFull, {}, cluster(1, 1), {}, {1, 1, 1, recompute}); };
  const Plan none = with(models::generator::Recompute::none), kept = with(models::generator::Recompute::attention_kept),
             full = with(models::generator::Recompute::full);
  for (const auto& [lean, other, leaner] : {std::tuple{&kept, &none, "attention_kept"}, {&full, &kept, "full"}}) {
    Cluster c = cluster(1, 1);
    c.device.memory_bytes = 0.4 * lean->memory() + 0.6 * other->memory();
    const Plan plan = make_plan(kFull, {}, c, {});
    const std::string text = plan.layout.recompute.text();
    SCOPED_TRACE(text);
    ASSERT_TRUE(text.starts_with(std::string(leaner) + ":"));
    EXPECT_LE(plan.memory(), c.device.memory_bytes);
    EXPECT_LT(plan.seconds(), lean->seconds());
    EXPECT_GT(plan.seconds(), other->seconds());
    // One block fewer does not fit.
    const auto count = std::stoll(text.substr(text.find(':') + 1));
    EXPECT_GT(
        with(models::generator::RecomputePlan::parse(std::string(leaner) + ":" + std::to_string(count - 1) + "," + other->layout.recompute.text())).memory(),
        c.device.memory_bytes);
    EXPECT_THAT(to_table(plan, kFull, {}, c, {}), HasSubstr("model.recompute=" + text));
  }
  EXPECT_THAT(refusal(kFull, {}, cluster(1, 8), {.pair = {}, .sequence = {}, .recompute = models::generator::RecomputePlan::parse("full:61,none")}),
              HasSubstr("at least 61 blocks, the model has 60"));
}

TEST(Plan, OneDeviceFitsOrIsRefused) {
  const Plan alone = make_plan(kFull, {}, cluster(1, 1, "h200-141gb"), {});
  EXPECT_EQ(alone.layout.sequence, 1);
  EXPECT_NE(alone.layout.recompute, models::generator::Recompute::none);
  EXPECT_THAT(to_table(alone, kFull, {}, cluster(1, 1, "h200-141gb"), {}), HasSubstr("recompute none would need"));

  const std::string text = refusal(kFull, {}, cluster(1, 1, "rtx4090-24gb"));
  EXPECT_THAT(text, HasSubstr("does not fit 1 x 1 rtx4090-24gb"));
  EXPECT_THAT(text, HasSubstr("which has 24.0 GB"));
  EXPECT_THAT(text, HasSubstr("the largest part is"));
  EXPECT_THAT(text, HasSubstr("devices with more memory"));
  EXPECT_THAT(text, Not(HasSubstr("cpu")));
  // The weights alone are too large: no video is small enough and no number of ranks large enough.
  EXPECT_THAT(text, Not(HasSubstr("video.")));
  EXPECT_THAT(text, Not(HasSubstr("nodes of")));
}

TEST(Plan, RemediesTrulyFit) {
  Workload longer;
  longer.video.frames = 241;
  const Cluster small = cluster(1, 1, "a100-40gb");
  const std::string text = refusal(kFull, longer, small);
  EXPECT_THAT(text, HasSubstr("shorter video: video.frames="));
  const auto at = text.find("video.frames=") + 13;
  longer.video.frames = std::stoll(text.substr(at));
  EXPECT_NO_THROW(make_plan(kFull, longer, small, {}));
  longer.video.frames += 4;
  EXPECT_THAT(refusal(kFull, longer, small), HasSubstr("does not fit"));
}

TEST(Plan, FollowsWishes) {
  const Plan plan = make_plan(kFull, {}, cluster(2, 4), {}, {.pair = 2, .sequence = 4, .recompute = models::generator::Recompute::full});
  EXPECT_EQ(plan.layout.replica, 1);
  EXPECT_EQ(plan.layout.pair, 2);
  EXPECT_EQ(plan.layout.sequence, 4);
  EXPECT_EQ(plan.layout.recompute, models::generator::Recompute::full);
  // Across nodes when asked for.
  EXPECT_EQ(make_plan(kFull, {}, cluster(2, 4), {}, {.pair = 1, .sequence = 8, .recompute = {}}).layout.sequence, 8);
  EXPECT_THAT(refusal(kFull, {}, cluster(3, 5), {.pair = 2, .sequence = 5, .recompute = {}}), HasSubstr("mesh.pair"));
  EXPECT_THAT(refusal(kFull, {}, cluster(1, 8), {.pair = 1, .sequence = 3, .recompute = {}}), HasSubstr("mesh.sequence can be 1, 2, 4, 8"));
  EXPECT_THAT(refusal(kFull, {}, cluster(1, 8), {.pair = 1, .sequence = 1, .recompute = models::generator::Recompute::none}),
              HasSubstr("without --pair, --sequence, --recompute it fits"));
}

TEST(Plan, TimesFollowFromTheirParts) {
  Cluster c = cluster(1, 8);
  Workload w;
  const Plan plan = estimate(kFull, w, c, {}, {4, 2, 1, models::generator::Recompute::full});
  const auto share = kCost.largest_share({57'600, 256}, 1);
  const double forward = kCost.forward_flops(share, &w.adapter).total();
  // 120 videos in 8 groups: 15 rounds of 50 steps.
  EXPECT_DOUBLE_EQ(phase(plan, "generate").seconds, 15 * 50 * forward / (989.5e12 * 0.5));
  EXPECT_EQ(phase(plan, "generate").sent_bytes, 0);
  // 625 steps of 8 pairs over 4 replicas, one video a rank: 2 times (reference, policy forward, backward, the blocks' forward again), then the reduction.
  const double one =
      2 * forward + kCost.backward_flops(share, w.adapter, true).total() + kCost.recomputed_flops(share, w.adapter, models::generator::Recompute::full).total();
  const double reduction = 2.0 * 7 / 8 * 4 * static_cast<double>(kCost.adapter_parameters(w.adapter));
  EXPECT_NEAR(phase(plan, "optimize").seconds / (625 * (2 * one / (989.5e12 * 0.45) + reduction / (450e9 * 0.7))), 1, 1e-12);
  EXPECT_NEAR(phase(plan, "optimize").sent_bytes / (625 * reduction), 1, 1e-12);
  EXPECT_NEAR(phase(plan, "optimize").flops / (5000 * 2 * one), 1, 1e-12);
  // Half the efficiency, twice the time.
  Efficiencies slow;
  slow.generation = 0.25;
  EXPECT_DOUBLE_EQ(phase(estimate(kFull, w, c, slow, plan.layout), "generate").seconds, 2 * phase(plan, "generate").seconds);
}

TEST(Plan, PreviewsAreCounted) {
  const Cluster c = cluster(1, 8);
  const RankLayout layout{2, 2, 2, models::generator::Recompute::full};
  Workload w;
  w.preview_videos = 6;
  w.forwards_per_step = 2;
  const Plan none = estimate(kFull, w, c, {}, layout);
  for (const auto& p : none.phases) EXPECT_NE(p.name, "previews");
  for (const std::int64_t every : {100, 125, 1000}) {
    w.preview_every = every;
    const Plan plan = estimate(kFull, w, c, {}, layout);
    const Phase& p = phase(plan, "previews");
    // Of 625 steps: as training/schedule.h says when they are due.
    int times = 0;
    for (int step = 0; step <= 625; ++step) times += step % every == 0 || step == 625;
    EXPECT_THAT(p.work, HasSubstr(std::to_string(times) + " times 6 videos of 50 steps"));
    // Six videos in four groups: two rounds each time, of 50 steps two forwards each. Then what a scored candidate costs, in one round of the eight ranks.
    const Phase &generated = phase(plan, "generate"), &scored = phase(plan, "score");
    EXPECT_NEAR(p.seconds / (times * (2 * generated.seconds / 30 + scored.seconds / 16)), 1, 1e-12);
    EXPECT_NEAR(p.sent_bytes / (2 * times * generated.sent_bytes / 30), 1, 1e-12);
    const double forward = kCost.forward_flops(kCost.largest_share({57'600, 256}, 1), &w.adapter).total();
    EXPECT_NEAR(p.flops / (6 * times * (100 * forward + scored.flops / 124)), 1, 1e-12);
    EXPECT_EQ(p.gpus, 8);
    EXPECT_DOUBLE_EQ(plan.seconds(), none.seconds() + p.seconds);
    EXPECT_DOUBLE_EQ(phase(plan, "optimize").seconds, phase(none, "optimize").seconds);
    // Adapter, optimizer and reward networks stay beside what an evaluated video needs.
    EXPECT_GT(p.memory_total(), phase(plan, "evaluate").memory_total());
  }
  w.preview_every = 100;
  w.preview_videos = 1;
  EXPECT_EQ(phase(estimate(kFull, w, c, {}, layout), "previews").gpus, 2);
}

// 5000 samples of 100 pairs of each kind are 25 rounds.
TEST(Plan, KnownReferencesAreNotComputedAgain) {
  Workload w;
  const auto optimize = [&](int replicas) {
    return phase(estimate(kFull, w, cluster(1, replicas), {}, {replicas, 1, 1, models::generator::Recompute::full}), "optimize");
  };
  const double forward = kCost.forward_flops(kCost.largest_share({57'600, 256}, 1), &w.adapter).total();
  const auto left = [&](int replicas) {
    const std::int64_t draws = w.noise_draws;
    w.noise_draws = 0;
    const double all = optimize(replicas).flops;
    w.noise_draws = draws;
    return 1 - (all - optimize(replicas).flops) / (5000 * 2 * forward);
  };
  const double all_seconds = optimize(1).seconds;
  w.noise_draws = 4;
  // One replica: each of 200 pairs' 4 draws once.
  EXPECT_NEAR(left(1), 800.0 / 5000, 1e-9);
  EXPECT_NEAR((all_seconds - optimize(1).seconds) / (4200 * 2 * forward / (989.5e12 * 0.45)), 1, 1e-9);
  EXPECT_THAT(optimize(1).work, HasSubstr("625 steps of 8 pairs, 16% of the reference's forwards"));
  // Kinds come in turn and slots go to replicas in turn: two replicas have a kind each.
  EXPECT_NEAR(left(2), 800.0 / 5000, 1e-9);
  // Four: a kind has two, each of which computes what it meets. A draw that is shown m times meets 2 (1 - 2^-m) of them; 1 of 4 is shown 7 times, the others 6.
  EXPECT_NEAR(left(4), 200 * 2 * (4 - 1.0 / 128 - 3.0 / 64) / 5000, 0.01);
  // More draws than rounds, and other shares of the kinds: 1250 and 3750 samples, 12.5 and 37.5 rounds.
  w.noise_draws = 25;
  EXPECT_NEAR(left(1), 1, 1e-9);
  w.share_dynamic = 0.75;
  EXPECT_NEAR(left(1), (1250.0 + 2500) / 5000, 1e-9);
  w.noise_draws = 1;
  w.identity_pairs = 0;
  EXPECT_NEAR(left(1), 100.0 / 5000, 1e-9);
}

// Which replica meets a pair when is chance, but the run's own: the order follows from its seed.
TEST(Plan, KnownReferencesFollowTheOrderOfTheRun) {
  Workload w;
  w.pairs_seen = 1200;
  w.noise_draws = 4;
  const RankLayout layout{4, 1, 1, models::generator::Recompute::full};
  const double forward = kCost.forward_flops(kCost.largest_share({57'600, 256}, 1), &w.adapter).total();
  Workload all = w;
  all.noise_draws = 0;
  const double every = phase(estimate(kFull, all, cluster(1, 4), {}, layout), "optimize").flops;
  for (const std::uint64_t seed : {1, 2, 3}) {
    w.seed = seed;
    const preference::PairOrder order(w.identity_pairs, w.dynamic_pairs, w.share_dynamic, seed);
    std::set<std::array<std::int64_t, 3>> computed;  // replica, pair, draw
    for (std::int64_t sample = 0; sample < w.pairs_seen; ++sample) {
      const auto shown = order.at(sample);
      computed.insert({sample % w.optimize_batch % 4, order.number_of(shown), shown.round % 4});
    }
    const double left = 1200 - (every - phase(estimate(kFull, w, cluster(1, 4), {}, layout), "optimize").flops) / (2 * forward);
    EXPECT_NEAR(left, static_cast<double>(computed.size()), 1e-6) << seed;
  }
}

// A step waits for the replica that computes most.
TEST(Plan, ReplicasWaitForUnknownReferences) {
  Workload w;
  w.noise_draws = 4;
  const Cluster c = cluster(1, 8);
  const RankLayout layout{8, 1, 1, models::generator::Recompute::full};
  const Phase some = phase(estimate(kFull, w, c, {}, layout), "optimize");
  w.noise_draws = 0;
  const Phase all = phase(estimate(kFull, w, c, {}, layout), "optimize");
  EXPECT_LT(some.seconds, all.seconds);
  EXPECT_GT(some.seconds / all.seconds, 1.05 * some.flops / all.flops);
}

// rewards/frame_sampling.h: 0 frames to look at are all of them, a short video has no more than its own, and frames for flow are whole steps apart.
TEST(Plan, RewardsLookAtTheFramesThatTheRunLooksAt) {
  const auto operations = [](const Workload& w) {
    return phase(estimate(kFull, w, cluster(1, 1), {}, {1, 1, 1, models::generator::Recompute::full}), "score").flops / 124;
  };
  Workload w;
  const double usual = operations(w);
  w.face_frames = 0;
  EXPECT_NEAR(operations(w) - usual, (61 - 16) * iresnet_flops({3, 13, 30, 3}), 1e-9 * usual);
  w.face_frames = 100;
  EXPECT_NEAR(operations(w) - usual, (61 - 16) * iresnet_flops({3, 13, 30, 3}), 1e-9 * usual);
  w.face_frames = 16;
  w.semantic_frames = 0;
  EXPECT_NEAR(operations(w) - usual, (61 - 16) * clip_l_vision().flops(257), 1e-9 * usual);
  w.semantic_frames = 16;
  // 30 frames a second: every fourth (30 / 8 rounded), 15 pairs of 61 frames; at 24 every third, 20 pairs.
  w.fps = 30;
  EXPECT_NEAR(operations(w) - usual, (15 - 20) * 2 * raft_flops(true, 720, 1280, 20), 1e-9 * usual);
}

TEST(Plan, IdleRanksAreNamed) {
  Workload w;
  w.optimize_batch = 1;
  const Plan plan = make_plan(kFull, w, cluster(8, 8), {});
  const auto& p = phase(plan, "optimize");
  EXPECT_EQ(p.gpus, plan.layout.pair * plan.layout.sequence);
  EXPECT_THAT(plan.advice, testing::Contains(HasSubstr("optimize.global_batch is 1")));
  EXPECT_THAT(plan.advice, testing::Contains(HasSubstr("optimize.global_batch=" + std::to_string(plan.layout.replica))));
}

TEST(Plan, TableAndJsonAgree) {
  const Cluster c = cluster(8, 8);
  const Plan plan = make_plan(kFull, {}, c, {});
  const std::string table = to_table(plan, kFull, {}, c, {});
  const auto json = to_json(plan, kFull, {}, c, {});
  EXPECT_EQ(json["layout"]["sequence"], plan.layout.sequence);
  EXPECT_EQ(json["model"]["adapter_modules"], 240);
  EXPECT_EQ(json["video"]["tokens"], 57'600);
  EXPECT_DOUBLE_EQ(json["seconds"].get<double>(), plan.seconds());
  for (const auto& p : plan.phases) {
    EXPECT_THAT(table, HasSubstr(p.work));
    EXPECT_THAT(table, HasSubstr(time_text(p.seconds)));
  }
  double memory = 0;
  for (const auto& p : json["phases"]) memory = std::max(memory, p["memory_bytes"].get<double>());
  EXPECT_DOUBLE_EQ(memory, plan.memory());
  EXPECT_THAT(table, HasSubstr("mesh.sequence=" + std::to_string(plan.layout.sequence)));
  EXPECT_THAT(table, HasSubstr("12.8 billion parameters"));
}

TEST(RewardNetworks, PublishedAndCountedSums) {
  // insightface's model zoo: 24.2 GFLOPs; torch.utils.flop_counter on torchvision's networks.
  EXPECT_NEAR(iresnet_flops({3, 13, 30, 3}) / 1e9, 24.2, 0.1);
  EXPECT_NEAR(raft_flops(true, 720, 1280, 20) / 2278077235200.0, 1, 1e-4);
  EXPECT_NEAR(raft_flops(true, 520, 960, 12) / 818432409600.0, 1, 1e-4);
  EXPECT_NEAR(raft_flops(false, 720, 1280, 20) / 574853529600.0, 1, 1e-4);
  EXPECT_NEAR(raft_flops(false, 128, 192, 2) / 1843986432.0, 1, 1e-4);
}

TEST(Devices, ByName) {
  EXPECT_EQ(devices().size(), 9u);
  EXPECT_EQ(device_named("h100-80gb").memory_bytes, 80e9);
  try {
    device_named("h100-80g");
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'h100-80gb'"));
  }
}

TEST(Devices, AreFoundByTheNameThatTheDriverGives) {
  ASSERT_NE(device_of_gpu("NVIDIA H100 80GB HBM3"), nullptr);
  EXPECT_EQ(device_of_gpu("NVIDIA H100 80GB HBM3")->name, "h100-80gb");
  EXPECT_EQ(device_of_gpu("NVIDIA GeForce RTX 4090")->peak_flops, device_named("rtx4090-24gb").peak_flops);
  // Slower ones, and those of which nothing is known.
  for (const char* other : {"NVIDIA H100 PCIe", "NVIDIA H200 NVL", "NVIDIA GeForce RTX 4090 D", "Tesla T4", ""})
    EXPECT_EQ(device_of_gpu(other), nullptr) << other;
}

TEST(Text, Units) {
  EXPECT_EQ(bytes_text(25.64e9), "25.6 GB");
  EXPECT_EQ(bytes_text(999), "999.0 B");
  EXPECT_EQ(flops_text(3.256e15), "3.26 PFLOP");
  EXPECT_EQ(time_text(59), "59.0 s");
  EXPECT_EQ(time_text(90), "1.50 min");
  EXPECT_EQ(time_text(3 * 86400), "3.00 days");
}

}  // namespace
}  // namespace magicid::planning
