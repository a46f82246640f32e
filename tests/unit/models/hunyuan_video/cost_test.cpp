// The cost model against published sums of the full model, and against what LibTorch executes on small ones: operations by kind, bytes alive.
#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/core/GradMode.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/errors.h"
#include "comm/threads.h"
#include "models/generator/condition.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/cost.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "models/nn/weights.h"
#include "parallel/sequence_attention.h"
#include "support/counting_group.h"
#include "support/small_transformer.h"

namespace magicid::models::hunyuan_video {
namespace {

using generator::AdapterSize;
using generator::Flops;
using generator::Share;
using generator::TokenCounts;
using generator::VideoSize;

double counted_products = 0, counted_attention = 0, counted_convolutions = 0;

std::vector<std::int64_t> shape(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().defined() ? value.toTensor().sizes().vec() : std::vector<std::int64_t>{};
}

double two_times(std::initializer_list<std::int64_t> factors) {
  double result = 2;
  for (const auto factor : factors) result *= static_cast<double>(factor);
  return result;
}

std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& function) {
  const std::string name = function.name();
  const auto in = function.inputs();
  if (name == "aten::mm") {
    const auto a = shape(in[0]), b = shape(in[1]);
    counted_products += two_times({a[0], a[1], b[1]});
  } else if (name == "aten::addmm" || name == "aten::addmm_") {
    const auto a = shape(in[1]), b = shape(in[2]);
    counted_products += two_times({a[0], a[1], b[1]});
  } else if (name == "aten::bmm") {
    const auto a = shape(in[0]), b = shape(in[1]);
    counted_attention += two_times({a[0], a[1], a[2], b[2]});
  } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu") {
    const auto q = shape(in[0]), k = shape(in[1]);
    counted_attention += 2 * two_times({q[0], q[1], q[2], q[3], k[2]});
  } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward") {
    const auto q = shape(in[1]), k = shape(in[2]);
    counted_attention += 5 * two_times({q[0], q[1], q[2], q[3], k[2]});
  } else if (name == "aten::mkldnn_convolution" || name == "aten::slow_conv3d_forward") {
    const auto x = shape(in[0]), w = shape(in[1]);
    const auto stride = in[4].toIntVector();
    double positions = 1;
    for (std::size_t i = 0; i < 3; ++i) positions *= static_cast<double>((x[2 + i] - w[2 + i]) / stride[i] + 1);
    counted_convolutions += positions * two_times({w[0], w[1], w[2], w[3], w[4]});
  }
  return nullptr;
}

struct Counting {
  Counting() {
    counted_products = counted_attention = counted_convolutions = 0;
    handle = at::addGlobalCallback(at::RecordFunctionCallback(count).needsInputs(true).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  }
  ~Counting() { at::removeCallback(handle); }
  at::CallbackHandle handle;
};

// Bytes alive above those at its start, on this thread. What the CPU's attention and matrix products free before they return is left out: scratch whose size
// does not grow with the tokens (1.8 MB in bf16: a quarter of all at these sizes, nothing at a model's).
class PeakBytes : public c10::MemoryReportingInfoBase {
 public:
  PeakBytes() {
    measuring = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(enter, leave).scopes({at::RecordScope::FUNCTION}));
    guard_.emplace(c10::DebugInfoKind::PROFILER_STATE, std::shared_ptr<c10::DebugInfoBase>(this, [](auto*) {}));
  }
  ~PeakBytes() override {
    guard_.reset();
    at::removeCallback(handle_);
    measuring = nullptr;
  }

  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    now += size;
    if (kernels_ == 0) peak = std::max(peak, now);
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::int64_t now = 0, peak = 0;

