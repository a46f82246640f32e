// Figures of the finished networks together, on people and scenes that none of them was trained on.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "commands/pretrain/network.h"

namespace magicid::commands::pretrain {

// Reads the whole folder Context::model and says, over options.clips scenes of unseen people:
// - reconstructed_face_same/_different, reconstructed_face_true_accept_rate: ArcFace cosines of faces in frames that went through the autoencoder with photos of the same and of other
//   people, and the share of the same ones above the threshold that one pair of different people in a hundred passes;
// - KIND_action_accuracy, KIND_speed_accuracy, KIND_background_accuracy (tell_apart on tiled frames) and KIND_face_found (share of frames in which the landmark detector sees a face), where KIND is
//   real (rendered clips), reconstructed (through the autoencoder) or sampled (by the transformer, from the same captions).
// Writes rows of real, reconstructed and sampled frames to `samples`. Rank 0 only; grad mode off.
std::map<std::string, double> assess(const Context& context, const AssessmentOptions& options, const std::filesystem::path& samples);

}  // namespace magicid::commands::pretrain
