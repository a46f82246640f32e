// The small world's diffusion transformer: HunyuanVideo's class, trained on latents of rendered clips and pictures.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/errors.h"
#include "base/hash.h"
#include "base/random.h"
#include "diffusion/initial_noise.h"
#include "generation/sample.h"
#include "media/image.h"
#include "models/hunyuan_video/backbone.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/latent_shape.h"
#include "models/hunyuan_video/transformer.h"
#include "models/text/prompt_encoder.h"
#include "objectives/text_to_video.h"
#include "pretraining/captions.h"
#include "pretraining/face_crops.h"
#include "pretraining/network.h"
#include "pretraining/network_folder.h"
#include "storage/atomic_file.h"
#include "storage/safetensors.h"

namespace magicid::pretraining {
namespace {

namespace hv = models::hunyuan_video;
using miniature::Scene;
using nlohmann::json;

constexpr std::int64_t first_picture = 2'000'000'000;  // scenes of pictures come after those of clips
constexpr const char* trigger = "sks";
constexpr const char* weights_file = "diffusion_pytorch_model.safetensors";
constexpr std::uint64_t most_attempts = 1024;  // draws for one batch

// Every word and comma of the world's captions is one token.
std::int64_t words(const std::string& caption) { return std::count(caption.begin(), caption.end(), ' ') + std::count(caption.begin(), caption.end(), ','); }

class TransformerNetwork : public Network {
 public:
  TransformerNetwork(const Context& context, const TransformerOptions& options)
      : context_(context),
        options_(options),
        vae_(hv::AutoencoderConfig::from_folder(context.model / "vae")),
        autoencoder_(hv::load_codec(context.model / "vae", {.device = context.placement.device, .dtype = at::kFloat})),
        // Thousands of clips are encoded before they are learned from, three times as fast in bfloat16, whose rounding is far below what the latents' noise
        // hides.
        encoder_(hv::load_codec(context.model / "vae", context.placement)),
        prompts_(models::text::PromptEncoder::load(context.model, {.device = context.placement.device, .dtype = at::kFloat})),
        config_(config(options, vae_, prompts_)),
        parameters_(initial_weights(), context.placement.device, "transformer"),
        objective_([this](const auto&... of) { return token_errors(of...); }, parameters_, context.placement.dtype,
                   [this](auto step, auto slot, auto global) { return batch(step, slot, global); }, {.shift = options.shift}, context.seed) {}

  training::Objective& objective() override { return objective_; }
  std::string origin() const override { return origin_; }

  // The flow-matching error on clips of unseen people, at evenly spread noise.
  std::map<std::string, double> validate() override {
    const auto network = load();
    double sum = 0;
    for (std::int64_t i = 0; i < validation_clips; ++i) {
      const auto scene = validation_scene(i);
      const at::Tensor x0 = encode(miniature::render(scene, context_.clip_size(), false).frames).to(context_.placement.device);
      const at::Tensor noise = diffusion::initial_noise(context_.seed, "transformer-validation", x0.sizes(), static_cast<std::uint64_t>(i)).to(x0.device());
      const double sigma = (static_cast<double>(i) + 0.5) / validation_clips;
      const auto text = batch_of({}, {miniature::caption(scene)});
      hv::TransformerInputs inputs{.hidden_states = x0 * (1 - sigma) + noise * sigma,
                                   .timestep = at::full({1}, 1000 * sigma, x0.options()),
                                   .encoder_hidden_states = text.prompt_embeds,
                                   .encoder_attention_mask = text.prompt_mask,
                                   .pooled_projections = text.pooled,
                                   .guidance = at::full({1}, 1000.0, x0.options())};
      sum += (network.forward(inputs) - (noise - x0)).square().mean().item<double>();
    }
    return {{"flow_error", sum / validation_clips}};
  }

