// `magicid prepare`: photos to latents and embeddings, prompts to text embeddings.

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stop_signals.h"
#include "base/text.h"
#include "generation/sample.h"
#include "media/geometry.h"
#include "media/image.h"
#include "parallel/replicas.h"
#include "pipeline/fingerprints.h"
#include "pipeline/networks.h"
#include "pipeline/prepared.h"
#include "pipeline/prompt_checks.h"
#include "pipeline/stages.h"
#include "rewards/identity.h"
#include "rewards/reward_networks.h"
#include "rewards/semantics.h"
#include "storage/atomic_file.h"
#include "work/from_leader.h"

namespace magicid::pipeline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Photo {
  fs::path path;
  std::string caption, hash;
  std::optional<PromptLine> own;  // the caption as it was written, of a photo that has one
};

PromptLine read_caption(const fs::path& path) {
  std::string text = base::decode_written_file(storage::read_text(path), path.string());
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  if (text.empty()) throw base::UserError(path.string(), ": is empty; a caption, best with {subject}, was expected");
  return {text, path.string()};
}

// Photos with their captions, in the order of their names.
std::vector<Photo> find_photos(const Configuration& c) {
  std::vector<Photo> photos;
  base::FileNames texts;
  const auto images = media::list_images(c.subject.references);
  for (const auto& entry : fs::directory_iterator(c.subject.references))
    if (entry.path().extension() == ".txt" && base::is_utf8(entry.path().filename().string())) texts.add(entry.path().filename().string());
  for (const auto& path : images) {
    Photo photo{.path = path, .caption = c.reconstruct.prompt, .hash = base::hash_file(path), .own = {}};
    const std::string caption = path.stem().string() + ".txt";
    if (texts.contains(caption)) photo.own = read_caption(path.parent_path() / texts.find(caption));
    photo.caption = render_prompt(photo.own ? photo.own->text : c.reconstruct.prompt, c.subject, true);
    photos.push_back(std::move(photo));
  }
  return photos;
}

// What is rendered with the trigger word, as it was written.
std::vector<PromptLine> prompts_with_trigger(const Configuration& c, const std::vector<Photo>& photos, const std::vector<PromptLine>& templates) {
  std::vector<PromptLine> prompts{{c.reconstruct.prompt, "reconstruct.prompt"}};
  for (const auto& photo : photos)
    if (photo.own) prompts.push_back(*photo.own);
  prompts.insert(prompts.end(), templates.begin(), templates.end());
  return prompts;
}

// What the stage reads beside networks. Read and hashed by rank 0, so that it is read once and every rank works on the same. Collective.
struct PreparationInputs {
  std::vector<Photo> photos;
  std::vector<std::string> prompts;
};

// A phone leaves HEIC beside JPEG: the user should know that these photos are not in use.
void tell_unread_photos(const Configuration& c) {
  const auto unread = media::list_unread_pictures(c.subject.references);
  if (unread.empty()) return;
  std::string names;
  for (std::size_t i = 0; i < std::min<std::size_t>(unread.size(), 5); ++i) names += (i ? ", " : "") + unread[i].filename().string();
  if (unread.size() > 5) names += base::concat(" and ", unread.size() - 5, " more");
  base::log::warning(base::concat(
      c.subject.references, ": ", unread.size(), unread.size() == 1 ? " picture is" : " pictures are", " of a format that is not read and not used: ", names,
      ". Convert to JPEG what shows the person (`heif-convert a.heic a.jpg`, or `convert a.tif a.jpg` of ImageMagick), or take it out of the folder."));
}

// Every text that a later stage needs embedded.
std::vector<std::string> needed_prompts(const Configuration& c, const std::vector<Photo>& photos, const std::vector<PromptLine>& templates) {
  // The one without the trigger is prior preservation's: embedded always, so that switching it on leaves this stage as it is.
  std::set<std::string> texts{render_prompt(c.reconstruct.prompt, c.subject, true), render_prompt(c.reconstruct.prompt, c.subject, false)};
  for (const auto& photo : photos) texts.insert(photo.caption);
  for (const auto& t : templates) {
    texts.insert(render_prompt(t.text, c.subject, true));
    texts.insert(render_prompt(t.text, c.subject, false));
  }
  if (c.generate.sampling.guided()) texts.insert(c.generate.sampling.negative_prompt);
  return {texts.begin(), texts.end()};
}