 private:
  static bool has_scratch(const at::RecordFunction& function) {
    const std::string_view name = function.name();
    return name == "aten::addmm_" || name.starts_with("aten::_scaled_dot_product_flash_attention_for_cpu");
  }
  static std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& function) {
    if (measuring && has_scratch(function)) ++measuring->kernels_;
    return nullptr;
  }
  static void leave(const at::RecordFunction& function, at::ObserverContext*) {
    if (!measuring || !has_scratch(function)) return;
    --measuring->kernels_;
    measuring->peak = std::max(measuring->peak, measuring->now);
  }

  static thread_local PeakBytes* measuring;
  int kernels_ = 0;  // with scratch that run
  at::CallbackHandle handle_ = 0;
  std::optional<c10::DebugInfoGuard> guard_;
};
thread_local PeakBytes* PeakBytes::measuring = nullptr;

TransformerConfig small_config() {
  auto c = tests::small_transformer_config();
  c.attention_head_dim = 32;
  c.rope_axes_dim = {8, 12, 12};
  c.num_layers = 2;
  c.num_single_layers = 3;
  return c;
}

struct Small {
  explicit Small(TransformerConfig c, generator::AdapterOptions options = {.targets = {}, .lora_rank = 5, .alpha = 5}, at::ScalarType dtype = at::kFloat)
      : config(c),
        transformer(Transformer::load(c, nn::Weights::from_tensors(initialize_transformer(c, 1), "test", {.dtype = dtype}))),
        adapter(generator::Adapter::create(adaptable(c), options)) {}
  TransformerInputs inputs(std::int64_t frames, std::int64_t side, std::int64_t text) const {
    TransformerInputs in;
    const auto dtype = transformer.placement().dtype;
    in.hidden_states = at::randn({1, config.in_channels, frames, side, side}).to(dtype);
    in.timestep = at::full({1}, 500.0);
    in.encoder_hidden_states = at::randn({1, text, config.text_embed_dim}).to(dtype);
    in.pooled_projections = at::randn({1, config.pooled_projection_dim}).to(dtype);
    in.guidance = at::full({1}, 1000.0);
    return in;
  }
  TransformerConfig config;
  Transformer transformer;
  generator::Adapter adapter;
};

// One kind for all blocks, and mixtures for models of up to 6: the others' last mode stands for the rest.
std::vector<generator::RecomputePlan> plans() {
  std::vector<generator::RecomputePlan> all{generator::Recompute::none, generator::Recompute::attention_kept, generator::Recompute::full};
  for (const char* text : {"attention_kept:1,none", "full:1,attention_kept:1,none", "none:1,full"}) all.push_back(generator::RecomputePlan::parse(text));
  return all;
}