  // Rows of frames for each prompt, without and with true guidance.
  void write_samples(const std::filesystem::path& folder) override {
    const auto network = load();
    const auto scheduler = diffusion::FlowMatchEulerScheduler({.shift = options_.shift});
    const auto shape = hv::latent_shape({context_.world.height, context_.world.width, context_.world.frames}, config_, vae_);
    std::vector<at::Tensor> rows;
    std::string captions;
    for (std::int64_t i = 0; i < 8; ++i) {
      const std::string caption = miniature::caption(validation_scene(i), i % 4 == 3 ? miniature::describe_person(validation_scene(i).person) : "person");
      const at::Tensor noise = diffusion::initial_noise(context_.seed, "transformer-samples", shape, static_cast<std::uint64_t>(i));
      for (const double guidance : {1.0, 3.0}) {
        const at::Tensor latents =
            generation::sample_latents(network, scheduler,
                                       {.noise = noise,
                                        .prompt = embeddings(caption),
                                        .negative = embeddings(""),
                                        .options = {.steps = static_cast<int>(options_.sample_steps), .guidance = 1, .true_cfg = guidance}});
        const at::Tensor frames = generation::decode_frames(*autoencoder_, latents);
        std::vector<at::Tensor> row;
        for (std::int64_t f = 0; f < frames.size(0); f += 2) row.push_back(frames[f]);
        rows.push_back(at::cat(row, 2));
        captions += base::concat(caption, "  (guidance ", guidance, ")\n");
      }
    }
    media::write_png(folder / "samples.png", at::cat(rows, 1));
    storage::write_text_atomically(folder / "samples.txt", captions);
  }

  void write() override {
    write_half(context_.model / "transformer", config_.to_json().dump(2), parameters_.named_tensors(), weights_file);
    storage::write_text_atomically(
        context_.model / "scheduler" / "scheduler_config.json",
        json{{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"num_train_timesteps", 1000}, {"shift", options_.shift}}.dump(2) + "\n");
    hv::write_model_index(context_.model);
  }

 private:
  static constexpr std::int64_t validation_clips = 24;

  static hv::TransformerConfig config(const TransformerOptions& o, const hv::AutoencoderConfig& autoencoder, const models::text::PromptEncoder& prompts) {
    hv::TransformerConfig config;
    config.in_channels = config.out_channels = autoencoder.latent_channels;
    config.num_attention_heads = o.heads;
    config.attention_head_dim = o.head_size;
    config.num_layers = o.double_blocks;
    config.num_single_layers = o.single_blocks;
    config.num_refiner_layers = o.refiner_blocks;
    config.text_embed_dim = prompts.llama().config().hidden_size;
    config.pooled_projection_dim = prompts.clip().config().hidden_size;
    // A quarter of each head for time, the rest for rows and columns, as the full model's 16, 56, 56 of 128 in spirit; each even.
    const std::int64_t time = o.head_size / 4, space = (o.head_size - time) / 2;
    if (o.head_size % 16 != 0)
      throw base::UserError("transformer.head_size is ", o.head_size,
                            "; expected a multiple of 16, so that it splits into even parts for time, rows and columns");
    config.rope_axes_dim = {time, space, space};
    return config;
  }

  // Drawn from the seed; with initialize_from, tensors of the same name and shape are those of its file, and origin_ says so.
  storage::NamedTensors initial_weights() {
    auto weights = objectives::initialize_at_zero(hv::initialize_transformer(config_, context_.seed));
    if (options_.initialize_from.empty() || context_.goes_on) return weights;
    const auto file = storage::SafetensorsFile::open(std::filesystem::path(options_.initialize_from) / weights_file);
    std::size_t taken = 0;
    for (auto& [name, tensor] : weights) {
      if (!file.contains(name) || file.shape(name) != tensor.sizes()) continue;
      tensor = file.at(name).to(at::kFloat);
      ++taken;
    }
    if (taken == 0)
      throw base::UserError("transformer.initialize_from: no tensor of ", file.path().string(),
                            " has the name and shape of one of this transformer's; expected a transformer of ", options_.heads, " heads of ",
                            options_.head_size);
    origin_ = base::concat(taken, " of ", weights.size(), " tensors began as those of another transformer (xxh128 ", base::hash_file(file.path()),
                           "), the others from the seed");
    return weights;
  }

