#include "media/faces.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/std.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/errors.h"
#include "media/alignment.h"

namespace magicid::media {
namespace {

constexpr std::int64_t texture_cells = 12;
constexpr double smallest_texture = 2.0 / 255;

FaceDetection shifted(FaceDetection face, double x, double y) {
  face.box.x += x;
  face.box.y += y;
  if (face.landmarks)
    for (Point& point : *face.landmarks) point = {point.x + x, point.y + y};
  return face;
}

// The image inside a grey border, and the faces that are found there and have texture in the image itself (the border's edge is none). Coordinates are those of
// the larger picture.
struct Bordered {
  at::Tensor image;
  double x = 0, y = 0;  // where the image begins
  std::vector<FaceDetection> faces;
};

Bordered find_inside_border(const at::Tensor& image, double factor, FaceDetector& detector) {
  Bordered out;
  out.image = pad_centered(image, factor, 0.5);
  out.x = static_cast<double>((out.image.size(2) - image.size(2)) / 2);
  out.y = static_cast<double>((out.image.size(1) - image.size(1)) / 2);
  for (const FaceDetection& face : detector.detect(out.image))
    if (has_texture(image, shifted(face, -out.x, -out.y).box)) out.faces.push_back(face);
  return out;
}

class TexturedFaces final : public FaceDetector {
 public:
  explicit TexturedFaces(std::unique_ptr<FaceDetector> detector) : detector_(std::move(detector)) {}
  std::vector<FaceDetection> detect(const at::Tensor& image) override {
    auto faces = detector_->detect(image);
    std::erase_if(faces, [&](const FaceDetection& face) { return !has_texture(image, face.box); });
    return faces;
  }
  std::string name() const override { return detector_->name(); }

 private:
  std::unique_ptr<FaceDetector> detector_;
};

std::vector<FaceDetection> find_in_photo(const at::Tensor& image, FaceDetector& detector) {
  std::vector<FaceDetection> faces = detector.detect(image);
  for (const double factor : {1.25, 1.5, 2.0}) {
    if (!faces.empty()) break;
    const Bordered again = find_inside_border(image, factor, detector);
    for (const FaceDetection& face : again.faces) faces.push_back(shifted(face, -again.x, -again.y));
  }
  return faces;
}

}  // namespace

double score_threshold_of(const DetectorOptions& options) {
  if (options.score_threshold >= 0) return options.score_threshold;
  return options.kind == "yunet" ? 0.9 : 0.6;
}

bool has_texture(const at::Tensor& image, const Box& box) {
  const auto inside = [](double from, double length, std::int64_t side) {
    const auto first = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(from)), 0, side);
    return std::pair(first, std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(from + length)), first, side) - first);
  };
  const auto [x, width] = inside(box.x, box.width, image.size(2));
  const auto [y, height] = inside(box.y, box.height, image.size(1));
  if (width == 0 || height == 0) return false;
  const at::Tensor part = image.narrow(1, y, height).narrow(2, x, width).mean(0, /*keepdim=*/true);
  const at::Tensor cells = at::adaptive_avg_pool2d(part, {std::min(height, texture_cells), std::min(width, texture_cells)});
  return cells.std(/*unbiased=*/false).item<double>() >= smallest_texture;
}

std::unique_ptr<FaceDetector> only_with_texture(std::unique_ptr<FaceDetector> detector) { return std::make_unique<TexturedFaces>(std::move(detector)); }

void describe(config::Fields& fields, DetectorOptions& options) {
  fields.choice("kind", options.kind, {"haar", "yunet", "landmarks", "none"},
                {.help = "face detector: haar (OpenCV's cascade, nothing to download), yunet (needs its ONNX file, finds landmarks), landmarks (a network made "
                         "by `magicid pretrain` for the small world's pictures), none (the images are face crops already)"});
  fields.path("file", options.file,
              {.help = "yunet: face_detection_yunet_2022mar.onnx; haar: another cascade XML (empty: the installed one); landmarks: the network's folder "
                       "(empty: rewards/landmarks below the model folder)",
               .fingerprint = false});
  fields.number("score_threshold", options.score_threshold,
                {.help = "yunet and landmarks: faces with a lower score are ignored; -1: 0.9 for yunet, 0.6 for landmarks", .minimum = -1, .maximum = 1});
  fields.integer("face_index", options.face_index,
                 {.help = "which face of a reference photo with several, from 0 by size; -1: a photo must show one face", .minimum = -1});
  fields.require("score_threshold", options.score_threshold >= 0 || options.score_threshold == -1,
                 "a score lies in 0..1; -1 stands for the detector's own threshold");
  fields.require("file", options.kind != "yunet" || !options.file.empty(),
                 "detector yunet needs the path of its ONNX file (face_detection_yunet_2022mar.onnx)");
}

FaceDetection find_reference_face(const at::Tensor& image, FaceDetector& detector, const std::string& name, std::int64_t face_index) {
  const std::vector<FaceDetection> faces = find_in_photo(image, detector);
  if (faces.empty())
    throw base::UserError(name, ": no face was found by the ", detector.name(), " detector in this ", image.size(2), " x ", image.size(1),
                          " photo, nor inside a grey border. Use a photo with a frontal, upright, well-lit face, or another detector (face_detector.kind: "
                          "yunet finds more than haar).");
  const auto list = [&](std::size_t count) {
    std::ostringstream text;
    for (std::size_t i = 0; i < count; ++i)
      text << (i ? ", " : "") << i << ": " << std::lround(faces[i].box.width) << " x " << std::lround(faces[i].box.height) << " at ("
           << std::lround(faces[i].box.x) << ", " << std::lround(faces[i].box.y) << ")";
    return text.str();
  };
  if (face_index >= 0) {
    if (static_cast<std::size_t>(face_index) >= faces.size())
      throw base::UserError(name, ": face_detector.face_index is ", face_index, ", but only ", faces.size(), " face(s) were found (", list(faces.size()), ").");
    return faces[static_cast<std::size_t>(face_index)];
  }
  std::size_t count = 1;
  while (count < faces.size() && faces[count].box.width >= 0.25 * faces[0].box.width) ++count;
  if (count > 1)
    throw base::UserError(name, ": ", count, " faces were found (", list(count),
                          "), but a reference photo must show one person. Crop the photo, take it out, or choose with face_detector.face_index.");
  return faces[0];
}

std::optional<at::Tensor> largest_face_crop(const at::Tensor& image, FaceDetector& detector) {
  const at::Tensor picture = image.detach();
  const std::vector<FaceDetection> faces = detector.detect(picture);
  if (!faces.empty()) return align_face(image, faces.front());
  const Bordered again = find_inside_border(picture, 1.25, detector);
  if (!again.faces.empty()) return align_face(pad_centered(image, 1.25, 0.5), again.faces.front());
  return std::nullopt;
}

}  // namespace magicid::media
