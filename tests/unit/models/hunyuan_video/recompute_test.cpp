// Recomputation: the bits of plain autograd in every mode, dtype and mix; no attention forward twice; fewer activations alive.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "base/errors.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "support/memory_meter.h"

namespace magicid::models::hunyuan_video {
namespace {

using generator::Adapter;
using generator::attention;
using generator::AttentionTape;
using generator::JointAttention;
using generator::local_joint_attention;
using generator::LocalJointAttention;
using generator::Recompute;
using generator::RecomputePlan;
using generator::run_block;
using generator::TokenCounts;

TransformerConfig small(std::int64_t doubles = 2, std::int64_t singles = 2, std::int64_t head = 16) {
  TransformerConfig c;
  c.in_channels = c.out_channels = 4;
  c.num_attention_heads = 2;
  c.attention_head_dim = head;
  c.num_layers = doubles;
  c.num_single_layers = singles;
  c.num_refiner_layers = 1;
  c.text_embed_dim = 24;
  c.pooled_projection_dim = 12;
  c.rope_axes_dim = {4, head / 2 - 2, head / 2 - 2};
  return c;
}

Transformer make(const TransformerConfig& config, at::ScalarType dtype) {
  return Transformer::load(config, nn::Weights::from_tensors(initialize_transformer(config, 3), "test", {.dtype = dtype}));
}

Adapter make_adapter(const TransformerConfig& config, at::ScalarType dtype, std::vector<std::string> targets = {"*"}) {
  Adapter adapter = Adapter::create(adaptable(config), {.targets = std::move(targets), .lora_rank = 3, .alpha = 3, .seed = 9});
  at::Tensor flat = adapter.flat_parameters();
  flat.add_(at::sin(at::arange(flat.numel(), at::kDouble)).to(at::kFloat), 0.05);
  return adapter.frozen_copy({.dtype = dtype});
}

at::Tensor wave(at::IntArrayRef shape, double phase, at::ScalarType dtype) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase).reshape(shape).to(dtype);
}

// Two samples of unlike text lengths, so that there are two groups, or one sample.
TransformerInputs inputs(std::int64_t batch, at::ScalarType dtype, std::int64_t rows = 4) {
  TransformerInputs in;
  in.hidden_states = wave({batch, 4, 2, rows, 6}, 0.1, dtype);
  in.timestep = wave({batch}, 0.3, dtype) * 200 + 400;
  in.encoder_hidden_states = wave({batch, 6, 24}, 0.5, dtype);
  in.pooled_projections = wave({batch, 12}, 0.7, dtype);
  in.guidance = at::full({batch}, 1000.0, dtype);
  in.encoder_attention_mask = at::ones({batch, 6}, at::kLong);
  in.encoder_attention_mask[0].narrow(0, 4, 2).zero_();
  return in;
}

class CountingAttention : public LocalJointAttention {
 public:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const TokenCounts& whole, AttentionTape* tape) override {
    const bool replay = tape && tape->mode == AttentionTape::Mode::replay;
    EXPECT_TRUE(!replay || !tape->kept.empty());
    ++(replay ? replayed : computed);
    return LocalJointAttention::attend(q, k, v, whole, tape);
  }
  int computed = 0, replayed = 0;
};

struct Result {
  at::Tensor output, gradient, input_gradient;
  int computed, replayed;
};

Result run(const Transformer& transformer, Adapter& adapter, TransformerInputs in, const RecomputePlan& plan, bool input_gradient) {
  adapter.set_requires_grad(true);
  at::Tensor flat = adapter.flat_gradients();
  flat.zero_();
  in.hidden_states = in.hidden_states.detach().clone().set_requires_grad(input_gradient);
  CountingAttention attention;
  const at::Tensor out = transformer.forward_tokens(in, &adapter, attention, plan);
  (out - 0.1).square().mean().backward();
  return {out.detach().clone(), flat.clone(), input_gradient ? in.hidden_states.grad().clone() : at::Tensor(), attention.computed, attention.replayed};
}

