#include "pipeline/prepared.h"

#include <ATen/ops/empty.h>

#include <cstring>

#include "base/errors.h"
#include "comm/rank_errors.h"
#include "parallel/replicas.h"
#include "storage/hdf5.h"
#include "work/from_leader.h"

namespace magicid::pipeline {
namespace {

const storage::Schema prepared_schema{"magicid.prepared", 1};

at::Tensor bytes_tensor(const std::string& bytes) {
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(bytes.size())}, at::kByte);
  std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

std::string bytes_of(const at::Tensor& tensor) {
  return std::string(static_cast<const char*>(tensor.const_data_ptr()), static_cast<std::size_t>(tensor.numel()));
}

}  // namespace

const models::generator::Condition& Prepared::prompt(const std::string& text) const {
  const auto it = prompts.find(text);
  base::check_invariant(it != prompts.end(), "the prompt \"", text, "\" was not prepared");
  return it->second;
}

void Prepared::save(const std::filesystem::path& path) const {
  storage::write_hdf5(path, prepared_schema, [&](storage::Hdf5Writer& out) {
    out.attribute("/", "references", static_cast<std::int64_t>(references.size()));
    out.attribute("/", "prompts", static_cast<std::int64_t>(prompts.size()));
    for (std::size_t i = 0; i < references.size(); ++i) {
      const auto& r = references[i];
      const std::string group = "references/" + std::to_string(i) + "/";
      out.text(group + "file", r.file);
      out.text(group + "caption", r.caption);
      out.text(group + "image_hash", r.image_hash);
      out.tensor(group + "latents", r.latents);
      out.tensor(group + "still", r.still);
      out.tensor(group + "thumbnail", bytes_tensor(r.thumbnail));
    }
    std::size_t i = 0;
    for (const auto& [text, embedded] : prompts) {
      const std::string group = "prompts/" + std::to_string(i++) + "/";
      out.text(group + "text", text);
      for (const auto& [name, tensor] : embedded.tensors) out.tensor(group + name, tensor);
    }
    out.tensor("face_embeddings", face_embeddings);
    out.tensor("image_embeddings", image_embeddings);
  });
}

Prepared Prepared::load(const std::filesystem::path& path) {
  const auto in = storage::Hdf5File::open(path, prepared_schema);
  Prepared prepared;
  for (std::int64_t i = 0; i < in.integer_attribute("/", "references"); ++i) {
    const std::string group = "references/" + std::to_string(i) + "/";
    prepared.references.push_back({.file = in.text(group + "file"),
                                   .caption = in.text(group + "caption"),
                                   .latents = in.tensor(group + "latents"),
                                   .still = in.tensor(group + "still"),
                                   .thumbnail = bytes_of(in.tensor(group + "thumbnail")),
                                   .image_hash = in.text(group + "image_hash")});
  }
  for (std::int64_t i = 0; i < in.integer_attribute("/", "prompts"); ++i) {
    const std::string group = "prompts/" + std::to_string(i) + "/";
    models::generator::Condition embedded;
    for (const auto& name : in.names(group))
      if (name != "text") embedded.tensors.emplace_back(name, in.tensor(group + name));
    prepared.prompts.emplace(in.text(group + "text"), std::move(embedded));
  }
  prepared.face_embeddings = in.tensor("face_embeddings");
  prepared.image_embeddings = in.tensor("image_embeddings");
  return prepared;
}

PreparedContents PreparedContents::load(const std::filesystem::path& path) {
  const auto in = storage::Hdf5File::open(path, prepared_schema);
  PreparedContents contents;
  for (std::int64_t i = 0; i < in.integer_attribute("/", "references"); ++i) {
    const std::string group = "references/" + std::to_string(i) + "/";
    contents.photos.push_back(in.text(group + "image_hash"));
    contents.stills.push_back(parallel::hash_of(in.tensor(group + "still")));
  }
  contents.face_embeddings = parallel::hash_of(in.tensor("face_embeddings"));
  contents.image_embeddings = parallel::hash_of(in.tensor("image_embeddings"));
  return contents;
}

Prepared read_prepared(session::Session& session, Run& run) {
  Prepared prepared;
  comm::agree(session.world(), "reading prepared.h5", [&] { prepared = Prepared::load(run.layout().prepared()); });
  return prepared;
}

PreparedContents prepared_contents(session::Session& session, Run& run) {
  const auto shared = work::from_leader(session.world(), "reading prepared.h5", [&]() -> nlohmann::json {
    const auto c = PreparedContents::load(run.layout().prepared());
    return {{"photos", c.photos}, {"stills", c.stills}, {"face_embeddings", c.face_embeddings}, {"image_embeddings", c.image_embeddings}};
  });
  return {.photos = shared.at("photos"),
          .stills = shared.at("stills"),
          .face_embeddings = shared.at("face_embeddings"),
          .image_embeddings = shared.at("image_embeddings")};
}

}  // namespace magicid::pipeline
