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

#include "comm/threads.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "models/nn/weights.h"
#include "parallel/sequence_attention.h"
#include "planning/cost.h"
#include "planning/networks.h"
#include "support/counting_group.h"
#include "support/small_transformer.h"

namespace magicid::planning {
namespace {

namespace hv = models::hunyuan_video;

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

hv::TransformerConfig small_config() {
  auto c = tests::small_transformer_config();
  c.attention_head_dim = 32;
  c.rope_axes_dim = {8, 12, 12};
  c.num_layers = 2;
  c.num_single_layers = 3;
  return c;
}

struct Small {
  explicit Small(hv::TransformerConfig c, models::generator::AdapterOptions options = {.targets = {}, .lora_rank = 5, .alpha = 5},
                 at::ScalarType dtype = at::kFloat)
      : config(c),
        transformer(hv::Transformer::load(c, models::nn::Weights::from_tensors(hv::initialize_transformer(c, 1), "test", {.dtype = dtype}))),
        adapter(models::generator::Adapter::create(adaptable(c), options)) {}
  hv::TransformerInputs inputs(std::int64_t frames, std::int64_t side, std::int64_t text) const {
    hv::TransformerInputs in;
    const auto dtype = transformer.placement().dtype;
    in.hidden_states = at::randn({1, config.in_channels, frames, side, side}).to(dtype);
    in.timestep = at::full({1}, 500.0);
    in.encoder_hidden_states = at::randn({1, text, config.text_embed_dim}).to(dtype);
    in.pooled_projections = at::randn({1, config.pooled_projection_dim}).to(dtype);
    in.guidance = at::full({1}, 1000.0);
    return in;
  }
  hv::TransformerConfig config;
  hv::Transformer transformer;
  models::generator::Adapter adapter;
};

// One kind for all blocks, and mixtures for models of up to 6: the others' last mode stands for the rest.
std::vector<models::generator::RecomputePlan> plans() {
  std::vector<models::generator::RecomputePlan> all{models::generator::Recompute::none, models::generator::Recompute::attention_kept,
                                                    models::generator::Recompute::full};
  for (const char* text : {"attention_kept:1,none", "full:1,attention_kept:1,none", "none:1,full"})
    all.push_back(models::generator::RecomputePlan::parse(text));
  return all;
}

TEST(TransformerCost, FullModelAgreesWithPublishedSums) {
  const hv::TransformerConfig config;
  const hv::AutoencoderConfig autoencoder;
  const AdapterSize adapter;
  EXPECT_EQ(transformer_parameters(config), 12'821'012'544);
  EXPECT_EQ(autoencoder_parameters(autoencoder), 246'478'803);
  EXPECT_NEAR(weight_bytes(config, 2), 25.64e9, 5e6);
  EXPECT_EQ(adapted_modules(config, adapter), 240);
  EXPECT_NEAR(static_cast<double>(adapter_parameters(config, adapter)), 118.0e6, 5e4);

  const Tokens tokens = tokens_of(config, autoencoder, {}, 256);
  EXPECT_EQ(tokens.video, 57'600);
  const Share share = largest_share(config, tokens, 1);
  const Flops forward = forward_flops(config, share, nullptr);
  EXPECT_NEAR(forward.linear / 1e15, 0.79, 0.005);
  EXPECT_NEAR(forward.attention / 1e15, 2.47, 0.005);
  EXPECT_NEAR(forward.total() / 1e15, 3.25, 0.01);
  // A pair: reference and policy forwards, the policy's backward, for two videos; the published sum leaves the LoRA's own products out.
  const Flops backward = backward_flops(config, share, adapter, false);
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
    const Share share = largest_share(config, {c.frames * c.side * c.side / 4, c.text}, 1);
    SCOPED_TRACE(c.doubles * 100 + c.singles);
    {
      const c10::AutoGradMode off(false);
      Counting counting;
      small.transformer.forward(in);
      const Flops f = forward_flops(config, share, nullptr);
      EXPECT_EQ(counted_products, f.linear);
      EXPECT_EQ(counted_attention, f.attention);
    }
    small.adapter.set_requires_grad(true);
    EXPECT_EQ(small.adapter.flat_parameters().numel(), adapter_parameters(config, adapter));
    const Flops f = forward_flops(config, share, &adapter), b = backward_flops(config, share, adapter, true);
    for (const auto& recompute : plans()) {
      Counting counting;
      const at::Tensor out = small.transformer.forward_tokens(in, &small.adapter, models::generator::local_joint_attention(), recompute);
      EXPECT_EQ(counted_products, f.linear + f.adapter);
      EXPECT_EQ(counted_attention, f.attention);
      out.sum().backward();
      const Flops again = recomputed_flops(config, share, adapter, recompute);
      EXPECT_EQ(counted_products, f.linear + f.adapter + b.linear + b.adapter + again.linear + again.adapter) << recompute.text();
      EXPECT_EQ(counted_attention, f.attention + b.attention + again.attention) << recompute.text();
    }
  }
}

struct Alive {
  double kept = 0, peak = 0;
};

// Of a forward, and of the backward of its error with `adapter`; null: of a forward without a graph.
Alive alive_in(const Small& small, const hv::TransformerInputs& in, const models::generator::Adapter* adapter, models::generator::JointAttention& attention,
               const models::generator::RecomputePlan& recompute) {
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
void expect_as_predicted(const Small& small, const models::generator::Adapter& adapter, const hv::TransformerInputs& in, const Share& share,
                         std::int64_t element, models::generator::JointAttention& attention, const std::string& name) {
  const auto report = [&](const std::string& what, double measured, double predicted, double tolerance) {
    std::printf("%s, %s: %6.2f MB, predicted %6.2f, %.3f\n", name.c_str(), what.c_str(), measured / 1e6, predicted / 1e6, measured / predicted);
    EXPECT_NEAR(measured / predicted, 1, tolerance) << name << ", " << what;
  };
  report("forward alone", alive_in(small, in, nullptr, attention, models::generator::Recompute::none).peak, forward_bytes(small.config, share, element, true),
         0.06);  // the scratch of bfloat16 products, some 50 kB a thread, is not reckoned
  for (const auto& recompute : plans()) {
    const Alive alive = alive_in(small, in, &adapter, attention, recompute);
    const ActivationBytes predicted = training_bytes(small.config, share, {.lora_rank = 5, .targets = {}}, recompute, element, true);
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
      expect_as_predicted(small, small.adapter, small.inputs(4, 32, 20), largest_share(config, {1024, 20}, 1), dtype == at::kFloat ? 4 : 2,
                          models::generator::local_joint_attention(),
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
        models::generator::Adapter adapter = small.adapter.frozen_copy({});
        adapter.set_requires_grad(true);
        const Tokens whole{2023, 21}, local{attention.video_range(whole.video).count, attention.text_range(whole.text).count};
        const Share share{.whole = whole,
                          .local = local,
                          .heads = parallel::slice_of(config.num_attention_heads, group.rank(), group.size()).count,
                          .sequence = group.size()};
        expect_as_predicted(small, adapter, in, share, dtype == at::kFloat ? 4 : 2, attention,
                            std::to_string(doubles) + " double, " + std::to_string(singles) + " single, " + c10::toString(dtype) + ", rank " +
                                std::to_string(group.rank()) + " of 2");
      });
    }
}

TEST(AutoencoderCost, OperationsAreThoseThatRun) {
  hv::AutoencoderConfig config;
  config.block_out_channels = {4, 8, 8, 8};
  config.layers_per_block = 1;
  config.norm_num_groups = 2;
  config.latent_channels = 4;
  const auto network = hv::Autoencoder::from_weights(config, models::nn::Weights::from_tensors(hv::initialize_autoencoder(config, 3), "test", {}));
  const c10::AutoGradMode off(false);
  for (const VideoSize& size : {VideoSize{1, 32, 48}, VideoSize{5, 32, 32}, VideoSize{17, 16, 32}, VideoSize{33, 16, 16}, VideoSize{61, 16, 32}}) {
    SCOPED_TRACE(size.frames);
    {
      Counting counting;
      network.encode(at::randn({1, 3, size.frames, size.height, size.width}));
      EXPECT_EQ(counted_products + counted_attention + counted_convolutions, encode_cost(config, size, 4).flops);
    }
    Counting counting;
    network.decode(at::randn({1, 4, config.latent_frames(size.frames), size.height / 8, size.width / 8}));
    EXPECT_EQ(counted_products + counted_attention + counted_convolutions, decode_cost(config, size, 4).flops);
  }
}

TEST(AutoencoderCost, PeakIsAsMeasured) {
  hv::AutoencoderConfig config;
  config.block_out_channels = {16, 32, 32, 32};
  config.layers_per_block = 1;
  config.norm_num_groups = 4;
  const auto network = hv::Autoencoder::from_weights(config, models::nn::Weights::from_tensors(hv::initialize_autoencoder(config, 3), "test", {}));
  const c10::AutoGradMode off(false);
  const VideoSize size{17, 96, 96};
  const at::Tensor latents = at::randn({1, 16, 5, 12, 12});
  const PeakBytes bytes;
  network.decode(latents);
  const double predicted = decode_cost(config, size, 4).peak_bytes;
  std::printf("decode: peak %.2f MB (predicted %.2f)\n", bytes.peak / 1e6, predicted / 1e6);
  EXPECT_NEAR(static_cast<double>(bytes.peak) / predicted, 1, 0.08);
}

TEST(OtherNetworks, PublishedAndCountedSums) {
  // insightface's model zoo: 24.2 GFLOPs; torch.utils.flop_counter on torchvision's networks.
  EXPECT_NEAR(iresnet_flops({3, 13, 30, 3}) / 1e9, 24.2, 0.1);
  EXPECT_NEAR(raft_flops(true, 720, 1280, 20) / 2278077235200.0, 1, 1e-4);
  EXPECT_NEAR(raft_flops(true, 520, 960, 12) / 818432409600.0, 1, 1e-4);
  EXPECT_NEAR(raft_flops(false, 720, 1280, 20) / 574853529600.0, 1, 1e-4);
  EXPECT_NEAR(raft_flops(false, 128, 192, 2) / 1843986432.0, 1, 1e-4);
  EXPECT_NEAR(clip_l_text().parameters() / 123.06e6, 1, 0.002);
}

// Bytes that every rank hands to others in forwards and backwards, where neither tokens nor heads divide; of four ranks one has no head.
TEST(Exchanges, AreThoseThatAreMade) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Small small(small_config(), {.targets = {}, .lora_rank = 5, .alpha = 5}, dtype);
    const auto in = small.inputs(1, 6, 5);
    const Tokens whole{9, 5};
    const std::int64_t element = dtype == at::kFloat ? 4 : 2;
    for (const int ranks : {2, 3, 4}) {
      SCOPED_TRACE(ranks);
      comm::run_threads(ranks, [&](comm::Communicator& world) {
        tests::CountingGroup group(world);
        parallel::SequenceAttention attention(group);
        models::generator::Adapter adapter = small.adapter.frozen_copy({});
        adapter.set_requires_grad(true);
        const double forward = exchange_bytes(small.config, whole, ranks, world.rank(), element);
        for (const auto& recompute : plans()) {
          group.bytes = 0;
          const at::Tensor out = small.transformer.forward_tokens(in, &adapter, attention, recompute);
          EXPECT_EQ(static_cast<double>(group.bytes), forward) << "rank " << world.rank();
          out.to(at::kFloat).sum().backward();
          EXPECT_EQ(static_cast<double>(group.bytes), training_exchange_bytes(small.config, whole, ranks, world.rank(), recompute, element))
              << "rank " << world.rank() << ", " << recompute.text();
        }
      });
    }
  }
}

TEST(Exchanges, BytesByHand) {
  const auto config = small_config();  // 5 blocks, 3 heads of 32
  const Tokens whole{10, 3};
  EXPECT_EQ(exchange_bytes(config, whole, 1, 0, 4), 0);
  EXPECT_EQ(training_exchange_bytes(config, whole, 1, 0, models::generator::Recompute::full, 4), 0);
  // Two ranks: tokens 5+1 and 5+2, heads 1 and 2.
  EXPECT_EQ(exchange_bytes(config, whole, 2, 0, 4), 5.0 * 32 * 4 * (3 * 6 * 2 + 7 * 1));
  EXPECT_EQ(exchange_bytes(config, whole, 2, 1, 4), 5.0 * 32 * 4 * (3 * 7 * 1 + 6 * 2));
  // The full model over 8 ranks: 4 S D 7/8 numbers for each block, shared by 8; in training three times, or twice.
  const hv::TransformerConfig full;
  const double even = 60.0 * 4 * 57856 / 8 * 3072 * 7 / 8 * 2;
  EXPECT_DOUBLE_EQ(exchange_bytes(full, {57600, 256}, 8, 3, 2), even);
  EXPECT_DOUBLE_EQ(training_exchange_bytes(full, {57600, 256}, 8, 3, models::generator::Recompute::attention_kept, 2), 3 * even);
  EXPECT_DOUBLE_EQ(training_exchange_bytes(full, {57600, 256}, 8, 3, models::generator::Recompute::none, 2), 2 * even);
}

TEST(Shares, UnevenTokensAndHeads) {
  const hv::TransformerConfig full;
  const Share share = largest_share(full, {57600, 256}, 5);
  EXPECT_EQ(share.heads, 5);
  EXPECT_EQ(share.local.all(), 11520 + 52);
  EXPECT_EQ(largest_share(full, {57600, 256}, 1).heads, 24);
  EXPECT_EQ(largest_share(full, {3, 1}, 32).heads, 1);
}

}  // namespace
}  // namespace magicid::planning