TEST(TransformerCost, FullModelAgreesWithPublishedSums) {
  const HunyuanVideoCost cost;
  const AdapterSize adapter;
  EXPECT_EQ(cost.parameters(), 12'821'012'544);
  EXPECT_EQ(cost.codec_parameters(), 246'478'803);
  EXPECT_NEAR(cost.weight_bytes(2), 25.64e9, 5e6);
  EXPECT_EQ(cost.adapted_modules(adapter), 240);
  EXPECT_NEAR(static_cast<double>(cost.adapter_parameters(adapter)), 118.0e6, 5e4);

  const TokenCounts tokens = cost.tokens_of({.height = 720, .width = 1280, .frames = 61}, 256);
  EXPECT_EQ(tokens.video, 57'600);
  const Share share = cost.largest_share(tokens, 1);
  const Flops forward = cost.forward_flops(share, nullptr);
  EXPECT_NEAR(forward.linear / 1e15, 0.79, 0.005);
  EXPECT_NEAR(forward.attention / 1e15, 2.47, 0.005);
  EXPECT_NEAR(forward.total() / 1e15, 3.25, 0.01);
  // A pair: reference and policy forwards, the policy's backward, for two videos; the published sum leaves the LoRA's own products out.
  const Flops backward = cost.backward_flops(share, adapter, false);
  EXPECT_NEAR(2 * (2 * forward.total() + backward.linear + backward.attention) / 1e15, 24.5, 0.05);
}

TEST(TransformerCost, OperationsAreThoseThatRun) {
  struct Case {
    std::int64_t doubles, singles, frames, side, text;
    std::vector<std::string> targets;
  };
  for (const Case& c : {Case{2, 3, 2, 6, 7, {}}, Case{0, 2, 1, 4, 3, {}}, Case{2, 1, 3, 4, 5, {"*"}}, Case{2, 2, 1, 6, 4, {"img_attn_qkv", "linear2"}}}) {
    auto config = small_config();
    config.num_layers = c.doubles;
    config.num_single_layers = c.singles;
    Small small(config, {.targets = c.targets, .lora_rank = 5, .alpha = 5});
    const AdapterSize adapter{.lora_rank = 5, .targets = c.targets};
    const auto in = small.inputs(c.frames, c.side, c.text);
    const HunyuanVideoCost cost(config);
    const Share share = cost.largest_share({c.frames * c.side * c.side / 4, c.text}, 1);
    SCOPED_TRACE(c.doubles * 100 + c.singles);
    {
      const c10::AutoGradMode off(false);
      Counting counting;
      small.transformer.forward(in);
      const Flops f = cost.forward_flops(share, nullptr);
      EXPECT_EQ(counted_products, f.linear);
      EXPECT_EQ(counted_attention, f.attention);
    }
    small.adapter.set_requires_grad(true);
    EXPECT_EQ(small.adapter.flat_parameters().numel(), cost.adapter_parameters(adapter));
    const Flops f = cost.forward_flops(share, &adapter), b = cost.backward_flops(share, adapter, true);
    for (const auto& recompute : plans()) {
      Counting counting;
      const at::Tensor out = small.transformer.forward_tokens(in, &small.adapter, generator::local_joint_attention(), recompute);
      EXPECT_EQ(counted_products, f.linear + f.adapter);
      EXPECT_EQ(counted_attention, f.attention);
      out.sum().backward();
      const Flops again = cost.recomputed_flops(share, adapter, recompute);
      EXPECT_EQ(counted_products, f.linear + f.adapter + b.linear + b.adapter + again.linear + again.adapter) << recompute.text();
      EXPECT_EQ(counted_attention, f.attention + b.attention + again.attention) << recompute.text();
    }
  }
}

struct Alive {
  double kept = 0, peak = 0;
};

// Of a forward, and of the backward of its error with `adapter`; null: of a forward without a graph.
Alive alive_in(const Small& small, const TransformerInputs& in, const generator::Adapter* adapter, generator::JointAttention& attention,
               const generator::RecomputePlan& recompute) {
  const c10::AutoGradMode grad(adapter != nullptr);
  PeakBytes bytes;
  at::Tensor out = small.transformer.forward_tokens(in, adapter, attention, recompute);
  if (!adapter) return {.kept = 0, .peak = static_cast<double>(bytes.peak)};
  at::Tensor error = out.to(at::kFloat).square().mean();
  out.reset();
  const auto kept = static_cast<double>(bytes.now);
  error.backward();
  return {.kept = kept, .peak = static_cast<double>(bytes.peak)};
}

// Every mode of one rank's share against the formulas.
void expect_as_predicted(const Small& small, const generator::Adapter& adapter, const TransformerInputs& in, const Share& share, std::int64_t element,
                         generator::JointAttention& attention, const std::string& name) {
  const HunyuanVideoCost cost(small.config);
  const generator::Arithmetic arithmetic{.element = element, .fused_rotation = true};
  const auto report = [&](const std::string& what, double measured, double predicted, double tolerance) {
    std::printf("%s, %s: %6.2f MB, predicted %6.2f, %.3f\n", name.c_str(), what.c_str(), measured / 1e6, predicted / 1e6, measured / predicted);
    EXPECT_NEAR(measured / predicted, 1, tolerance) << name << ", " << what;
  };
  report("forward alone", alive_in(small, in, nullptr, attention, generator::Recompute::none).peak, cost.forward_bytes(share, arithmetic),
         0.06);  // the scratch of bfloat16 products, some 50 kB a thread, is not reckoned
  for (const auto& recompute : plans()) {
    const Alive alive = alive_in(small, in, &adapter, attention, recompute);
    const generator::ActivationBytes predicted = cost.training_bytes(share, {.lora_rank = 5, .targets = {}}, recompute, arithmetic);
    const std::int64_t all = small.config.num_layers + small.config.num_single_layers, again = recompute.recomputed(all);
    // Of the copies that are alive at the peak, one block's is made in the backward.
    const double copies = predicted.copies * static_cast<double>(all - again) / static_cast<double>(all - again + (again > 0));
    report(recompute.text() + " kept", alive.kept, predicted.kept + copies, 0.02);
    report(recompute.text() + " peak", alive.peak, predicted.total(), 0.05);
  }
}

TEST(TransformerCost, ActivationsAreThoseThatAreAlive) {
  for (const auto& [doubles, singles] : {std::pair{2, 4}, std::pair{4, 0}})
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      auto config = small_config();
      config.num_layers = doubles;
      config.num_single_layers = singles;
      Small small(config, {.targets = {}, .lora_rank = 5, .alpha = 5}, dtype);
      small.adapter.set_requires_grad(true);
      expect_as_predicted(small, small.adapter, small.inputs(4, 32, 20), HunyuanVideoCost(config).largest_share({1024, 20}, 1), dtype == at::kFloat ? 4 : 2,
                          generator::local_joint_attention(),
                          std::to_string(doubles) + " double, " + std::to_string(singles) + " single, " + c10::toString(dtype));
    }
}

// Two ranks of a sequence whose heads (1 and 2) and tokens (video 1011 and 1012, text 10 and 11) do not divide.
TEST(TransformerCost, ActivationsOfASharedSequenceAreThoseThatAreAlive) {
  for (const auto& [doubles, singles] : {std::pair{2, 4}, std::pair{4, 0}})
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      auto config = small_config();
      config.num_layers = doubles;
      config.num_single_layers = singles;
      const Small small(config, {.targets = {}, .lora_rank = 5, .alpha = 5}, dtype);
      const auto in = small.inputs(7, 34, 21);
      comm::run_threads(2, [&, doubles = doubles, singles = singles](comm::Communicator& group) {
        parallel::SequenceAttention attention(group);
        generator::Adapter adapter = small.adapter.frozen_copy({});
        adapter.set_requires_grad(true);
        const TokenCounts whole{2023, 21}, local{attention.video_range(whole.video).count, attention.text_range(whole.text).count};
        const Share share{.whole = whole,
                          .local = local,
                          .heads = generator::slice_of(config.num_attention_heads, group.rank(), group.size()).count,
                          .sequence = group.size()};
        expect_as_predicted(small, adapter, in, share, dtype == at::kFloat ? 4 : 2, attention,
                            std::to_string(doubles) + " double, " + std::to_string(singles) + " single, " + c10::toString(dtype) + ", rank " +
                                std::to_string(group.rank()) + " of 2");
      });
    }
}

