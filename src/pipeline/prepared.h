// prepared.h5: what every later stage reads of the photos and the prompts, so that none of them loads the encoders again.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "models/generator/condition.h"
#include "pipeline/run.h"

namespace magicid::pipeline {

struct PreparedReference {
  std::string file;        // name of the photo
  std::string caption;     // rendered
  at::Tensor latents;      // [1,C,1,H,W], scaled, in its aspect bucket: for reconstruction
  at::Tensor still;        // [1,C,T,H,W], scaled: the photo, cover-cropped around the face, repeated over all frames (V_id)
  std::string thumbnail;   // JPEG bytes, for the report
  std::string image_hash;  // of the photo's bytes
};

struct Prepared {
  std::vector<PreparedReference> references;
  std::map<std::string, models::generator::Condition> prompts;  // by rendered text; on the CPU
  at::Tensor face_embeddings;                                   // [R,D], as the face embedder gives them
  at::Tensor image_embeddings;                                  // [R,P], CLIP's, of the photos

  // Throws InvariantError when the prompt was not prepared.
  const models::generator::Condition& prompt(const std::string& text) const;

  void save(const std::filesystem::path& path) const;
  // Throws as storage::Hdf5File does.
  static Prepared load(const std::filesystem::path& path);
};

// Hashes of what lies in prepared.h5, as keys and fingerprints take them. Of each photo in order: its file's bytes, and its still's latents.
struct PreparedContents {
  std::vector<std::string> photos, stills;
  std::string face_embeddings, image_embeddings;

  // Reads no prompts. Throws as storage::Hdf5File does.
  static PreparedContents load(const std::filesystem::path& path);
};
// Of this run: read by rank 0, the same on every rank. Collective over the session's world.
PreparedContents prepared_contents(session::Session& session, Run& run);

// prepared.h5 of this run, read by every rank; an error of one is told by all, with its rank and node. Collective over the session's world.
Prepared read_prepared(session::Session& session, Run& run);

}  // namespace magicid::pipeline
