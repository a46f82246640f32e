// `magicid prepare`: photos to latents and embeddings, prompts to text embeddings.

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "commands/prepared.h"
#include "commands/stages.h"
#include "generation/sample.h"
#include "media/geometry.h"
#include "media/image.h"
#include "parallel/replicas.h"
#include "rewards/identity.h"
#include "rewards/reward_networks.h"
#include "rewards/semantics.h"
#include "storage/atomic_file.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Photo {
  fs::path path;
  std::string caption, hash;
};

// Photos with their captions, in the order of their names.
std::vector<Photo> find_photos(const Configuration& c) {
  std::vector<Photo> photos;
  for (const auto& path : media::list_images(c.subject.references)) {
    Photo photo{path, c.reconstruct.prompt, base::hash_file(path)};
    const fs::path caption = fs::path(path).replace_extension(".txt");
    if (fs::exists(caption)) {
      std::string text = storage::read_text(caption);
      text.erase(text.find_last_not_of(" \t\r\n") + 1);
      if (text.empty()) throw base::UserError(caption.string(), ": is empty; a caption, best with {subject}, was expected");
      photo.caption = text;
    }
    photo.caption = render_prompt(photo.caption, c.subject, true);
    photos.push_back(std::move(photo));
  }
  return photos;
}

// Every text that a later stage needs embedded.
std::vector<std::string> needed_prompts(const Configuration& c, const std::vector<Photo>& photos, const std::vector<std::string>& templates) {
  // The one without the trigger is prior preservation's: embedded always, so that switching it on leaves this stage as it is.
  std::set<std::string> texts{render_prompt(c.reconstruct.prompt, c.subject, true), render_prompt(c.reconstruct.prompt, c.subject, false)};
  for (const auto& photo : photos) texts.insert(photo.caption);
  for (const auto& t : templates) {
    texts.insert(render_prompt(t, c.subject, true));
    texts.insert(render_prompt(t, c.subject, false));
  }
  if (c.generate.sampling.guided()) texts.insert(c.generate.sampling.negative_prompt);
  return {texts.begin(), texts.end()};
}

// Sends a tensor that only `owner` has. Collective over `world`.
at::Tensor share(comm::Communicator& world, const at::Tensor& mine, int owner) {
  const std::string shape = world.broadcast_string(mine.defined() ? json(mine.sizes().vec()).dump() : "", owner);
  at::Tensor tensor = mine.defined() ? mine.cpu().to(at::kFloat).contiguous() : at::empty(json::parse(shape).get<std::vector<std::int64_t>>(), at::kFloat);
  world.broadcast(tensor, owner);
  return tensor;
}

// The autoencoder's work on photo `i`: its latents for reconstruction and its still.
PreparedReference encode_photo(const RunContext& context, const models::hunyuan_video::Autoencoder& autoencoder, const Photo& photo, const media::FaceDetection& face,
                               const at::Tensor& image) {
  const auto& v = context.config().video;
  PreparedReference reference{.file = photo.path.filename().string(), .caption = photo.caption, .image_hash = photo.hash};
  const auto focus = face.whole_image ? std::nullopt : std::optional(face.box);
  const std::int64_t multiple = autoencoder.config().spatial_compression_ratio * context.pipeline().transformer_config().patch_size;
  const auto bucket = media::bucket_size({image.size(1), image.size(2)}, v.height * v.width, multiple, photo.path.string());
  reference.latents = generation::encode_frames(autoencoder, media::fit_bucket(image, bucket, focus).unsqueeze(0));
  const at::Tensor still = media::cover_crop(image, {v.height, v.width}, focus);
  reference.still = generation::encode_frames(autoencoder, still.unsqueeze(0).expand({v.frames, 3, v.height, v.width}));
  const double shrink = std::min(1.0, 320.0 / static_cast<double>(std::max(image.size(1), image.size(2))));
  reference.thumbnail = media::encode_jpeg(media::resize(image, {std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(image.size(1)) * shrink)),
                                                                 std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(image.size(2)) * shrink))}),
                                           85);
  return reference;
}

