// The objectives behind the small world's face networks: gradients against finite differences, and losses that fall.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <map>

#include "media/alignment.h"
#include "miniature/world.h"
#include "models/nn/parameters.h"
#include "models/vision/initial_networks.h"
#include "objectives/face_margin.h"
#include "objectives/landmark_regression.h"
#include "support/bfloat16_check.h"

namespace magicid::objectives {
namespace {

namespace vision = models::vision;
using models::nn::Parameters;
using tests::expect_bfloat16_near_float;

const vision::FaceEmbedderConfig tiny{.architecture = "mobilefacenet_112x112", .embedding_size = 16, .shape = {{8, 8, 12, 24}, {1, 1, 1}}};

miniature::Photo photo_of(std::int64_t person, std::int64_t scene, std::int64_t size = 48) {
  return miniature::render_photo(miniature::draw_scene(miniature::make_person(1, miniature::Split::train, person), 1, scene), 0.5, size, size);
}

at::Tensor aligned(const miniature::Photo& photo) {
  media::FaceDetection face;
  face.landmarks.emplace();
  for (std::size_t k = 0; k < 5; ++k)
    (*face.landmarks)[k] = {photo.landmarks[static_cast<std::int64_t>(k)][0].item<double>(), photo.landmarks[static_cast<std::int64_t>(k)][1].item<double>()};
  return media::align_face(photo.image, face) * 2 - 1;
}

FaceBatch faces_of(std::int64_t number, std::int64_t people, std::int64_t count) {
  std::vector<at::Tensor> faces;
  at::Tensor who = at::empty({count}, at::kLong);
  for (std::int64_t i = 0; i < count; ++i) {
    who[i] = i % people;
    faces.push_back(aligned(photo_of(i % people, number * count + i)));
  }
  return {at::stack(faces), who};
}

// Adam without its bias correction's warmup: enough for a few steps.
void descend(training::Objective& objective, std::int64_t steps, double rate, const std::function<void(std::int64_t, const std::vector<double>&)>& each) {
  at::Tensor values = objective.parameters(), gradient = objective.gradient();
  at::Tensor first = at::zeros_like(values), second = at::zeros_like(values);
  for (std::int64_t step = 0; step < steps; ++step) {
    gradient.zero_();
    each(step, objective.accumulate(step, 0, 1));
    const c10::AutoGradMode no_grad(false);
    first = first * 0.9 + gradient * 0.1;
    second = second * 0.99 + gradient.square() * 0.01;
    const double t = static_cast<double>(step + 1);
    values.sub_(rate * (first / (1 - std::pow(0.9, t))) / ((second / (1 - std::pow(0.99, t))).sqrt() + 1e-8));
  }
}

// Central difference of the loss along the gradient of the parts whose name contains `part`.
void expect_gradient(training::Objective& objective, Parameters& parameters, const std::string& part, double h, double tolerance) {
  SCOPED_TRACE(part);
  at::Tensor values = objective.parameters(), gradient = objective.gradient();
  gradient.zero_();
  objective.accumulate(3, 0, 1);
  std::map<std::string, at::Tensor> direction;
  double squares = 0;
  for (const auto& [name, tensor] : parameters.named_tensors())
    if (name.find(part) != std::string::npos) {
      direction[name] = parameters.at(name).grad().clone();
      squares += direction[name].square().sum().item<double>();
    }
  const double norm = std::sqrt(squares);
  ASSERT_GT(norm, 1e-4);
  const auto loss_at = [&](double distance) {
    const at::Tensor before = values.clone();
    {
      const c10::AutoGradMode no_grad(false);
      for (const auto& [name, tensor] : parameters.named_tensors())
        if (direction.contains(name)) tensor.add_(direction[name], distance / norm);
    }
    const double loss = objective.accumulate(3, 0, 1)[0];
    const c10::AutoGradMode no_grad(false);
    values.copy_(before);
    return loss;
  };
  const double numeric = (loss_at(h) - loss_at(-h)) / (2 * h);
  std::printf("%s: gradient %.5f, difference quotient %.5f\n", part.c_str(), norm, numeric);
  EXPECT_NEAR(numeric / norm, 1, tolerance);
}

Parameters face_parameters(std::int64_t people) {
  return Parameters(face_margin_tensors(vision::initial_face_embedder(tiny, 5).tensors, people, tiny.embedding_size, 5), at::kCPU, "test");
}

TEST(FaceMargin, GradientIsTheDifferenceQuotient) {
  auto parameters = face_parameters(4);
  const auto batch = faces_of(0, 4, 8);
  FaceMargin objective(tiny, parameters, at::kFloat, [&](auto, auto, auto) { return batch; }, {.scale = 8, .margin = 0.3});
  for (const char* part : {"classes.weight", "linear.weight", "conv_34.project.bn", "conv_3.model.0.conv_dw.conv", "conv2_dw.prelu"})
    expect_gradient(objective, parameters, part, 1e-3, 0.03);
}

TEST(FaceMargin, Bfloat16IsNearFloat) {
  auto parameters = face_parameters(4);
  const auto batches = [batch = faces_of(0, 4, 8)](auto, auto, auto) { return batch; };
  FaceMargin single(tiny, parameters, at::kFloat, batches, {.scale = 8, .margin = 0.3}),
      half(tiny, parameters, at::kBFloat16, batches, {.scale = 8, .margin = 0.3});
  // A batch of 8 faces through many norms, each with the statistics of that batch: what rounding does grows from one to the next.
  expect_bfloat16_near_float(parameters, single, half, 0.04, 0.35);
}

TEST(FaceMargin, LossIsCrossEntropyOfCosinesLessTheMargin) {
  auto parameters = face_parameters(3);
  const auto batch = faces_of(0, 3, 6);
  const auto loss_with = [&](const FaceMarginLoss& loss, std::int64_t step) {
    return FaceMargin(tiny, parameters, at::kFloat, [&](auto, auto, auto) { return batch; }, loss).accumulate(step, 0, 1);
  };
  // Embeddings from the training network, whose norms see this very batch.
  const auto weights = parameters.weights(at::kFloat);
  weights.ignore("classes.");
  const at::Tensor e = vision::FaceEmbedder::from_weights(weights, tiny, {.training = true}).embed(batch.faces).detach();
  const at::Tensor centres = parameters.named_tensors().at("classes.weight");
  const at::Tensor cosines = at::cosine_similarity(e.unsqueeze(1), centres.unsqueeze(0), 2);
  const auto by_hand = [&](double margin) {
    double sum = 0;
    for (std::int64_t i = 0; i < 6; ++i) {
      at::Tensor logits = cosines[i].clone();
      logits[batch.people[i].item<std::int64_t>()] -= margin;
      sum -= at::log_softmax(logits * 16, 0)[batch.people[i].item<std::int64_t>()].item<double>();
    }
    return sum / 6;
  };
  EXPECT_NEAR(loss_with({.scale = 16, .margin = 0.4}, 0)[0], by_hand(0.4), 1e-3);
  EXPECT_NEAR(loss_with({.scale = 16, .margin = 0.4, .margin_steps = 8}, 2)[0], by_hand(0.1), 1e-3);
  EXPECT_NEAR(loss_with({.scale = 16, .margin = 0.4, .margin_steps = 8}, 20)[0], by_hand(0.4), 1e-3);
}

TEST(FaceMargin, LearnsEightPeople) {
  auto parameters = face_parameters(8);
  FaceMargin objective(tiny, parameters, at::kFloat, [&](std::int64_t step, auto, auto) { return faces_of(step % 5, 8, 16); }, {.scale = 16, .margin = 0.2});
  double first = 0, last = 0;
  descend(objective, 30, 5e-3, [&](std::int64_t step, const std::vector<double>& figures) {
    if (step < 3) first += figures[0] / 3;
    if (step >= 27) last += figures[0] / 3;
  });
  std::printf("loss %.3f -> %.3f\n", first, last);
  EXPECT_LT(last, 0.6 * first);
  // Scenes that training did not show, through the folded network as a file would hold it.
  std::vector<at::Tensor> faces;
  for (std::int64_t i = 0; i < 5; ++i) faces.push_back(faces_of(i, 8, 16).faces);
  const auto tensors = objective.trained(faces);
  EXPECT_FALSE(tensors.contains("classes.weight"));
  const auto embedder = vision::FaceEmbedder::from_weights(models::nn::Weights::from_tensors(tensors, "trained", {}), tiny);
  const auto unseen = faces_of(9, 8, 16);
  const at::Tensor e = embedder(unseen.faces);
  const at::Tensor cosines = at::cosine_similarity(e.unsqueeze(1), e.unsqueeze(0), 2);
  const at::Tensor same = unseen.people.unsqueeze(1).eq(unseen.people.unsqueeze(0)), self = at::eye(16).to(at::kBool);
  const double alike = cosines.masked_select(same & ~self).mean().item<double>(), others = cosines.masked_select(~same).mean().item<double>();
  std::printf("same %.3f different %.3f\n", alike, others);
  EXPECT_GT(alike, others + 0.3);
}

const vision::LandmarkDetectorConfig small_detector{.image_size = 64, .border = 4, .channels = {8, 12, 16}};

// Every fourth picture shows a place without its person: the right edge of the picture, where nobody stands.
LandmarkBatch landmarks_of(std::int64_t number, std::int64_t count) {
  std::vector<at::Tensor> squares;
  LandmarkBatch batch{{}, at::zeros({count}), at::zeros({count, 7, 2})};
  for (std::int64_t i = 0; i < count; ++i) {
    const auto photo = photo_of(i % 8, number * count + i);
    const bool face = i % 4 != 3;
    const auto box = vision::letterbox(face ? photo.image : photo.image.narrow(2, 40, 8), small_detector);
    squares.push_back(box.square);
    batch.faces[i] = face ? 1.0 : 0.0;
    at::Tensor points = at::cat({photo.landmarks, photo.box.view({2, 2})});
    points.select(1, 0).mul_(box.scale_x).add_(box.shift_x);
    points.select(1, 1).mul_(box.scale_y).add_(box.shift_y);
    if (face) batch.points[i].copy_(points);
  }
  batch.squares = at::stack(squares);
  return batch;
}

TEST(LandmarkRegression, GradientIsTheDifferenceQuotient) {
  Parameters parameters(vision::initial_landmark_detector(small_detector, 5).tensors, at::kCPU, "test");
  const auto batch = landmarks_of(0, 8);
  LandmarkRegression objective(small_detector, parameters, at::kFloat, [&](auto, auto, auto) { return batch; });
  for (const char* part : {"score.weight", "heat.weight", "merge2.weight", "lateral4.weight", "down.7.weight", "down.3.weight", "down.0.weight"})
    expect_gradient(objective, parameters, part, 4e-3, 0.03);
}

TEST(LandmarkRegression, Bfloat16IsNearFloat) {
  Parameters parameters(vision::initial_landmark_detector(small_detector, 5).tensors, at::kCPU, "test");
  const auto batches = [batch = landmarks_of(0, 8)](auto, auto, auto) { return batch; };
  LandmarkRegression single(small_detector, parameters, at::kFloat, batches), half(small_detector, parameters, at::kBFloat16, batches);
  expect_bfloat16_near_float(parameters, single, half, 0.01, 0.05);
}

TEST(LandmarkRegression, PicturesWithoutAFaceTeachTheScoreAlone) {
  Parameters parameters(vision::initial_landmark_detector(small_detector, 5).tensors, at::kCPU, "test");
  auto batch = landmarks_of(0, 4);
  batch.faces.zero_();
  LandmarkRegression objective(small_detector, parameters, at::kFloat, [&](auto, auto, auto) { return batch; });
  const auto figures = objective.accumulate(0, 0, 1);
  EXPECT_EQ(figures[2], 0);
  EXPECT_EQ(figures[3], 0);
  EXPECT_EQ(parameters.at("heat.weight").grad().abs().max().item<double>(), 0);
  EXPECT_GT(parameters.at("score.weight").grad().abs().max().item<double>(), 0);
}

TEST(LandmarkRegression, LossFallsOnEightPeople) {
  Parameters parameters(vision::initial_landmark_detector(small_detector, 5).tensors, at::kCPU, "test");
  LandmarkRegression objective(small_detector, parameters, at::kFloat, [&](std::int64_t step, auto, auto) { return landmarks_of(step % 4, 32); });
  std::vector<double> first, last;
  descend(objective, 30, 4e-3, [&](std::int64_t step, const std::vector<double>& figures) { (step == 0 ? first : last) = figures; });
  std::printf("loss %.3f -> %.3f, distance %.2f -> %.2f, score %.3f -> %.3f\n", first[0], last[0], first[3], last[3], first[1], last[1]);
  EXPECT_LT(last[0], 0.6 * first[0]);
  EXPECT_LT(last[3], 0.6 * first[3]);
  EXPECT_LT(last[1], first[1]);
}

}  // namespace
}  // namespace magicid::objectives