constexpr auto kNone = Recompute::none, kKept = Recompute::attention_kept, kFull = Recompute::full;

TEST(Recompute, GivesTheBitsOfPlainAutogradInEveryModeAndMix) {
  std::vector<RecomputePlan> plans = {kKept, kFull};
  for (const char* text : {"none:1,full:1,attention_kept:1,none", "attention_kept:1,none:1,full:1,attention_kept:1", "full:1,attention_kept:1,none:1,full"})
    plans.push_back(RecomputePlan::parse(text));
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Transformer transformer = make(small(), dtype);
    for (const std::int64_t batch : {1, 2}) {
      for (const auto& targets : {std::vector<std::string>{"*"}, {"double_blocks.1.img_attn_proj", "single_blocks.0.linear1"}}) {
        Adapter adapter = make_adapter(small(), dtype == at::kBFloat16 ? at::kFloat : dtype, targets);
        for (const bool input_gradient : {false, true}) {
          const Result plain = run(transformer, adapter, inputs(batch, dtype), {}, input_gradient);
          ASSERT_GT(plain.gradient.abs().min().item<double>() + plain.gradient.abs().max().item<double>(), 0);
          for (const auto& plan : plans) {
            const Result again = run(transformer, adapter, inputs(batch, dtype), plan, input_gradient);
            EXPECT_TRUE(at::equal(again.output, plain.output)) << dtype << " batch " << batch;
            EXPECT_TRUE(at::equal(again.gradient, plain.gradient)) << dtype << " batch " << batch;
            EXPECT_TRUE(!input_gradient || at::equal(again.input_gradient, plain.input_gradient)) << dtype << " batch " << batch;
          }
        }
      }
    }
  }
}

TEST(Recompute, AttentionKeptNeverComputesAnAttentionTwice) {
  const Transformer transformer = make(small(), at::kFloat);
  Adapter adapter = make_adapter(small(), at::kFloat);
  const auto counts = [&](const RecomputePlan& plan) {
    const Result result = run(transformer, adapter, inputs(2, at::kFloat), plan, false);
    return std::pair(result.computed, result.replayed);
  };
  EXPECT_EQ(counts({}), std::pair(8, 0));
  EXPECT_EQ(counts(kFull), std::pair(16, 0));
  EXPECT_EQ(counts(kKept), std::pair(8, 8));
}

// A replay must give what was kept, and not what would come out of its inputs.
TEST(Recompute, ReplayReturnsWhatWasKeptWithItsBackward) {
  const at::Tensor q = wave({1, 5, 2, 8}, 0, at::kDouble), k = wave({1, 5, 2, 8}, 1, at::kDouble), v = wave({1, 5, 2, 8}, 2, at::kDouble);
  AttentionTape tape;
  {
    const c10::AutoGradMode no_grad(false);
    EXPECT_TRUE(at::equal(attention(q, k, v, &tape), attention(q, k, v)));
  }
  ASSERT_GE(tape.kept.size(), 2u);
  EXPECT_EQ(tape.kept[1].sizes(), (std::vector<std::int64_t>{1, 2, 5}));
  tape.mode = AttentionTape::Mode::replay;
  at::Tensor marked = tape.kept[0].clone();
  marked[0][0][0][0] = 7;
  const AttentionTape forged{.mode = AttentionTape::Mode::replay, .backend = tape.backend, .kept = {marked, tape.kept[1]}};
  AttentionTape use = forged;
  EXPECT_EQ(attention(q, k, v, &use)[0][0][0][0].item<double>(), 7);
  EXPECT_THROW(({
                 AttentionTape capture;
                 attention(q, k, v, &capture);
               }),
               base::InvariantError);
}

TEST(Recompute, AParameterChangedBetweenForwardAndBackwardIsNoticed) {
  const Transformer transformer = make(small(), at::kFloat);
  Adapter adapter = make_adapter(small(), at::kFloat);
  adapter.set_requires_grad(true);
  const at::Tensor loss = transformer.forward_tokens(inputs(1, at::kFloat), &adapter, local_joint_attention(), kFull).square().mean();
  {
    const c10::AutoGradMode no_grad(false);
    adapter.leaves()[0].mul_(2);
  }
  EXPECT_THROW(loss.backward(), c10::Error);
}