TEST(AutoencoderCost, OperationsAreThoseThatRun) {
  AutoencoderConfig config;
  config.block_out_channels = {4, 8, 8, 8};
  config.layers_per_block = 1;
  config.norm_num_groups = 2;
  config.latent_channels = 4;
  const auto network = Autoencoder::from_weights(config, nn::Weights::from_tensors(initialize_autoencoder(config, 3), "test", {}));
  const c10::AutoGradMode off(false);
  for (const VideoSize& size : {VideoSize{32, 48, 1}, VideoSize{32, 32, 5}, VideoSize{16, 32, 17}, VideoSize{16, 16, 33}, VideoSize{16, 32, 61}}) {
    SCOPED_TRACE(size.frames);
    {
      Counting counting;
      network.encode(at::randn({1, 3, size.frames, size.height, size.width}));
      EXPECT_EQ(counted_products + counted_attention + counted_convolutions, HunyuanVideoCost({}, config).encode_cost(size, 4).flops);
    }
    Counting counting;
    network.decode(at::randn({1, 4, config.latent_frames(size.frames), size.height / 8, size.width / 8}));
    EXPECT_EQ(counted_products + counted_attention + counted_convolutions, HunyuanVideoCost({}, config).decode_cost(size, 4).flops);
  }
}

TEST(AutoencoderCost, PeakIsAsMeasured) {
  AutoencoderConfig config;
  config.block_out_channels = {16, 32, 32, 32};
  config.layers_per_block = 1;
  config.norm_num_groups = 4;
  const auto network = Autoencoder::from_weights(config, nn::Weights::from_tensors(initialize_autoencoder(config, 3), "test", {}));
  const c10::AutoGradMode off(false);
  const VideoSize size{96, 96, 17};
  const at::Tensor latents = at::randn({1, 16, 5, 12, 12});
  const PeakBytes bytes;
  network.decode(latents);
  const double predicted = HunyuanVideoCost({}, config).decode_cost(size, 4).peak_bytes;
  std::printf("decode: peak %.2f MB (predicted %.2f)\n", bytes.peak / 1e6, predicted / 1e6);
  EXPECT_NEAR(static_cast<double>(bytes.peak) / predicted, 1, 0.08);
}

