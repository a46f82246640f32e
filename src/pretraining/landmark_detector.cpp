// The small world's face detector: box and landmarks of the one person in a picture, and no face where there is none.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "base/errors.h"
#include "base/random.h"
#include "media/image.h"
#include "models/vision/initial_networks.h"
#include "models/vision/landmark_detector.h"
#include "objectives/landmark_regression.h"
#include "pretraining/face_crops.h"
#include "pretraining/network.h"
#include "pretraining/network_folder.h"
#include "rewards/landmark_faces.h"

namespace magicid::pretraining {
namespace {

namespace vision = models::vision;

constexpr std::int64_t enlarged = 4;  // times: the pictures that show what is found

// A picture, and the seven points of its face in pixel indices.
struct Sample {
  at::Tensor picture;                    // [3,H,W] in 0..1
  std::array<media::Point, 7> points{};  // landmarks, then the box's corners; meaningless without a face
  bool face = false;
};

std::array<media::Point, 7> points_of(const miniature::Photo& photo) {
  std::array<media::Point, 7> points;
  const auto landmarks = photo.landmarks.accessor<float, 2>();
  const auto box = photo.box.accessor<float, 1>();
  for (int k = 0; k < 5; ++k) points[static_cast<std::size_t>(k)] = {landmarks[k][0], landmarks[k][1]};
  points[5] = {box[0], box[1]}, points[6] = {box[2], box[3]};
  return points;
}

// Rows top.. and columns left.. of a picture; what lies outside of it is `filling`.
at::Tensor window(const at::Tensor& picture, std::int64_t left, std::int64_t top, std::int64_t width, std::int64_t height, double filling) {
  at::Tensor out = at::full({3, height, width}, filling, picture.options());
  const std::int64_t x0 = std::max<std::int64_t>(left, 0), y0 = std::max<std::int64_t>(top, 0), x1 = std::min(left + width, picture.size(2)),
                     y1 = std::min(top + height, picture.size(1));
  if (x1 > x0 && y1 > y0) out.narrow(1, y0 - top, y1 - y0).narrow(2, x0 - left, x1 - x0).copy_(picture.narrow(1, y0, y1 - y0).narrow(2, x0, x1 - x0));
  return out;
}

at::Tensor normal_picture(std::int64_t height, std::int64_t width, miniature::Dice& dice) {
  at::Tensor noise = at::empty({3, height, width}, at::kFloat);
  base::CounterRandom(dice.bits(), "noise-picture").normal(std::span<float>(noise.data_ptr<float>(), static_cast<std::size_t>(noise.numel())), 0);
  return noise;
}

// Noise at any scale from single pixels to a smooth gradient.
at::Tensor noise_picture(std::int64_t side, miniature::Dice& dice) {
  const std::int64_t cells = 2 + dice.below(static_cast<int>(side - 1));
  const at::Tensor coarse = normal_picture(cells, cells, dice) * dice.uniform(0.05, 0.4) + dice.uniform(0.2, 0.8);
  return at::upsample_bilinear2d(coarse.unsqueeze(0), {side, side}, /*align_corners=*/false)[0].clamp(0, 1);
}

struct Extent {
  std::int64_t left, top, width, height;
};

// Where the box [first, last] of a face lies, `by` times as large, in whole pixels.
Extent around(const std::array<media::Point, 7>& points, double by) {
  const double cx = (points[5].x + points[6].x) / 2, cy = (points[5].y + points[6].y) / 2, w = by * (points[6].x - points[5].x),
               h = by * (points[6].y - points[5].y);
  return {std::llround(cx - w / 2), std::llround(cy - h / 2), std::max<std::int64_t>(1, std::llround(w)), std::max<std::int64_t>(1, std::llround(h))};
}

// A window that shows the whole face box, or a picture that has shrunk inside a border: what photos cut by hand and retries with a border look like.
Sample reframed(const Sample& sample, miniature::Dice& dice) {
  const auto height = static_cast<double>(sample.picture.size(1)), width = static_cast<double>(sample.picture.size(2));
  const auto face = around(sample.points, 1.15);
  const double least = std::max(static_cast<double>(face.width) / width, static_cast<double>(face.height) / height) * 1.1;
  const double share = dice.uniform(std::min(std::max(least, 0.5), 1.3), 1.4), stretch = dice.uniform(0.85, 1.18);
  const auto w = std::max<std::int64_t>(face.width, std::llround(width * share * stretch)),
             h = std::max<std::int64_t>(face.height, std::llround(height * share / stretch));
  const auto place = [&](std::int64_t at, std::int64_t length, std::int64_t room) {
    return at + length - room + static_cast<std::int64_t>(std::floor(dice.uniform() * static_cast<double>(room - length + 1)));
  };
  const std::int64_t left = place(face.left, face.width, w), top = place(face.top, face.height, h);
  Sample out = sample;
  out.picture = window(sample.picture, left, top, w, h, dice.chance(0.5) ? 0.5 : dice.uniform());
  for (auto& point : out.points) point.x -= static_cast<double>(left), point.y -= static_cast<double>(top);
  return out;
}

// The scene without its face: what stands beside the person, or the face covered by another part of the picture or by one colour.
Sample faceless(const Sample& sample, miniature::Dice& dice) {
  const at::Tensor& picture = sample.picture;
  const std::int64_t height = picture.size(1), width = picture.size(2);
  const auto face = around(sample.points, 1.3);
  Sample out;
  const bool left_side = face.left > width - (face.left + face.width);
  const std::int64_t room = left_side ? face.left : width - (face.left + face.width);
  if (room >= width / 5 && dice.chance(0.5)) {
    const std::int64_t h = std::min(height, room + dice.below(static_cast<int>(room) + 1));
    out.picture = window(picture, left_side ? 0 : width - room, dice.below(static_cast<int>(height - h) + 1), room, h, 0.5);
    return out;
  }
  out.picture = picture.clone();
  const Extent cover = around(sample.points, dice.uniform(1.15, 1.6));
  const std::int64_t x0 = std::clamp<std::int64_t>(cover.left, 0, width - 1), y0 = std::clamp<std::int64_t>(cover.top, 0, height - 1);
  const std::int64_t w = std::min(cover.left + cover.width, width) - x0, h = std::min(cover.top + cover.height, height) - y0;
  if (w < 1 || h < 1) return out;  // the face lies outside
  at::Tensor covered = out.picture.narrow(1, y0, h).narrow(2, x0, w);
  if (dice.chance(0.5)) {
    for (int c = 0; c < 3; ++c) covered[c].fill_(dice.uniform());
  } else {
    // Another part, stretched over it, so that its edges do not give it away each time.
    const at::Tensor part = left_side ? window(picture, 0, 0, std::max<std::int64_t>(face.left, 2), height, 0.5)
                                      : window(picture, width - std::max<std::int64_t>(room, 2), 0, std::max<std::int64_t>(room, 2), height, 0.5);
    covered.copy_(at::upsample_bilinear2d(part.unsqueeze(0), {h, w}, /*align_corners=*/false)[0]);
  }
  return out;
}

class LandmarkDetectorNetwork : public Network {
 public:
  LandmarkDetectorNetwork(const Context& context, const LandmarkDetectorOptions& options)
      : context_(context),
        options_(options),
        parameters_(vision::initial_landmark_detector(config_, context.seed).tensors, context.placement.device, "landmark detector"),
        objective_(config_, parameters_, context.placement.dtype,
                   [this](auto step, auto slot, auto global) { return batch(static_cast<std::uint64_t>(step * global + slot)); }) {}