TEST(Recompute, PlansByText) {
  for (const char* text : {"none", "attention_kept", "full", "full:12,attention_kept:40,none", "none:1,full:3"})
    EXPECT_EQ(RecomputePlan::parse(text).text(), text);
  EXPECT_EQ(RecomputePlan::parse("attention_kept"), RecomputePlan(kKept));
  const auto plan = RecomputePlan::parse("full:2,attention_kept:1,none");
  std::vector<Recompute> modes;
  for (std::size_t i = 0; i < 5; ++i) modes.push_back(plan.of(i));
  EXPECT_EQ(modes, (std::vector{kFull, kFull, kKept, kNone, kNone}));
  EXPECT_EQ(plan.recomputed(5), 3);
  EXPECT_EQ(RecomputePlan().recomputed(5), 0);
  EXPECT_NO_THROW(plan.check(3));
  EXPECT_THROW(plan.check(2), base::UserError);
  const auto counted = RecomputePlan::parse("full:2,none:2");
  EXPECT_NO_THROW(counted.check(4));
  EXPECT_THROW(counted.check(5), base::UserError);
}

TEST(Recompute, TextsThatArePlansOfNothing) {
  const auto problem = [](const char* text) {
    try {
      RecomputePlan::parse(text);
    } catch (const base::UserError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  for (const char* text : {"attention-kept", "", "full,", "full:3,,none", "Full"}) EXPECT_NE(problem(text), "") << text;
  EXPECT_NE(problem("full:2,partly").find("'partly'"), std::string::npos);
  for (const char* text : {"full:0", "full:-1", "full:1.5", "full:x", "full:", "full:99999999999999999999"})
    EXPECT_NE(problem(text).find("is no number of blocks"), std::string::npos) << text;
  EXPECT_NE(problem("full,none").find("'none' comes after it"), std::string::npos);
}

TEST(Recompute, APlanForAnotherModelIsRefused) {
  const Transformer transformer = make(small(), at::kFloat);
  for (const char* text : {"full:1", "full:5,none"})
    EXPECT_THROW(transformer.forward_tokens(inputs(1, at::kFloat), nullptr, local_joint_attention(), RecomputePlan::parse(text)), base::UserError) << text;
}

TEST(Recompute, PeakMemoryFallsByWhatTheModesSay) {
  const TransformerConfig config = small(6, 6, 32);
  const std::int64_t rows = 16, video = 2 * 8 * 3, text = 4, width = config.width();
  std::map<Recompute, std::int64_t> peak;
  {
    tests::MemoryMeter meter;
    const Transformer transformer = make(config, at::kFloat);
    Adapter adapter = make_adapter(config, at::kFloat);
    for (const auto mode : {kNone, kKept, kFull}) {
      const RecomputePlan plan = mode;
      run(transformer, adapter, inputs(1, at::kFloat, rows), plan, false);
      peak[mode] = meter.peak_of([&] { run(transformer, adapter, inputs(1, at::kFloat, rows), plan, false); });
    }
  }
  RecordProperty("none", std::to_string(peak[kNone]));
  RecordProperty("attention_kept", std::to_string(peak[kKept]));
  RecordProperty("full", std::to_string(peak[kFull]));
  // Between the modes lie, for each block but the one at work, the attention's output and log-sum-exp.
  const double a_block = static_cast<double>((video + text) * (width + config.num_attention_heads) * 4);
  const double difference = static_cast<double>(peak[kKept] - peak[kFull]);
  EXPECT_GT(difference, 10 * a_block);
  EXPECT_LT(difference, 13 * a_block);
  EXPECT_LT(peak[kKept], peak[kNone] / 2);
  EXPECT_LT(peak[kFull], peak[kNone] / 3);
}

}  // namespace
}  // namespace magicid::models::hunyuan_video