TEST(TextEncoders, PublishedSum) { EXPECT_NEAR(clip_l_text().parameters() / 123.06e6, 1, 0.002); }

// Bytes that every rank hands to others in forwards and backwards, where neither tokens nor heads divide; of four ranks one has no head.
TEST(Exchanges, AreThoseThatAreMade) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Small small(small_config(), {.targets = {}, .lora_rank = 5, .alpha = 5}, dtype);
    const auto in = small.inputs(1, 6, 5);
    const TokenCounts whole{9, 5};
    const std::int64_t element = dtype == at::kFloat ? 4 : 2;
    for (const int ranks : {2, 3, 4}) {
      SCOPED_TRACE(ranks);
      comm::run_threads(ranks, [&](comm::Communicator& world) {
        tests::CountingGroup group(world);
        parallel::SequenceAttention attention(group);
        generator::Adapter adapter = small.adapter.frozen_copy({});
        adapter.set_requires_grad(true);
        const HunyuanVideoCost cost(small.config);
        const double forward = cost.exchange_bytes(whole, ranks, world.rank(), element);
        for (const auto& recompute : plans()) {
          group.bytes = 0;
          const at::Tensor out = small.transformer.forward_tokens(in, &adapter, attention, recompute);
          EXPECT_EQ(static_cast<double>(group.bytes), forward) << "rank " << world.rank();
          out.to(at::kFloat).sum().backward();
          EXPECT_EQ(static_cast<double>(group.bytes), cost.training_exchange_bytes(whole, ranks, world.rank(), recompute, element))
              << "rank " << world.rank() << ", " << recompute.text();
        }
      });
    }
  }
}

TEST(Exchanges, BytesByHand) {
  const HunyuanVideoCost cost(small_config());  // 5 blocks, 3 heads of 32
  const TokenCounts whole{10, 3};
  EXPECT_EQ(cost.exchange_bytes(whole, 1, 0, 4), 0);
  EXPECT_EQ(cost.training_exchange_bytes(whole, 1, 0, generator::Recompute::full, 4), 0);
  // Two ranks: tokens 5+1 and 5+2, heads 1 and 2.
  EXPECT_EQ(cost.exchange_bytes(whole, 2, 0, 4), 5.0 * 32 * 4 * (3 * 6 * 2 + 7 * 1));
  EXPECT_EQ(cost.exchange_bytes(whole, 2, 1, 4), 5.0 * 32 * 4 * (3 * 7 * 1 + 6 * 2));
  // The full model over 8 ranks: 4 S D 7/8 numbers for each block, shared by 8; in training three times, or twice.
  const HunyuanVideoCost full;
  const double even = 60.0 * 4 * 57856 / 8 * 3072 * 7 / 8 * 2;
  EXPECT_DOUBLE_EQ(full.exchange_bytes({57600, 256}, 8, 3, 2), even);
  EXPECT_DOUBLE_EQ(full.training_exchange_bytes({57600, 256}, 8, 3, generator::Recompute::attention_kept, 2), 3 * even);
  EXPECT_DOUBLE_EQ(full.training_exchange_bytes({57600, 256}, 8, 3, generator::Recompute::none, 2), 2 * even);
}

