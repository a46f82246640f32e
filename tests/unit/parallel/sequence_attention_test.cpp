// Attention shared by ranks against one rank's: values, gradients, and the exchanges as each other's adjoints.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <array>
#include <mutex>

#include "base/errors.h"
#include "comm/threads.h"
#include "parallel/sample_ranks.h"
#include "parallel/sequence_attention.h"
#include "support/counting_group.h"

namespace magicid::parallel {
namespace {

using models::generator::slice_of;

at::Tensor wave(at::IntArrayRef shape, double phase) { return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase).reshape(shape); }

double relative(const at::Tensor& a, const at::Tensor& b) { return b.numel() == 0 ? 0 : ((a - b).abs().max() / b.abs().max()).item<double>(); }

TEST(SequenceAttention, SlicesCoverEverythingOnce) {
  for (int parts = 1; parts <= 9; ++parts) {
    for (std::int64_t total : {0, 1, 2, 5, 8, 61}) {
      std::int64_t next = 0;
      for (int part = 0; part < parts; ++part) {
        const auto slice = slice_of(total, part, parts);
        EXPECT_EQ(slice.begin, next);
        EXPECT_GE(slice.count, total / parts);
        EXPECT_LE(slice.count, total / parts + 1);
        next += slice.count;
      }
      EXPECT_EQ(next, total);
    }
  }
}

struct Case {
  std::int64_t batch, heads, video, text;
};

class Shapes : public ::testing::TestWithParam<Case> {};

TEST_P(Shapes, ValuesAndGradientsAreOneRanks) {
  const auto [batch, heads, video, text] = GetParam();
  const std::int64_t tokens = video + text, width = 6;
  std::array<at::Tensor, 3> whole;
  for (int i = 0; i < 3; ++i) whole[static_cast<std::size_t>(i)] = wave({batch, tokens, heads, width}, i).requires_grad_();
  const at::Tensor weight = wave({batch, tokens, heads, width}, 5);
  const at::Tensor expected = models::generator::attention(whole[0], whole[1], whole[2]);
  (expected * weight).sum().backward();

  for (const int ranks : {1, 2, 3, 4}) {
    for (const bool replayed : {false, true}) {
      comm::run_threads(ranks, [&](comm::Communicator& group) {
        SequenceAttention attention(group);
        const auto v = attention.video_range(video), t = attention.text_range(text);
        const auto mine = [&](const at::Tensor& all) {
          return at::cat({all.narrow(1, v.begin, v.count), all.narrow(1, video + t.begin, t.count)}, 1).detach();
        };
        std::array<at::Tensor, 3> local;
        for (std::size_t i = 0; i < 3; ++i) local[i] = mine(whole[i]).requires_grad_();
        const models::generator::TokenCounts counts{.video = video, .text = text};
        models::generator::AttentionTape tape;
        if (replayed) {
          const c10::AutoGradMode no_grad(false);
          const at::Tensor once = attention.attend(local[0], local[1], local[2], counts, &tape);
          EXPECT_LT(relative(once, mine(expected)), 1e-13);
          tape.mode = models::generator::AttentionTape::Mode::replay;
        }
        const at::Tensor out = attention.attend(local[0], local[1], local[2], counts, replayed ? &tape : nullptr);
        ASSERT_EQ(out.sizes(), (std::vector<std::int64_t>{batch, v.count + t.count, heads, width}));
        EXPECT_LT(relative(out, mine(expected)), 1e-13) << ranks << " ranks";
        (out * mine(weight)).sum().backward();
        for (std::size_t i = 0; i < 3; ++i) EXPECT_LT(relative(local[i].grad(), mine(whole[i].grad())), 1e-12) << ranks << " ranks, input " << i;
      });
    }
  }
}

// Heads and tokens that do not divide, fewer of either than ranks, empty shards, several samples.
INSTANTIATE_TEST_SUITE_P(Cases, Shapes,
                         ::testing::Values(Case{1, 4, 64, 8}, Case{1, 5, 61, 7}, Case{2, 3, 10, 1}, Case{3, 1, 7, 2}, Case{1, 2, 2, 1}, Case{2, 5, 3, 5}),
                         [](const auto& info) { return "case" + std::to_string(info.index); });

// <to_heads(x), y> summed over ranks is <x, to_tokens(y)>, and one undoes the other to the bit.
TEST(HeadExchange, TheTwoExchangesAreInverseAndAdjoint) {
  for (const int ranks : {1, 2, 3, 4}) {
    for (const std::int64_t parts : {1, 3}) {
      comm::run_threads(ranks, [&](comm::Communicator& group) {
        HeadExchange exchange{.group = &group, .heads = 5, .tokens = {}};
        std::int64_t all = 0;
        for (int rank = 0; rank < ranks; ++rank) all += exchange.tokens.emplace_back((rank * 3 + 2) % 5);  // 2, 0, 3, 1
        const auto tokens = exchange.tokens[static_cast<std::size_t>(group.rank())];
        std::vector<at::Tensor> x;
        for (std::int64_t i = 0; i < parts; ++i) x.push_back(wave({2, tokens, 5, 4}, 10 * group.rank() + i));
        const at::Tensor packed = exchange.to_heads(x);
        ASSERT_EQ(packed.sizes(), (std::vector<std::int64_t>{all, 2, parts, slice_of(5, group.rank(), ranks).count, 4}));
        const auto back = exchange.to_tokens(packed);
        for (std::size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(at::equal(back[i], x[i]));

        const at::Tensor y = wave(packed.sizes(), 100 + group.rank());
        const auto returned = exchange.to_tokens(y);
        at::Tensor sums = at::zeros({2}, at::kDouble);
        sums[0] = (packed * y).sum();
        for (std::size_t i = 0; i < x.size(); ++i) sums[1] += (x[i] * returned[i]).sum();
        group.all_reduce(sums);
        EXPECT_NEAR(sums[0].item<double>(), sums[1].item<double>(), 1e-11);
      });
    }
  }
}

TEST(SequenceAttention, RefusesTokensThatAreNotItsOwn) {
  comm::run_threads(1, [](comm::Communicator& group) {
    HeadExchange exchange{.group = &group, .heads = 2, .tokens = {3}};
    EXPECT_THROW(exchange.to_heads({wave({1, 4, 2, 4}, 0)}), base::InvariantError);
    EXPECT_THROW(exchange.to_heads({wave({1, 3, 1, 4}, 0)}), base::InvariantError);
  });
}

// Where tokens S and heads H divide by P ranks: (3 + 1) S/P H K numbers of the rank's tokens, (P - 1)/P of them to others, once in each direction.
TEST(SequenceAttention, SendsNoMoreThanTheory) {
  for (const int ranks : {2, 4}) {
    comm::run_threads(ranks, [&](comm::Communicator& world) {
      tests::CountingGroup group(world);
      SequenceAttention attention(group);
      const std::int64_t video = 56, text = 8, heads = 4, width = 6, tokens = (video + text) / ranks;
      std::array<at::Tensor, 3> x;
      for (std::size_t i = 0; i < 3; ++i) x[i] = wave({1, tokens, heads, width}, static_cast<double>(i)).to(at::kFloat).requires_grad_();
      const at::Tensor out = attention.attend(x[0], x[1], x[2], {.video = video, .text = text}, nullptr);
      const std::int64_t theory = 4 * tokens * heads * width * (ranks - 1) / ranks * 4;
      EXPECT_EQ(group.exchanges, 2);
      EXPECT_EQ(group.bytes, theory);
      out.sum().backward();
      EXPECT_EQ(group.exchanges, 4);
      EXPECT_EQ(group.bytes, 2 * theory);
    });
  }
}

TEST(SampleRanks, SumsAreTheSameOnAllRanksOfASample) {
  comm::run_threads(4, [](comm::Communicator& world) {
    auto groups = comm::make_groups(world, comm::Mesh({.replica = 1, .pair = 2, .sequence = 2}));
    SampleRanks ranks(groups);
    EXPECT_TRUE(ranks.computes(groups.here.pair == 0 ? Branch::winner : Branch::loser));
    EXPECT_FALSE(ranks.computes(groups.here.pair == 0 ? Branch::loser : Branch::winner));
    std::array<double, 2> numbers{1.0 + world.rank(), 0.1};
    ranks.sum(numbers);
    EXPECT_EQ(numbers[0], 10.0);
    EXPECT_EQ(numbers[1], (0.1 + 0.1) + (0.1 + 0.1));
    const auto slice = ranks.attention().video_range(7);
    const at::Tensor video = wave({2, 7, 3}, 0);
    EXPECT_TRUE(at::equal(ranks.gather_video(video.narrow(1, slice.begin, slice.count)), video));
  });
  SampleRanks alone;
  EXPECT_TRUE(alone.computes(Branch::winner) && alone.computes(Branch::loser));
  EXPECT_EQ(alone.attention().video_range(5).count, 5);
}

}  // namespace
}  // namespace magicid::parallel