  at::Tensor token_errors(const models::nn::Weights& weights, const objectives::TextToVideoBatch& batch, const at::Tensor& noisy, const at::Tensor& timestep,
                          const at::Tensor& target) const {
    const auto network = hv::Transformer::load(config_, weights);
    const hv::TransformerInputs inputs{.hidden_states = noisy,
                                       .timestep = timestep,
                                       .encoder_hidden_states = batch.prompt_embeds,
                                       .encoder_attention_mask = batch.prompt_mask,
                                       .pooled_projections = batch.pooled,
                                       .guidance = config_.guidance_embeds ? at::full_like(timestep, 1000) : at::Tensor()};
    return (network.forward_tokens(inputs).to(at::kFloat) - network.patchify(target)).square().mean(2);
  }

  hv::Transformer load() const { return hv::Transformer::load(config_, parameters_.weights(at::kFloat)); }

  Scene validation_scene(std::int64_t i) const {
    return miniature::draw_scene(context_.person(miniature::Split::test, i % context_.world.test_people), context_.seed, 1'000'000'000 + i);
  }

  // frames [F,3,H,W] -> scaled latents [1,C,T,H',W'] on the CPU.
  at::Tensor encode(const at::Tensor& frames) const {
    const c10::AutoGradMode no_grad(false);
    return generation::encode_frames(*encoder_, frames).to(at::kCPU);
  }

  models::text::PromptEmbeddings embeddings(const std::string& caption) {
    if (const auto known = remembered_.find(caption); known != remembered_.end()) return known->second;
    const c10::AutoGradMode no_grad(false);
    auto made = prompts_(caption, models::text::PromptTemplate::hunyuan_video(), prompt_tokens);
    if (remembered_.size() < 20'000) remembered_.emplace(caption, made);
    return made;
  }

  // boxes [F,4] of a face in each frame -> [S]: face_weight for tokens that show nothing but the head, 1 for those that show nothing of it.
  at::Tensor token_weights(const at::Tensor& boxes) const {
    return head_shares(boxes, context_.world.height, context_.world.width, vae_.spatial_compression_ratio * config_.patch_size,
                       vae_.temporal_compression_ratio) *
               (options_.face_weight - 1) +
           1;
  }

  objectives::TextToVideoBatch batch_of(const at::Tensor& latents, const std::vector<std::string>& captions) {
    std::vector<at::Tensor> embeds, masks, pooled;
    for (const auto& caption : captions) {
      const auto e = embeddings(caption);
      embeds.push_back(e.prompt_embeds), masks.push_back(e.prompt_attention_mask), pooled.push_back(e.pooled_prompt_embeds);
    }
    return {.latents = latents, .prompt_embeds = at::cat(embeds), .prompt_mask = at::cat(masks), .pooled = at::cat(pooled)};
  }

  std::string caption(const Scene& scene, const base::CounterRandom& random, std::uint64_t number, std::uint64_t index) const {
    if (random.uniform(number, index) < options_.text_dropout) return "";
    const double kind = random.uniform(number, index + 1);
    std::string subject = "person";
    if (kind < options_.description_share) subject = miniature::describe_person(scene.person);
    else if (kind < options_.description_share + options_.trigger_share) subject = base::concat(trigger, " person");
    return miniature::caption(scene, subject);
  }

  // One sample of a batch, before its latents are made.
  struct Draw {
    Scene scene;
    std::int64_t number = 0;  // of the kept clips or pictures
    std::string caption;
  };

  Draw draw(bool pictures, const base::CounterRandom& random, std::uint64_t number, std::uint64_t attempt, std::int64_t slot, std::int64_t global) const {
    const std::uint64_t index = 8 * attempt + 1;
    // Slots draw from clips and pictures of their own, so that a rank that keeps its slots encodes none that another has.
    const std::int64_t own = std::max<std::int64_t>(1, (pictures ? options_.pictures : options_.clips) / global);
    const std::int64_t kept = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(own), number, index)) * global + slot;
    const auto person = context_.person(miniature::Split::train, kept % context_.world.train_people);
    auto scene = miniature::draw_scene(person, context_.seed, pictures ? first_picture + kept : kept);
    if (pictures) scene.action = miniature::Action::stands_still, scene.camera = miniature::Camera::still;
    return {scene, kept, caption(scene, random, number, index + 2)};
  }

