#include "media/faces.h"

#include <cmath>
#include <sstream>

#include "base/errors.h"
#include "media/alignment.h"

namespace magicid::media {

void describe(config::Fields& fields, DetectorOptions& options) {
  fields.choice("kind", options.kind, {"haar", "yunet", "landmarks", "none"},
                {.help = "face detector: haar (OpenCV's cascade, nothing to download), yunet (needs its ONNX file, finds landmarks), landmarks (a network made by `magicid pretrain` for the small world's pictures), none (the images are face crops already)"});
  fields.path("file", options.file,
              {.help = "yunet: face_detection_yunet_2022mar.onnx; haar: another cascade XML (empty: the installed one); landmarks: the network's folder "
                       "(empty: rewards/landmarks below the model folder)",
               .fingerprint = false});
  fields.number("score_threshold", options.score_threshold, {.help = "yunet and landmarks: faces with a lower score are ignored", .minimum = 0, .maximum = 1});
  fields.integer("face_index", options.face_index,
                 {.help = "which face of a reference photo with several, from 0 by size; -1: a photo must show one face", .minimum = -1});
  fields.require("file", options.kind != "yunet" || !options.file.empty(), "detector yunet needs the path of its ONNX file (face_detection_yunet_2022mar.onnx)");
}

FaceDetection find_reference_face(const at::Tensor& image, FaceDetector& detector, const std::string& name, std::int64_t face_index) {
  const std::vector<FaceDetection> faces = detector.detect(image);
  if (faces.empty())
    throw base::UserError(name, ": no face was found by the ", detector.name(), " detector in this ", image.size(2), " x ", image.size(1),
                          " photo. Use a photo with a frontal, upright, well-lit face, try another detector (face_detector.kind: yunet), or crop the photo to the face and set "
                          "face_detector.kind: none.");
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
    throw base::UserError(name, ": ", count, " faces were found (", list(count), "), but a reference photo must show one person. Crop the photo, take it out, or choose with face_detector.face_index.");
  return faces[0];
}

std::optional<at::Tensor> largest_face_crop(const at::Tensor& image, FaceDetector& detector) {
  const std::vector<FaceDetection> faces = detector.detect(image);
  if (!faces.empty()) return align_face(image, faces.front());
  const at::Tensor padded = pad_centered(image, 1.25, 0.5);
  const std::vector<FaceDetection> again = detector.detect(padded);
  if (!again.empty()) return align_face(padded, again.front());
  return std::nullopt;
}

}  // namespace magicid::media