  training::Objective& objective() override { return objective_; }

  std::map<std::string, double> validate() override {
    const auto detector = present_detector();
    const double pixels = 48.0 / static_cast<double>(std::max(context_.world.height, context_.world.width));
    Tally photos, frames, degraded;
    double false_alarms = 0, faceless_pictures = 0;
    for (std::int64_t i = 0; i < 4 * context_.world.test_people; ++i) {
      const auto scene = validation_scene(i);
      const auto number = static_cast<std::uint64_t>(i);
      const auto photo = validation_photo(i);
      const auto points = points_of(photo);
      miniature::Dice dice(context_.seed, "landmark-validation-picture", number);
      photos.add(detector->detect(photo.image), points, pixels);
      degraded.add(detector->detect(as_received(photo.image, dice)), points, pixels);
      const at::Tensor without = i % 4 == 3 ? noise_picture(context_.world.height, dice) : faceless({photo.image, points, true}, dice).picture;
      false_alarms += detector->detect(without).empty() ? 0 : 1;
      faceless_pictures += 1;
      if (i % 16 != 0) continue;
      const auto clip = miniature::render(scene, context_.clip_size(), /*with_flow=*/false);
      for (std::int64_t f = 0; f < clip.frames.size(0); ++f)
        frames.add(detector->detect(clip.frames[f]), points_of({clip.frames[f], clip.landmarks[f], clip.boxes[f]}), pixels);
    }
    return {{"found", photos.found()},
            {"error", photos.error()},
            {"box_overlap", photos.overlap()},
            {"found_in_clips", frames.found()},
            {"error_in_clips", frames.error()},
            {"found_degraded", degraded.found()},
            {"error_degraded", degraded.error()},
            {"false_alarms", false_alarms / faceless_pictures}};
  }

