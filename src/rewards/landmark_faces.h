// The landmark detector as a face detector for rewards and references.
#pragma once

#include <memory>

#include "media/faces.h"
#include "models/vision/landmark_detector.h"

namespace magicid::rewards {

// Finds at most one face in a picture: where the network's probability reaches `score_threshold`. The score is that probability. Boxes reach from
// brows to chin and ear to ear. `network` computes on the device it was loaded to.
std::unique_ptr<media::FaceDetector> landmark_face_detector(std::shared_ptr<const models::vision::LandmarkDetector> network, double score_threshold);

}  // namespace magicid::rewards