  // All captions of a batch have as many words as the first one, as far as such are found: the transformer computes samples of one text length together, and
  // small groups cost it several times as much. Over many batches every caption is as likely as without this.
  objectives::TextToVideoBatch batch(std::int64_t step, std::int64_t slot, std::int64_t global) {
    const base::CounterRandom random(context_.seed, "transformer-batch");
    const auto number = static_cast<std::uint64_t>(step * global + slot);
    // All slots of a step alike, so that no rank waits for another's clips.
    const bool pictures = base::CounterRandom(context_.seed, "transformer-step").uniform(static_cast<std::uint64_t>(step), 0) < options_.image_share;
    std::vector<Draw> chosen, others;
    for (std::uint64_t attempt = 0;
         attempt < std::max(most_attempts, static_cast<std::uint64_t>(options_.batch)) && static_cast<std::int64_t>(chosen.size()) < options_.batch;
         ++attempt) {
      auto drawn = draw(pictures, random, number, attempt, slot, global);
      (chosen.empty() || words(drawn.caption) == words(chosen[0].caption) ? chosen : others).push_back(std::move(drawn));
    }
    for (std::size_t i = 0; static_cast<std::int64_t>(chosen.size()) < options_.batch; ++i) chosen.push_back(std::move(others[i]));
    std::vector<at::Tensor> latents, weights;
    std::vector<std::string> captions;
    for (const auto& [scene, kept_number, text] : chosen) {
      captions.push_back(text);
      auto& kept = (pictures ? pictures_ : clips_)[kept_number];
      if (!kept.latents.defined()) kept = pictures ? picture(scene, kept_number) : clip(scene);
      latents.push_back(kept.latents.to(at::kFloat));
      weights.push_back(kept.weights);
    }
    auto made = batch_of(at::cat(latents), captions);
    made.weights = at::stack(weights);
    return made;
  }

  // Latents [1,C,T,H',W'] in fp16 and token_weights.
  struct Kept {
    at::Tensor latents, weights;
  };

  Kept clip(const Scene& scene) const {
    const auto rendered = miniature::render(scene, context_.clip_size(), /*with_flow=*/false);
    return {encode(rendered.frames).to(at::kHalf), token_weights(rendered.boxes)};
  }

  Kept picture(const Scene& scene, std::int64_t number) const {
    const double time = base::CounterRandom(context_.seed, "transformer-picture").uniform(static_cast<std::uint64_t>(number), 0);
    const auto photo = miniature::render_photo(scene, time, context_.world.height, context_.world.width);
    return {encode(photo.image.unsqueeze(0)).to(at::kHalf), token_weights(photo.box.unsqueeze(0))};
  }

  Context context_;
  TransformerOptions options_;
  hv::AutoencoderConfig vae_;
  std::unique_ptr<models::generator::Codec> autoencoder_, encoder_;
  models::text::PromptEncoder prompts_;
  hv::TransformerConfig config_;
  std::string origin_;
  models::nn::Parameters parameters_;
  std::unordered_map<std::string, models::text::PromptEmbeddings> remembered_;
  std::unordered_map<std::int64_t, Kept> clips_, pictures_;
  objectives::TextToVideo objective_;
};

}  // namespace

std::unique_ptr<Network> make_transformer(const Context& context, const TransformerOptions& options) {
  return std::make_unique<TransformerNetwork>(context, options);
}

}  // namespace magicid::pretraining