  // Photos of unseen people, four times as large, with the true points as green squares and the found ones as smaller red ones over them: the landmarks, and
  // the corners of the box.
  void write_samples(const std::filesystem::path& folder) override {
    constexpr std::array<double, 3> green{0, 1, 0}, red{1, 0, 0};
    const auto detector = present_detector();
    std::vector<at::Tensor> rows;
    for (std::int64_t r = 0; r < 4; ++r) {
      std::vector<at::Tensor> row;
      for (std::int64_t i = 8 * r; i < 8 * r + 8; ++i) {
        const auto photo = validation_photo(i);
        at::Tensor shown = at::upsample_nearest2d(photo.image.unsqueeze(0), {enlarged * photo.image.size(1), enlarged * photo.image.size(2)})[0];
        for (const auto& point : points_of(photo)) mark(shown, point, 2, green);
        if (const auto faces = detector->detect(photo.image); !faces.empty()) {
          const auto& box = faces[0].box;
          for (const auto& point : *faces[0].landmarks) mark(shown, point, 1, red);
          // Its edges are pixels' edges, points are pixels' middles.
          mark(shown, {box.x - 0.5, box.y - 0.5}, 1, red);
          mark(shown, {box.x + box.width - 0.5, box.y + box.height - 0.5}, 1, red);
        }
        row.push_back(shown);
      }
      rows.push_back(at::cat(row, 2));
    }
    media::write_png(folder / "faces.png", at::cat(rows, 1));
  }

  void write() override { write_half(context_.model / "rewards" / "landmarks", config_.to_json(), parameters_.named_tensors()); }

 private:
  std::unique_ptr<media::FaceDetector> present_detector() const {
    const auto network = std::make_shared<vision::LandmarkDetector>(vision::LandmarkDetector::from_weights(
        models::nn::Weights::from_tensors(parameters_.named_tensors(), "landmark detector", {context_.placement.device, at::kFloat}), config_));
    return rewards::landmark_face_detector(network, media::score_threshold_of({.kind = "landmarks"}));
  }

  miniature::Scene validation_scene(std::int64_t i) const {
    return miniature::draw_scene(context_.person(miniature::Split::test, i % context_.world.test_people), context_.seed, i);
  }

  miniature::Photo validation_photo(std::int64_t i) const {
    const double time = base::CounterRandom(context_.seed, "landmark-validation").uniform(static_cast<std::uint64_t>(i), 0);
    return miniature::render_photo(validation_scene(i), time, context_.world.height, context_.world.width);
  }

  // A square of 2 reach + 1 pixels around `point`, pixels of the photo, in a picture that is enlarged; what lies outside is cut off.
  static void mark(at::Tensor& shown, const media::Point& point, std::int64_t reach, const std::array<double, 3>& colour) {
    const auto first = [&](double at) { return static_cast<std::int64_t>(std::floor((at + 0.5) * static_cast<double>(enlarged))) - reach; };
    const std::int64_t x0 = std::max<std::int64_t>(first(point.x), 0), y0 = std::max<std::int64_t>(first(point.y), 0);
    const std::int64_t x1 = std::min(first(point.x) + 2 * reach + 1, shown.size(2)), y1 = std::min(first(point.y) + 2 * reach + 1, shown.size(1));
    if (x1 <= x0 || y1 <= y0) return;
    for (std::int64_t c = 0; c < 3; ++c) shown[c].narrow(0, y0, y1 - y0).narrow(1, x0, x1 - x0).fill_(colour[static_cast<std::size_t>(c)]);
  }

