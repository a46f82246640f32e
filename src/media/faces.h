// Finding faces: detectors behind one interface, and the rules for choosing one face.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"
#include "media/geometry.h"

namespace magicid::media {

// Pixel indices: a pixel's centre has integer coordinates.
struct Point {
  double x = 0, y = 0;
};

struct FaceDetection {
  Box box;                                        // pixels of the image that was given, may reach a little outside it
  std::optional<std::array<Point, 5>> landmarks;  // eye on the picture's left, eye on its right, nose tip, mouth corners left and right
  double score = 0;                               // the detector's own scale: comparable within one detector only
  bool whole_image = false;                       // no detection took place: the image is taken to be a face crop (detector `none`)
};

// A detector keeps buffers: one instance belongs to one thread.
class FaceDetector {
 public:
  virtual ~FaceDetector() = default;
  // image [3,H,W] in 0..1 -> faces, largest box first.
  virtual std::vector<FaceDetection> detect(const at::Tensor& image) = 0;
  virtual std::string name() const = 0;
};

struct DetectorOptions {
  std::string kind = "haar";
  std::string file;
  double score_threshold = -1;
  std::int64_t face_index = -1;
};
void describe(config::Fields& fields, DetectorOptions& options);
// `score_threshold`, or where it is -1 the kind's own: 0.9 for yunet (faces down to 10 pixels score 0.94 and more, pictures without a face mostly less;
// docs/method.md), 0.6 for others.
double score_threshold_of(const DetectorOptions& options);

// `haar`: OpenCV's frontal cascade, no landmarks, heads tilted up to about 15 degrees; the file is `options.file` or is looked for in
// $MAGICID_HAARCASCADES and in the folders where OpenCV's data packages put it. `yunet`: OpenCV's FaceDetectorYN with landmarks, from the ONNX file in
// `options.file`. `none`: the whole image is the face. Throws UserError naming the file and what to install or give. `landmarks` is a network, which this room
// knows nothing of: rewards::landmark_face_detector makes it. All of them leave out faces without texture.
std::unique_ptr<FaceDetector> make_face_detector(const DetectorOptions& options);

// The file that make_face_detector() reads, found by the same rules; empty where it reads none (`none`, `landmarks`). What a detector finds depends on this
// file's contents. Throws UserError where the cascade that is to be looked for is not installed.
std::filesystem::path face_detector_file(const DetectorOptions& options);

// Whether a box of the image [3,H,W], as far as it lies inside, shows anything: the brightness of 12 x 12 cells of it has a standard deviation of at least 2 of
// 255. A black, one-coloured or finely noisy area has not, a face in a thirtieth of the light has.
bool has_texture(const at::Tensor& image, const Box& box);
// A detector that finds what `detector` finds, but no face without texture: networks see faces in black pictures.
std::unique_ptr<FaceDetector> only_with_texture(std::unique_ptr<FaceDetector> detector);

// The face of a reference photo. Where none is found the photo is looked at again inside grey borders that make it 1.25, 1.5 and 2 times as large: detectors
// miss faces that are cut tightly. With `face_index` < 0 exactly one face must be found; faces less than a quarter as wide as the largest are bystanders in the
// background (or false alarms) and do not count. With `face_index` >= 0 that face, counted from 0 by size, is taken. The box may reach outside the photo.
// Throws UserError naming `name`, what was found (boxes) and what to do.
FaceDetection find_reference_face(const at::Tensor& image, FaceDetector& detector, const std::string& name, std::int64_t face_index = -1);

// The largest face, aligned: [3,112,112], or nothing. When none is found the image is tried again inside a grey border that makes it
// 1.25 times as large, because detectors miss faces that fill the picture (the rule of ConsisID's evaluation). Differentiable with respect to the image, as
// align_face() is; where the face is has no gradient.
std::optional<at::Tensor> largest_face_crop(const at::Tensor& image, FaceDetector& detector);

}  // namespace magicid::media
