// R_id: how much the faces of a video resemble the references.
// Sources: ArcFace (Deng et al. 2019) for the cosine; sampling, largest face and grey retry as in ConsisID's evaluation (eval/get_facesim.py).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "media/faces.h"
#include "rewards/models.h"

namespace magicid::rewards {

// One row for each sampled frame. Kept with a video's scores, R_id for another identity is one matrix product.
struct FaceEmbeddings {
  at::Tensor embeddings;  // [F,D] float (double for frames in double), rows of length 1; 0 where no face was found
  at::Tensor found;       // [F] bool
};

// frames [F,3,H,W] in 0..1. `count` evenly spaced frames (0: all), the largest face of each, with the grey retry of media::largest_face_crop. D is 0 when no
// frame shows a face. A face whose embedding is not finite keeps its values, so that the score shows it.
// Differentiable with respect to the frames where `network` is: faces are looked for without gradients, the crop is a fixed bilinear warp of the frame.
FaceEmbeddings embed_faces(const at::Tensor& frames, std::int64_t count, media::FaceDetector& detector, const FaceNetwork& network, std::int64_t batch = 8);

// The embedding [D], of length 1, of a reference photo's face (media::find_reference_face). Throws its UserErrors.
at::Tensor embed_reference(const at::Tensor& image, const std::string& name, media::FaceDetector& detector, const FaceNetwork& network,
                           std::int64_t face_index = -1);

// Cosine of every frame with the references [R,D] (need not have length 1) -> [F] double; 0 in frames without a face.
// `aggregation`: `mean` or `max` over the references' cosines, or `centroid`: cosine with the mean of the normalised references.
at::Tensor frame_similarities(const FaceEmbeddings& faces, const at::Tensor& references, const std::string& aggregation = "mean");

// R_id: mean over all sampled frames, those without a face counting as 0 (else one good frame among empty ones would win) -> [] double on the CPU. -1..1.
at::Tensor mean_similarity(const FaceEmbeddings& faces, const at::Tensor& references, const std::string& aggregation = "mean");
double identity_reward(const FaceEmbeddings& faces, const at::Tensor& references, const std::string& aggregation = "mean");

// The metric as ConsisID computes it: max(0, cosine), mean over the frames with a face, 0 when there is none. 0..1.
double face_similarity(const FaceEmbeddings& faces, const at::Tensor& references, const std::string& aggregation = "mean");

}  // namespace magicid::rewards