  // Detections against the truth. Errors in pixels of a 48-pixel picture.
  class Tally {
   public:
    void add(const std::vector<media::FaceDetection>& faces, const std::array<media::Point, 7>& points, double pixels) {
      pictures_ += 1;
      if (faces.empty()) return;
      found_ += 1;
      for (std::size_t k = 0; k < 5; ++k) error_ += pixels * std::hypot((*faces[0].landmarks)[k].x - points[k].x, (*faces[0].landmarks)[k].y - points[k].y) / 5;
      const auto& box = faces[0].box;
      const double left = points[5].x + 0.5, top = points[5].y + 0.5, right = points[6].x + 0.5, bottom = points[6].y + 0.5;
      const double common = std::max(0.0, std::min(right, box.x + box.width) - std::max(left, box.x)) *
                            std::max(0.0, std::min(bottom, box.y + box.height) - std::max(top, box.y));
      overlap_ += common / ((right - left) * (bottom - top) + box.area() - common);
    }
    double found() const { return found_ / std::max(pictures_, 1.0); }
    double error() const { return error_ / std::max(found_, 1.0); }
    double overlap() const { return overlap_ / std::max(found_, 1.0); }

   private:
    double pictures_ = 0, found_ = 0, error_ = 0, overlap_ = 0;
  };

  Sample sample(std::uint64_t index) const {
    miniature::Dice dice(context_.seed, "landmark-detector-picture", index);
    const auto scene = miniature::draw_scene(context_.person(miniature::Split::train, dice.below(static_cast<int>(context_.world.train_people))), context_.seed,
                                             static_cast<std::int64_t>(index));
    const double scale = dice.chance(0.5) ? 1.0 : dice.uniform(1, 2);
    const auto sized = [&](std::int64_t size) { return static_cast<std::int64_t>(std::llround(scale * static_cast<double>(size))); };
    const double kind = dice.uniform();
    Sample out;
    if (kind < 0.04) {
      out.picture = noise_picture(context_.world.height, dice);
      return out;
    }
    const auto photo = miniature::render_photo(scene, dice.uniform(), sized(context_.world.height), sized(context_.world.width));
    out = {photo.image, points_of(photo), true};
    const auto& nose = out.points[2];
    // Someone who has left the picture is nobody to be found.
    out.face = nose.x > 0 && nose.y > 0 && nose.x < static_cast<double>(photo.image.size(2)) - 1 && nose.y < static_cast<double>(photo.image.size(1)) - 1;
    if (!out.face) return out;
    if (kind < 0.3) out = faceless(out, dice);
    else if (kind < 0.7) out = reframed(out, dice);
    out.picture = as_received(out.picture, dice);
    return out;
  }

  objectives::LandmarkBatch batch(std::uint64_t number) const {
    const std::int64_t size = options_.batch;
    std::vector<at::Tensor> squares;
    at::Tensor faces = at::zeros({size}), points = at::zeros({size, 7, 2});
    auto is_face = faces.accessor<float, 1>();
    auto at_square = points.accessor<float, 3>();
    for (std::int64_t i = 0; i < size; ++i) {
      const Sample one = sample(number * static_cast<std::uint64_t>(size) + static_cast<std::uint64_t>(i));
      const auto letterbox = vision::letterbox(one.picture, config_);
      squares.push_back(letterbox.square);
      is_face[i] = one.face ? 1 : 0;
      for (int k = 0; k < 7; ++k) {
        const auto& point = one.points[static_cast<std::size_t>(k)];
        at_square[i][k][0] = static_cast<float>(point.x * letterbox.scale_x + letterbox.shift_x);
        at_square[i][k][1] = static_cast<float>(point.y * letterbox.scale_y + letterbox.shift_y);
      }
    }
    return {at::stack(squares), faces, points};
  }

  Context context_;
  LandmarkDetectorOptions options_;
  vision::LandmarkDetectorConfig config_;
  models::nn::Parameters parameters_;
  objectives::LandmarkRegression objective_;
};

}  // namespace

std::unique_ptr<Network> make_landmark_detector(const Context& context, const LandmarkDetectorOptions& options) {
  return std::make_unique<LandmarkDetectorNetwork>(context, options);
}

}  // namespace magicid::pretraining