TEST(Shares, UnevenTokensAndHeads) {
  const HunyuanVideoCost full;
  const Share share = full.largest_share({57600, 256}, 5);
  EXPECT_EQ(share.heads, 5);
  EXPECT_EQ(share.local.all(), 11520 + 52);
  EXPECT_EQ(full.largest_share({57600, 256}, 1).heads, 24);
  EXPECT_EQ(full.largest_share({3, 1}, 32).heads, 1);
}

// The adapter's own rule says which modules are adapted, with wildcards, full names and none listed.
TEST(TransformerCost, AdaptsTheModulesThatTheAdapterDoes) {
  auto config = small_config();
  const HunyuanVideoCost cost(config);
  for (const std::vector<std::string>& targets :
       {std::vector<std::string>{}, {"*"}, {"img_*", "single_blocks.2.linear1"}, {"*mod*", "linear2"}, {"double_blocks.1.*"}}) {
    const auto adapter = generator::Adapter::create(adaptable(config), {.targets = targets, .lora_rank = 3, .alpha = 3});
    const AdapterSize size{.lora_rank = 3, .targets = targets};
    EXPECT_EQ(cost.adapted_modules(size), static_cast<std::int64_t>(adapter.modules().size()));
    EXPECT_EQ(cost.adapter_parameters(size), adapter.flat_parameters().numel());
  }
}

TEST(Tokens, OfASizeAndOfLatentsAgree) {
  const HunyuanVideoCost cost;
  const VideoSize size{.height = 96, .width = 64, .frames = 9};
  const generator::Condition prompt{{{"prompt_embeds", at::zeros({1, 16, 8})}, {"prompt_attention_mask", at::arange(16).lt(5).to(at::kLong).unsqueeze(0)}}};
  const TokenCounts seen = cost.tokens_of(at::zeros({1, 16, 3, 12, 8}), prompt), counted = cost.tokens_of(size, 5);
  EXPECT_EQ(seen.video, 3 * 6 * 4);
  EXPECT_EQ(seen.video, counted.video);
  EXPECT_EQ(seen.text, 5);
  EXPECT_EQ(cost.tokens_of(at::zeros({1, 16, 3, 12, 8}), generator::Condition{{{"prompt_embeds", at::zeros({1, 16, 8})}}}).text, 16);
}

TEST(Tokens, NeighboursOfASizeThatFitsFit) {
  const HunyuanVideoCost cost;
  const VideoSize step = cost.steps_of_size();
  EXPECT_EQ(step, (VideoSize{.height = 16, .width = 16, .frames = 4}));
  const std::int64_t one = cost.tokens_of({.height = 720, .width = 1280, .frames = 61}, 1).video;
  EXPECT_EQ(cost.tokens_of({.height = 720, .width = 1280, .frames = 61 + step.frames}, 1).video, one / 16 * 17);
  EXPECT_THROW(cost.tokens_of({.height = 720 + step.height / 2, .width = 1280, .frames = 61}, 1), base::UserError);
}

// Tiles of 16 frames, 12 apart, do not fit 16 frames to a latent one: no latent frame is left between two tiles.
TEST(AutoencoderCost, CompressionThatTheTilesDoNotFitIsRefused) {
  AutoencoderConfig config;
  config.temporal_compression_ratio = 16;
  EXPECT_THROW(HunyuanVideoCost({}, config), base::UserError);
}

}  // namespace
}  // namespace magicid::models::hunyuan_video