PreparationInputs read_preparation_inputs(session::Session& session, Run& run) {
  const Configuration& c = run.config();
  const json shared = work::from_leader(session.world(), "reading photos and prompts", [&]() -> json {
    const auto photos = find_photos(c);
    tell_unread_photos(c);
    const auto templates = read_prompt_lines(c.prompts);
    check_triggers(run, prompts_with_trigger(c, photos, templates));
    json list = json::array();
    for (const auto& photo : photos) list.push_back({{"path", photo.path.string()}, {"caption", photo.caption}, {"hash", photo.hash}});
    return {{"photos", list}, {"prompts", needed_prompts(c, photos, templates)}};
  });
  PreparationInputs inputs{.photos = {}, .prompts = shared.at("prompts")};
  for (const auto& photo : shared.at("photos"))
    inputs.photos.push_back({.path = photo.at("path").get<std::string>(), .caption = photo.at("caption"), .hash = photo.at("hash"), .own = {}});
  return inputs;
}

run_directory::Fingerprint preparation_fingerprint(session::Session& session, Run& run, const PreparationInputs& read) {
  const json& networks = run.reward_networks(session);
  json inputs{{"model", run.model().model}, {"arcface", networks.at("arcface")}, {"clip", networks.at("clip")}, {"prompts", read.prompts}};
  for (const auto& photo : read.photos) inputs["photos"][photo.path.filename().string()] = {photo.hash, photo.caption};
  if (!run.model().prompt_template.is_null()) inputs["template"] = run.model().prompt_template;
  inputs["face_detector"] = run.options_of({"rewards"})["rewards"]["face_detector"];
  inputs["face_detector"].update(networks.at("face_detector"));
  return {run.options_of({"model", "subject", "video"}), inputs};
}

// Sends a tensor that only `owner` has. Collective over `world`.
at::Tensor share(comm::Communicator& world, const at::Tensor& mine, int owner) {
  const std::string shape = world.broadcast_string(mine.defined() ? json(mine.sizes().vec()).dump() : "", owner);
  at::Tensor tensor = mine.defined() ? mine.cpu().to(at::kFloat).contiguous() : at::empty(json::parse(shape).get<std::vector<std::int64_t>>(), at::kFloat);
  world.broadcast(tensor, owner);
  return tensor;
}

// The autoencoder's work on photo `i`: its latents for reconstruction and its still.
PreparedReference encode_photo(const Run& run, const models::generator::Codec& codec, const Photo& photo, const media::FaceDetection& face,
                               const at::Tensor& image) {
  const auto& v = run.config().video;
  PreparedReference reference{.file = photo.path.filename().string(), .caption = photo.caption, .image_hash = photo.hash};
  const auto focus = face.whole_image ? std::nullopt : std::optional(face.box);
  const auto bucket = media::bucket_size({image.size(1), image.size(2)}, v.height * v.width, run.backbone().side_multiple(), photo.path.string());
  reference.latents = generation::encode_frames(codec, media::fit_bucket(image, bucket, focus).unsqueeze(0));
  const at::Tensor still = media::cover_crop(image, {v.height, v.width}, focus);
  reference.still = generation::encode_frames(codec, still.unsqueeze(0).expand({v.frames, 3, v.height, v.width}));
  const double shrink = std::min(1.0, 320.0 / static_cast<double>(std::max(image.size(1), image.size(2))));
  reference.thumbnail =
      media::encode_jpeg(media::resize(image, {std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(image.size(1)) * shrink)),
                                               std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(image.size(2)) * shrink))}),
                         85);
  return reference;
}