Prepared make_prepared(RunContext& context, const std::vector<Photo>& photos, const std::vector<std::string>& prompts) {
  const Configuration& c = context.config();
  comm::Communicator& world = context.world();
  Prepared prepared;
  prepared.references.resize(photos.size());
  std::vector<at::Tensor> faces(photos.size()), images(photos.size());
  const auto owner = [&](std::size_t i) { return static_cast<int>(i % static_cast<std::size_t>(world.size())); };
  comm::agree(world, "encoding the photos", [&] {
    if (static_cast<std::size_t>(world.rank()) >= photos.size()) return;
    auto networks = rewards::RewardNetworks::load(c.rewards, c.model.folder, context.placement(), {.face = true, .flow = false, .clip = true});
    // All photos are looked at before the first is encoded: a bad one is told at once.
    std::vector<std::pair<at::Tensor, media::FaceDetection>> found(photos.size());
    for (std::size_t i = 0; i < photos.size(); ++i) {
      if (owner(i) != world.rank()) continue;
      found[i].first = media::read_image(photos[i].path);
      found[i].second = media::find_reference_face(found[i].first, networks.detector(), photos[i].path.string(), c.rewards.scoring.face_detector.face_index);
    }
    const auto autoencoder = context.pipeline().load_autoencoder(context.placement());
    for (std::size_t i = 0; i < photos.size(); ++i) {
      if (owner(i) != world.rank()) continue;
      prepared.references[i] = encode_photo(context, autoencoder, photos[i], found[i].second, found[i].first);
      faces[i] = rewards::embed_reference(found[i].first, photos[i].path.string(), networks.detector(), networks.models().face, c.rewards.scoring.face_detector.face_index);
      images[i] = rewards::image_features(found[i].first.unsqueeze(0), 0, networks.models().image)[0];
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
  comm::agree(world, "encoding the prompts", [&] {
    if (context.leader()) prepared.prompts = encode_prompts(context, prompts);
  });
  return prepared;
}

// What training and generation see of it: face and image embeddings are inputs of the scores alone.
std::string result_hash(const Prepared& prepared) {
  json parts = json::array();
  for (const auto& r : prepared.references) parts.push_back({r.caption, parallel::hash_of(r.latents), parallel::hash_of(r.still)});
  for (const auto& [text, e] : prepared.prompts) parts.push_back({text, parallel::hash_of(e.prompt_embeds), parallel::hash_of(e.pooled_prompt_embeds), parallel::hash_of(e.prompt_attention_mask)});
  return base::hash_json(parts);
}

}  // namespace

std::map<std::string, models::text::PromptEmbeddings> encode_prompts(const RunContext& context, const std::vector<std::string>& texts) {
  const auto& m = context.config().model;
  const auto prompt_template = m.template_file.empty() ? models::text::PromptTemplate::hunyuan_video() : models::text::PromptTemplate::load(m.template_file);
  const auto encoder = context.pipeline().load_prompt_encoder(context.placement());
  std::map<std::string, models::text::PromptEmbeddings> embedded;
  for (const auto& text : texts) {
    auto e = encoder(text, prompt_template, m.max_length);
    if (const auto warning = models::text::over_length_warning(e.tokens)) base::log::warning("prompt \"" + text + "\": " + *warning);
    e.prompt_embeds = e.prompt_embeds.cpu();
    e.pooled_prompt_embeds = e.pooled_prompt_embeds.cpu();
    e.prompt_attention_mask = e.prompt_attention_mask.cpu();
    embedded.emplace(text, std::move(e));
  }
  return embedded;
}

void prepare(RunContext& context) {
  const Configuration& c = context.config();
  std::vector<Photo> photos;
  std::vector<std::string> templates;
  rewards::RewardFolders folders;
  comm::agree(context.world(), "reading photos and prompts", [&] {
    generation::latent_shape({c.video.height, c.video.width, c.video.frames}, context.pipeline().transformer_config(), context.pipeline().autoencoder_config());
    photos = find_photos(c);
    templates = read_prompt_templates(c.prompts);
    folders = rewards::reward_folders(c.rewards, c.model.folder);
  });
  const auto prompts = needed_prompts(c, photos, templates);
  json inputs;
  comm::agree(context.world(), "hashing the inputs", [&] {
    if (!context.leader()) return;
    for (const auto& photo : photos) inputs["photos"][photo.path.filename().string()] = {photo.hash, photo.caption};
    inputs["prompts"] = prompts;
    inputs["model"] = context.pipeline().fingerprint();
    inputs["arcface"] = RunContext::folder_fingerprint(folders.arcface);
    inputs["clip"] = RunContext::folder_fingerprint(folders.clip);
    if (!c.model.template_file.empty()) inputs["template"] = base::hash_file(c.model.template_file);
    inputs["face_detector"] = context.options_of({"rewards"})["rewards"]["face_detector"];
  });
  context.stage(run_directory::Stage::prepare, context.options_of({"model", "subject", "video"}), inputs, [&] {
    const Prepared prepared = make_prepared(context, photos, prompts);
    comm::agree(context.world(), "writing prepared.h5", [&] {
      if (context.leader()) prepared.save(context.layout().prepared());
    });
    return RunContext::StageResult{.files = {context.layout().prepared()}, .result = result_hash(prepared)};
  });
}

}  // namespace magicid::commands
