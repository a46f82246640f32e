// The small world's image-text pair: CLIP's class, trained on single frames and on pictures tiled from a clip's frames, in which actions show.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/random.h"
#include "models/text/initialize.h"
#include "models/text/write_tokenizer.h"
#include "models/vision/initial_networks.h"
#include "objectives/contrastive.h"
#include "pretraining/augmentation.h"
#include "pretraining/caption_accuracy.h"
#include "pretraining/captions.h"
#include "pretraining/network.h"
#include "pretraining/network_folder.h"
#include "pretraining/written_tokenizer.h"
#include "rewards/semantics.h"
#include "storage/atomic_file.h"

namespace magicid::pretraining {
namespace {

namespace text = models::text;
namespace vision = models::vision;
using miniature::Scene;

constexpr std::int64_t validation_scenes = 64;

// What a picture shows, or a text claims.
struct Claim {
  Scene scene;
  bool photo = false;       // says nothing of movement
  std::string description;  // empty: says nothing of the person's looks
};

bool holds(const Claim& text, const Claim& shown) {
  const Scene &a = text.scene, &b = shown.scene;
  if (a.background != b.background) return false;
  if (!text.photo && (a.action != b.action || a.speed != b.speed || a.camera != b.camera)) return false;
  return text.description.empty() || text.description == miniature::describe_person(b.person);
}

class ClipNetwork : public Network {
 public:
  ClipNetwork(const Context& context, const ClipOptions& options)
      : context_(context),
        options_(options),
        tokenizer_([this](const auto& folder) { return write_tokenizer(folder); }),
        vision_(vision_config(options)),
        text_(text_config(options, tokenizer_.size)),
        image_half_(vision::initial_clip_vision(vision_, context.seed)),
        parameters_(initial(image_half_, text_, context.seed), context.placement.device, "clip"),
        objective_(vision_, text_, parameters_, context.placement.dtype, [this](auto step, auto slot, auto global) { return batch(step, slot, global); }) {
    preprocessing_.shortest_edge = preprocessing_.crop_height = preprocessing_.crop_width = options.image_size;
  }

  training::Objective& objective() override { return objective_; }

  // On clips of unseen people, as tiled pictures: the share whose own caption is the nearest of all, and the other way round; and the share where the right
  // word is nearer than every other that could stand in its place. The background also in a single frame.
  std::map<std::string, double> validate() override {
    const auto images = vision::ClipVision::from_weights(parameters_.weights(at::kFloat), vision_);
    const auto texts = text::ClipTextEncoder::from_weights(text_, parameters_.weights(at::kFloat));
    look_at_validation();
    const auto unit = [](const at::Tensor& x) { return rewards::normalise_rows(x.to(at::kCPU, at::kFloat)); };
    const at::Tensor grids = unit(images.encode_frames(validation_grids_)), frames = unit(images.encode_frames(validation_frames_));
    const auto encode = [&](const std::vector<std::string>& captions) { return unit(texts(ids_of(captions)).text_embeds); };
    std::vector<std::string> captions;
    for (const Scene& scene : validation_) captions.push_back(miniature::caption(scene));
    const at::Tensor cosines = at::matmul(grids, encode(captions).t());
    const auto hits = [](const at::Tensor& rows) {
      std::int64_t right = 0;
      const at::Tensor best = rows.argmax(-1);
      for (std::int64_t i = 0; i < rows.size(0); ++i) right += best[i].item<std::int64_t>() == i;
      return static_cast<double>(right) / static_cast<double>(rows.size(0));
    };
    std::map<std::string, double> figures{
        {"text_retrieval", hits(cosines)}, {"image_retrieval", hits(cosines.t())}, {"own_cosine", cosines.diagonal().mean().item<double>()}};
    const auto word = [&](const std::string& name, CaptionPart part, const at::Tensor& pictures) {
      const auto found = tell_apart(part, validation_, pictures, encode);
      figures[name + "_accuracy"] = found.accuracy;
      figures[name + "_margin"] = found.margin;
    };
    word("action", CaptionPart::action, grids);
    word("speed", CaptionPart::speed, grids);
    word("camera", CaptionPart::camera, grids);
    word("background", CaptionPart::background, grids);
    word("frame_background", CaptionPart::background, frames);
    return figures;
  }