Prepared make_prepared(session::Session& session, Run& run, const std::vector<Photo>& photos, const std::vector<std::string>& prompts) {
  const Configuration& c = run.config();
  comm::Communicator& world = session.world();
  Prepared prepared;
  prepared.references.resize(photos.size());
  std::vector<at::Tensor> faces(photos.size()), images(photos.size());
  const auto owner = [&](std::size_t i) { return static_cast<int>(i % static_cast<std::size_t>(world.size())); };
  comm::agree_unless_stopped(world, "encoding the photos", [&] {
    if (static_cast<std::size_t>(world.rank()) >= photos.size()) return;
    const auto networks = borrow_reward_networks(session, run);
    // All photos are looked at before the first is encoded: a bad one is told at once.
    std::vector<std::pair<at::Tensor, media::FaceDetection>> found(photos.size());
    for (std::size_t i = 0; i < photos.size(); ++i) {
      if (owner(i) != world.rank()) continue;
      base::stop_if_asked("encoding the photos");
      found[i].first = media::read_image(photos[i].path);
      found[i].second = media::find_reference_face(found[i].first, networks->detector(), photos[i].path.string(), c.rewards.scoring.face_detector.face_index);
    }
    const auto codec = session::borrow_codec(session, run.backbone());
    for (std::size_t i = 0; i < photos.size(); ++i) {
      if (owner(i) != world.rank()) continue;
      base::stop_if_asked("encoding the photos");
      prepared.references[i] = encode_photo(run, *codec, photos[i], found[i].second, found[i].first);
      faces[i] = rewards::embed_reference(found[i].first, photos[i].path.string(), networks->detector(), networks->models().face,
                                          c.rewards.scoring.face_detector.face_index);
      images[i] = rewards::image_features(found[i].first.unsqueeze(0), 0, networks->models().image)[0];
    }
  });
  for (std::size_t i = 0; i < photos.size(); ++i) {
    auto& reference = prepared.references[i];
    reference.file = photos[i].path.filename().string();
    reference.caption = photos[i].caption;
    reference.image_hash = photos[i].hash;
    reference.thumbnail = world.broadcast_string(reference.thumbnail, owner(i));
    reference.latents = share(world, reference.latents, owner(i));
    reference.still = share(world, reference.still, owner(i));
    faces[i] = share(world, faces[i], owner(i));
    images[i] = share(world, images[i], owner(i));
  }
  prepared.face_embeddings = at::stack(faces);
  prepared.image_embeddings = at::stack(images);
  prepared.prompts = encode_prompts_once(session, run, "encoding the prompts", prompts);
  return prepared;
}

// What training and generation see of it: face and image embeddings are inputs of the scores alone.
std::string result_hash(const Prepared& prepared) {
  json parts = json::array();
  for (const auto& r : prepared.references) parts.push_back({r.caption, parallel::hash_of(r.latents), parallel::hash_of(r.still)});
  for (const auto& [text, condition] : prepared.prompts) {
    parts.push_back(json::array({text}));
    for (const auto& [name, tensor] : condition.tensors) parts.back().push_back(parallel::hash_of(tensor));
  }
  return base::hash_json(parts);
}

}  // namespace

run_directory::Fingerprint prepare_fingerprint(session::Session& session, Run& run) {
  return preparation_fingerprint(session, run, read_preparation_inputs(session, run));
}

void prepare(session::Session& session, Run& run) {
  const PreparationInputs inputs = read_preparation_inputs(session, run);
  run.stage(session, run_directory::Stage::prepare, preparation_fingerprint(session, run, inputs), [&] {
    const Prepared prepared = make_prepared(session, run, inputs.photos, inputs.prompts);
    comm::agree(session.world(), "writing prepared.h5", [&] {
      if (session.leader()) prepared.save(run.layout().prepared());
    });
    return Run::StageResult{.files = {run.layout().prepared()}, .result = result_hash(prepared)};
  });
}

}  // namespace magicid::pipeline
