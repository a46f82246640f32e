#include "rewards/identity.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "base/errors.h"
#include "media/alignment.h"
#include "rewards/frame_sampling.h"
#include "rewards/semantics.h"

namespace magicid::rewards {

FaceEmbeddings embed_faces(const at::Tensor& frames, std::int64_t count, media::FaceDetector& detector, const FaceNetwork& network, std::int64_t batch) {
  base::check_invariant(frames.dim() == 4 && frames.size(1) == 3 && frames.size(0) >= 1, "embed_faces needs frames [F,3,H,W]");
  const std::vector<std::int64_t> indices = evenly_spaced_frames(frames.size(0), count);
  const at::ScalarType dtype = frames.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  FaceEmbeddings faces;
  faces.found = at::zeros({static_cast<std::int64_t>(indices.size())}, at::kBool);
  std::vector<at::Tensor> crops;
  std::vector<std::int64_t> rows;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (auto crop = media::largest_face_crop(frames.select(0, indices[i]).to(at::kCPU, dtype), detector)) {
      crops.push_back(*crop);
      rows.push_back(static_cast<std::int64_t>(i));
    }
  }
  faces.embeddings = at::zeros({static_cast<std::int64_t>(indices.size()), 0}, dtype);
  if (crops.empty()) return faces;
  std::vector<at::Tensor> parts;
  for (std::size_t at = 0; at < crops.size(); at += static_cast<std::size_t>(batch)) {
    const std::size_t end = std::min(crops.size(), at + static_cast<std::size_t>(batch));
    parts.push_back(network(at::stack(std::vector<at::Tensor>(crops.begin() + at, crops.begin() + end))).to(at::kCPU, dtype));
  }
  const at::Tensor embedded = normalise_rows(at::cat(parts));
  faces.embeddings = at::zeros({static_cast<std::int64_t>(indices.size()), embedded.size(1)}, dtype);
  for (std::size_t k = 0; k < rows.size(); ++k) {
    faces.embeddings.select(0, rows[k]).copy_(embedded.select(0, static_cast<std::int64_t>(k)));
    faces.found.select(0, rows[k]).fill_(true);
  }
  return faces;
}

at::Tensor embed_reference(const at::Tensor& image, const std::string& name, media::FaceDetector& detector, const FaceNetwork& network,
                           std::int64_t face_index) {
  const media::FaceDetection face = media::find_reference_face(image, detector, name, face_index);
  return normalise_rows(network(media::align_face(image, face).unsqueeze(0)).to(at::kCPU, at::kFloat)).squeeze(0);
}

at::Tensor frame_similarities(const FaceEmbeddings& faces, const at::Tensor& references, const std::string& aggregation) {
  base::check_invariant(references.dim() == 2 && references.size(0) >= 1, "frame_similarities needs references [R,D], R >= 1");
  if (faces.embeddings.size(1) == 0) return at::zeros({faces.found.size(0)}, at::kDouble);
  if (faces.embeddings.size(1) != references.size(1))
    throw base::UserError("face embeddings have ", faces.embeddings.size(1), " numbers and the references' ", references.size(1),
                          ": they come from different face networks. Score the videos and the references with the same one.");
  at::Tensor targets = normalise_rows(references.to(at::kDouble));
  if (aggregation == "centroid") targets = normalise_rows(targets.mean(0, /*keepdim=*/true));
  const at::Tensor cosines = at::matmul(faces.embeddings.to(at::kDouble), targets.t());  // [F,R]
  base::check_invariant(aggregation == "mean" || aggregation == "max" || aggregation == "centroid", "reference_aggregation ", aggregation);
  const at::Tensor similarity = aggregation == "max" ? cosines.amax(1) : cosines.mean(1);
  return at::where(faces.found, similarity, at::zeros_like(similarity));
}

at::Tensor mean_similarity(const FaceEmbeddings& faces, const at::Tensor& references, const std::string& aggregation) {
  return frame_similarities(faces, references, aggregation).mean();
}

double identity_reward(const FaceEmbeddings& faces, const at::Tensor& references, const std::string& aggregation) {
  return mean_similarity(faces, references, aggregation).item<double>();
}

double face_similarity(const FaceEmbeddings& faces, const at::Tensor& references, const std::string& aggregation) {
  const auto found = faces.found.sum().item<std::int64_t>();
  if (found == 0) return 0;
  return at::clamp_min(frame_similarities(faces, references, aggregation), 0).sum().item<double>() / static_cast<double>(found);
}

}  // namespace magicid::rewards