  void write() override {
    const std::filesystem::path pair = context_.model / "rewards" / "clip", half = context_.model / "text_encoder_2";
    auto tensors = parameters_.named_tensors();
    tensors["logit_scale"] = tensors.at("logit_scale").clamp_max(std::log(objectives::largest_logit_scale));
    auto config = nlohmann::json::parse(image_half_.config);
    config["text_config"] = text_.to_json(true);
    config["torch_dtype"] = "float16";
    write_tokenizer(pair);
    const nlohmann::json edge{{"shortest_edge", options_.image_size}}, crop{{"height", options_.image_size}, {"width", options_.image_size}};
    storage::write_text_atomically(pair / "preprocessor_config.json", nlohmann::json{{"image_processor_type", "CLIPImageProcessor"},
                                                                                     {"do_resize", true},
                                                                                     {"size", edge},
                                                                                     {"resample", 3},
                                                                                     {"do_center_crop", true},
                                                                                     {"crop_size", crop},
                                                                                     {"do_rescale", true},
                                                                                     {"rescale_factor", 1.0 / 255},
                                                                                     {"do_normalize", true},
                                                                                     {"do_convert_rgb", true},
                                                                                     {"image_mean", preprocessing_.mean},
                                                                                     {"image_std", preprocessing_.std}}
                                                                              .dump(2) +
                                                                          "\n");
    write_half(pair, config.dump(2), tensors);
    storage::NamedTensors of_text;
    for (const auto& [name, tensor] : tensors)
      if (name.rfind("text_model.", 0) == 0) of_text[name] = tensor;
    auto text_json = text_.to_json(false);
    text_json["torch_dtype"] = "float16";
    write_tokenizer(context_.model / "tokenizer_2");
    write_half(half, text_json.dump(2), of_text);
  }

 private:
  static vision::ClipVisionConfig vision_config(const ClipOptions& o) {
    if (o.width % o.heads != 0 || o.text_width % o.heads != 0)
      throw base::UserError("clip.width ", o.width, " and clip.text_width ", o.text_width, " must be multiples of clip.heads, which is ", o.heads);
    if (o.image_size % o.patch != 0) throw base::UserError("clip.image_size is ", o.image_size, "; expected a multiple of clip.patch, which is ", o.patch);
    vision::ClipVisionConfig config;
    config.hidden_size = o.width;
    config.intermediate_size = 4 * o.width;
    config.layers = o.layers;
    config.heads = o.heads;
    config.image_size = o.image_size;
    config.patch_size = o.patch;
    config.projection_dim = o.projection;
    return config;
  }

  static text::ClipTextConfig text_config(const ClipOptions& o, std::int64_t vocabulary) {
    text::ClipTextConfig config;
    config.vocab_size = vocabulary;
    config.eos_token_id = vocabulary - 1;
    config.hidden_size = o.text_width;
    config.intermediate_size = 4 * o.text_width;
    config.num_hidden_layers = o.text_layers;
    config.num_attention_heads = o.heads;
    config.projection_dim = o.projection;
    return config;
  }

  static storage::NamedTensors initial(const vision::InitialNetwork& images, const text::ClipTextConfig& texts, std::uint64_t seed) {
    auto tensors = images.tensors;
    for (const auto& [name, tensor] : text::initialize_clip_text(texts, /*with_projection=*/true, seed)) tensors[name] = tensor;
    return tensors;
  }

  std::int64_t write_tokenizer(const std::filesystem::path& folder) const {
    auto words = miniature::caption_words();
    words.push_back(options_.trigger);
    words.push_back(",");
    return text::write_clip_tokenizer(folder, words);
  }

  // [B, longest] int64; every row ends with the end-of-text token.
  at::Tensor ids_of(const std::vector<std::string>& captions) const {
    std::vector<at::Tensor> rows;
    std::int64_t longest = 0;
    for (const auto& caption : captions) {
      const auto tokens = tokenizer_.tokenizer.encode_padded(caption, text_.max_position_embeddings);
      std::int64_t used = 0;
      for (const auto m : tokens.attention_mask) used += m;
      longest = std::max(longest, used);
      rows.push_back(at::tensor(tokens.ids));
    }
    return at::stack(rows).narrow(1, 0, longest).contiguous();
  }

  // The frames that a tiled picture is made of. [grid^2,3,H,W].
  at::Tensor grid_frames(const Scene& scene) const {
    const std::int64_t count = options_.grid * options_.grid;
    auto size = context_.clip_size();
    if (count > 1 && count < size.frames) {
      size.fps *= static_cast<double>(count - 1) / static_cast<double>(size.frames - 1);
      size.frames = count;
    }
    return miniature::render(scene, size, /*with_flow=*/false).frames;
  }

