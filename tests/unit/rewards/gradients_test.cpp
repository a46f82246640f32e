// R_id and R_sem as functions that autograd follows back to the frames: their gradients against differences, their values against the measures'.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function.h>

#include <cmath>
#include <functional>

#include "media/alignment.h"
#include "models/vision/initial_networks.h"
#include "rewards/features.h"

namespace magicid::rewards {
namespace {

namespace vision = models::vision;
using Value = std::function<double(const at::Tensor&)>;

constexpr std::int64_t kHeight = 56, kWidth = 72;

// In dark pictures it finds no face, in bright ones only inside a border; elsewhere a small tilted one.
class TiltedFace final : public media::FaceDetector {
 public:
  std::vector<media::FaceDetection> detect(const at::Tensor& image) override {
    EXPECT_FALSE(image.requires_grad());
    const auto brightness =
        image.select(0, 0).narrow(0, image.size(1) / 4, image.size(1) / 2).narrow(1, image.size(2) / 4, image.size(2) / 2).mean().item<double>();
    const bool bordered = image.size(2) != kWidth;
    if (brightness < 0.2 || (brightness > 0.6 && !bordered)) return {};
    const double offset = bordered ? 9 : 0;
    const media::Similarity place{0.35, 0.06, 12 + offset, 5 + offset};
    media::FaceDetection face{.box = {14 + offset, 8 + offset, 34, 38}, .landmarks = std::nullopt, .score = 1};
    face.landmarks.emplace();
    for (std::size_t i = 0; i < 5; ++i) (*face.landmarks)[i] = place(media::arcface_template[i]);
    return {face};
  }
  std::string name() const override { return "tilted"; }
};

vision::FaceEmbedder small_face_embedder(at::ScalarType dtype, bool trained = false) {
  vision::FaceEmbedderConfig config{.architecture = "mobilefacenet_112x112", .embedding_size = 16};
  config.shape.channels = {8, 8, 8, 16};
  config.shape.blocks = {1, 1, 1};
  auto tensors = vision::initial_face_embedder(config, 3).tensors;
  if (trained)
    for (auto& [name, tensor] : tensors)
      if (tensor.is_floating_point()) tensor.requires_grad_();
  return vision::FaceEmbedder::from_weights(models::nn::Weights::from_tensors(tensors, "small", {at::kCPU, dtype}), config);
}

std::shared_ptr<const vision::ClipVision> small_clip() {
  const vision::ClipVisionConfig config = vision::tiny_clip_vision();
  return std::make_shared<vision::ClipVision>(
      vision::ClipVision::from_weights(models::nn::Weights::from_tensors(vision::initial_clip_vision(config, 5).tensors, "small", {}), config));
}

at::Tensor unit_rows(std::int64_t rows, std::int64_t width) { return normalise_rows(at::randn({rows, width})); }

// Smooth pictures, so that a resize does not average everything away: of grey, dark (frame 1) and bright (frame 2), none near black or white.
at::Tensor pictures() {
  at::manual_seed(7);
  at::Tensor frames = at::upsample_bicubic2d(at::rand({4, 3, 14, 18}), at::IntArrayRef{kHeight, kWidth}, false).clamp(0, 1) * 0.3;
  const std::vector<double> brightness{0.3, 0.02, 0.6, 0.25};
  for (int f = 0; f < 4; ++f) frames[f] += brightness[static_cast<std::size_t>(f)];
  return frames;
}

// Along the gradient itself, whole and in parts of it, the slope of `value` is the part's norm. (Along random directions it is too small for fp32.)
void expect_gradient(const at::Tensor& gradient, const at::Tensor& frames, const Value& value, double step, double tolerance) {
  std::vector<at::Tensor> parts{at::ones_like(gradient)};
  for (int i = 0; i < 3; ++i) {
    at::Tensor channel = at::zeros_like(gradient), columns = at::zeros_like(gradient);
    channel.select(1, i).fill_(1);
    columns.narrow(3, i * kWidth / 3, kWidth / 3).fill_(1);
    parts.insert(parts.end(), {channel, columns});
  }
  for (std::int64_t f = 0; f < gradient.size(0); ++f) {
    at::Tensor frame = at::zeros_like(gradient);
    frame.select(0, f).fill_(1);
    parts.push_back(frame);
  }
  EXPECT_GT(gradient.norm().item<double>(), 1e-3);
  for (const at::Tensor& part : parts) {
    const at::Tensor along = gradient * part;
    const double slope = along.norm().item<double>();
    if (slope == 0) continue;
    const at::Tensor direction = along / slope;
    const double difference = (value(frames + direction * step) - value(frames - direction * step)) / (2 * step);
    EXPECT_NEAR(difference / slope, 1, tolerance);
  }
}

TEST(RewardGradients, OfIdentityAgreeWithDifferences) {
  const at::Tensor frames = pictures().to(at::kDouble), references = unit_rows(2, 16);
  TiltedFace detector;
  const Models models{.face = face_network(std::make_shared<vision::FaceEmbedder>(small_face_embedder(at::kDouble)))};
  for (const char* aggregation : {"mean", "max", "centroid"}) {
    SCOPED_TRACE(aggregation);
    Options options;
    options.reference_aggregation = aggregation;
    options.batch = 2;
    const at::Tensor tracked = frames.clone().requires_grad_();
    const at::Tensor reward = differentiable_rewards(measure_video(tracked, 8, models, detector, options), references, {}, options).identity;
    const Value value = [&](const at::Tensor& x) {
      return identity_reward(measure_video(x, 8, models, detector, options).faces, references, options.reference_aggregation);
    };
    EXPECT_EQ(reward.item<double>(), value(frames));
    reward.backward();
    const at::Tensor gradient = tracked.grad();
    EXPECT_TRUE(gradient.isfinite().all().item<bool>());
    EXPECT_EQ(gradient[1].abs().max().item<double>(), 0) << "no face there";
    for (const int shown : {0, 2, 3}) EXPECT_GT(gradient[shown].norm().item<double>(), 1e-4) << shown;
    expect_gradient(gradient, frames, value, /*step=*/1e-7, /*tolerance=*/1e-4);
  }
}

// What ClipPreprocessing computes where nothing is rounded or cut, in fp64.
at::Tensor unrounded(const vision::ClipPreprocessing& steps, const at::Tensor& frames) {
  at::Tensor x = frames.to(at::kDouble);
  const std::int64_t shorter = std::min(x.size(2), x.size(3)), height = steps.shortest_edge * x.size(2) / shorter,
                     width = steps.shortest_edge * x.size(3) / shorter;
  x = at::_upsample_bicubic2d_aa(x, {x.size(2), width}, false);
  x = at::_upsample_bicubic2d_aa(x, {height, width}, false);
  x = x.narrow(2, (height - steps.crop_height) / 2, steps.crop_height).narrow(3, (width - steps.crop_width) / 2, steps.crop_width);
  const auto channels = [&](const auto& values) { return at::tensor(at::ArrayRef<double>(values), at::kDouble).view({1, 3, 1, 1}); };
  return (x - channels(steps.mean)) / channels(steps.std);
}

TEST(RewardGradients, OfClipsPreprocessingAreThoseWithoutRounding) {
  const auto clip = small_clip();
  at::Tensor frames = pictures();
  frames[3].fill_(1);
  frames[3].narrow(2, 20, 30).fill_(0);  // edges: the resize overshoots, and is cut at 0 and 255
  const at::Tensor tracked = frames.clone().requires_grad_(), pixels = clip->preprocessing(tracked);
  EXPECT_TRUE(at::equal(pixels, clip->preprocessing(frames))) << "the graph changes values";
  const at::Tensor weights = at::randn(pixels.sizes(), at::kDouble);
  (pixels * weights).sum().backward();
  // A linear function: any step is right.
  const Value value = [&](const at::Tensor& x) { return (unrounded(clip->preprocessing, x) * weights.narrow(0, 0, 3)).sum().item<double>(); };
  expect_gradient(tracked.grad().narrow(0, 0, 3), frames.narrow(0, 0, 3).to(at::kDouble), value, 0.1, 1e-5);
  const at::Tensor smooth = frames.narrow(0, 3, 1).to(at::kDouble).requires_grad_();
  (unrounded(clip->preprocessing, smooth) * weights.narrow(0, 3, 1)).sum().backward();
  EXPECT_LT(tracked.grad()[3].norm().item<double>(), 0.95 * smooth.grad().norm().item<double>()) << "levels that are cut have no gradient";
}

TEST(RewardGradients, OfSemanticsAgreeWithDifferences) {
  const auto clip = small_clip();
  const at::Tensor frames = pictures(), text = at::randn({clip->config.projection_dim});
  const Models models{.image = image_network(clip)};
  // Pictures as the network is given them, but for the rounding to 8 bits, through which differences of small steps do not pass.
  const Models smooth{.image = [&](const at::Tensor& x) { return (*clip)(unrounded(clip->preprocessing, x)); }};
  TiltedFace detector;
  for (const char* input : {"frames", "grid"}) {
    SCOPED_TRACE(input);
    Options options;
    options.semantic_input = input;
    options.semantic_grid = 2;
    options.batch = 3;
    const at::Tensor tracked = frames.clone().requires_grad_();
    const at::Tensor reward = differentiable_rewards(measure_video(tracked, 8, models, detector, options), {}, text, options).semantics;
    EXPECT_EQ(reward.item<double>(), semantic_reward(measure_video(frames, 8, models, detector, options).semantics, text));
    reward.backward();
    const Value value = [&](const at::Tensor& x) { return semantic_reward(measure_video(x, 8, smooth, detector, options).semantics, text); };
    // The gradient is taken at rounded levels, up to half a level of 255 away from where differences are: a few percent of it. The network computes in fp32, a
    // value is exact to about 1e-7, and a difference of a hundredth to 1e-5.
    expect_gradient(tracked.grad(), frames, value, /*step=*/0.05, /*tolerance=*/0.05);
  }
}

TEST(RewardGradients, ThereIsNoGraphWhereNobodyAsksForOne) {
  const at::Tensor frames = pictures();
  TiltedFace detector;
  const auto trained = std::make_shared<vision::FaceEmbedder>(small_face_embedder(at::kFloat, /*trained=*/true));
  const Models models{.face = face_network(trained), .image = image_network(small_clip())};
  const auto needs_gradient = [&](const at::Tensor& x) {
    const VideoFeatures features = measure_video(x, 8, models, detector, {});
    return std::pair(features.faces.embeddings.requires_grad(), features.semantics.requires_grad());
  };
  EXPECT_EQ(needs_gradient(frames), std::pair(false, false)) << "a network's parameters alone";
  const at::Tensor tracked = frames.clone().requires_grad_();
  EXPECT_EQ(needs_gradient(tracked), std::pair(true, true));
  const at::NoGradGuard no_grad;
  EXPECT_EQ(needs_gradient(tracked), std::pair(false, false));
}

TEST(RewardGradients, MotionHasNoneAndCostsNoGraph) {
  const Models models{.flow = [](const at::Tensor& first, const at::Tensor& second) {
    EXPECT_FALSE(first.requires_grad());
    return (second - first).narrow(1, 0, 2) * 10;
  }};
  TiltedFace detector;
  Options options;
  options.dynamics = "flow";
  EXPECT_GT(measure_video(pictures().requires_grad_(), 8, models, detector, options).dynamics.reward, 0);
}

TEST(RewardGradients, ARowOfZerosHasAFiniteOne) {
  const at::Tensor rows = at::zeros({2, 3}).requires_grad_();
  normalise_rows(rows).sum().backward();
  EXPECT_TRUE(rows.grad().isfinite().all().item<bool>());
}

}  // namespace
}  // namespace magicid::rewards
