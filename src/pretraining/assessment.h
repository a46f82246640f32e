// Figures of the finished networks together, on people and scenes that none of them was trained on.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "pretraining/network.h"

namespace magicid::pretraining {

// Reads the whole folder Context::model and says, over options.clips scenes of unseen people, in fractions of 1 and cosines (-1..1):
// - reconstructed_face_same/_different: mean ArcFace cosines of faces in frames that went through the autoencoder with photos of the same and of other people;
//   reconstructed_face_true_accept_rate: the share of the same ones above the threshold that one pair of different people in a hundred passes. Of one clip for
//   each person, at most world.test_people; _different and _true_accept_rate are left out where there is one person only;
// - KIND_action_accuracy, KIND_speed_accuracy, KIND_background_accuracy (tell_apart on tiled frames) and KIND_face_found (share of every fourth frame in which
// the landmark detector sees a face),
//   where KIND is real (rendered clips), reconstructed (through the autoencoder) or sampled (by the transformer, from the same captions, in options.steps steps
//   at guidance options.true_cfg).
// Writes a PNG to `samples`: for each of the first 8 scenes three rows of every second frame, real, reconstructed and sampled.
// Rank 0 only; grad mode off. Throws UserError for a network's folder that is missing or does not fit the others, SystemError where `samples` cannot be
// written.
std::map<std::string, double> assess(const Context& context, const AssessmentOptions& options, const std::filesystem::path& samples);

}  // namespace magicid::pretraining