  objectives::ContrastiveBatch batch(std::int64_t step, std::int64_t slot, std::int64_t global) const {
    const auto number = static_cast<std::uint64_t>(step * global + slot);
    const base::CounterRandom forms(context_.seed, "clip-form");
    const double form = forms.uniform(number, 0);
    const bool grids = form < 0.75, photos = form > 0.88;
    // The background tells most pictures of a batch apart and is learned at once; in batches that have one background only movement is left to tell them apart
    // by.
    const bool one_background = grids && forms.uniform(number, 1) < 0.6;
    const auto background = static_cast<miniature::Background>(forms.below(miniature::backgrounds, number, 2));
    std::vector<at::Tensor> pictures;
    std::vector<std::string> captions;
    std::vector<Claim> shown, claimed;
    for (std::int64_t i = 0; i < options_.batch; ++i) {
      miniature::Dice dice(context_.seed, "clip-batch", number * static_cast<std::uint64_t>(options_.batch) + static_cast<std::uint64_t>(i));
      const auto person = context_.person(miniature::Split::train, dice.below(static_cast<int>(context_.world.train_people)));
      Scene scene = miniature::draw_scene(person, context_.seed, static_cast<std::int64_t>(dice.bits()));
      if (one_background) {
        scene.background = background;
        scene.camera = static_cast<miniature::Camera>(dice.below(miniature::cameras));
      }
      const auto subject = draw_subject(person, options_.trigger, dice);
      captions.push_back(photos ? miniature::photo_caption(scene, subject.text) : miniature::caption(scene, subject.text));
      shown.push_back({.scene = scene});
      claimed.push_back({scene, photos, subject.described ? subject.text : ""});
      at::Tensor frames =
          grids ? grid_frames(scene) : miniature::render_photo(scene, dice.uniform(), context_.world.height, context_.world.width).image.unsqueeze(0);
      frames = degrade(frames, dice);
      pictures.push_back(grids ? rewards::tile_frames(frames, options_.grid) : frames[0]);
    }
    at::Tensor matches = at::empty({options_.batch, options_.batch}, at::kBool);
    auto m = matches.accessor<bool, 2>();
    for (std::size_t i = 0; i < shown.size(); ++i)
      for (std::size_t j = 0; j < shown.size(); ++j) m[static_cast<std::int64_t>(i)][static_cast<std::int64_t>(j)] = holds(claimed[j], shown[i]);
    return {preprocessing_(at::stack(pictures)), ids_of(captions), matches};
  }

  // Scenes of unseen people with different captions, every word as likely as the others of its kind.
  void look_at_validation() {
    if (!validation_.empty()) return;
    std::set<std::string> seen;
    std::vector<at::Tensor> grids, frames;
    for (std::int64_t i = 0; static_cast<std::int64_t>(validation_.size()) < validation_scenes; ++i) {
      miniature::Dice dice(context_.seed, "clip-validation", static_cast<std::uint64_t>(i));
      auto scene =
          miniature::draw_scene(context_.person(miniature::Split::test, i % context_.world.test_people), context_.seed, static_cast<std::int64_t>(dice.bits()));
      scene.camera = static_cast<miniature::Camera>(dice.below(miniature::cameras));
      if (!seen.insert(miniature::caption(scene)).second) continue;
      const at::Tensor clip = miniature::render(scene, context_.clip_size(), /*with_flow=*/false).frames;
      grids.push_back(rewards::tile_frames(clip, options_.grid));
      frames.push_back(clip[clip.size(0) / 2]);
      validation_.push_back(scene);
    }
    validation_grids_ = at::stack(grids);
    validation_frames_ = at::stack(frames);
  }

  Context context_;
  ClipOptions options_;
  WrittenTokenizer tokenizer_;
  vision::ClipVisionConfig vision_;
  text::ClipTextConfig text_;
  vision::InitialNetwork image_half_;
  vision::ClipPreprocessing preprocessing_;
  models::nn::Parameters parameters_;
  objectives::Contrastive objective_;
  std::vector<Scene> validation_;
  at::Tensor validation_grids_, validation_frames_;  // [N,3,*,*]
};

}  // namespace

std::unique_ptr<Network> make_clip(const Context& context, const ClipOptions& options) { return std::make_unique<ClipNetwork>(context, options); }

}  // namespace magicid::pretraining
