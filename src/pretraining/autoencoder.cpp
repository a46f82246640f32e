// The small world's autoencoder: HunyuanVideo's class at a small size.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "media/image.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/initialize.h"
#include "objectives/autoencoder_reconstruction.h"
#include "pretraining/face_crops.h"
#include "pretraining/network.h"
#include "pretraining/network_folder.h"

namespace magicid::pretraining {
namespace {

namespace hv = models::hunyuan_video;

class AutoencoderNetwork : public Network {
 public:
  AutoencoderNetwork(const Context& context, const AutoencoderNetworkOptions& options)
      : context_(context),
        options_(options),
        parameters_(objectives::initialize_framewise(hv::initialize_autoencoder(config(options), context.seed)), context.placement.device, "autoencoder"),
        objective_([c = config(options)](const models::nn::Weights& weights) { return calls(hv::Autoencoder::from_weights(c, weights)); }, parameters_,
                   context.placement.dtype, [this](auto step, auto slot, auto global) { return batch(step, slot, global); },
                   {.gradient_weight = options.gradient_weight, .kl_weight = options.kl_weight, .latent_noise = options.latent_noise}, context.seed) {}

  training::Objective& objective() override { return objective_; }

  std::map<std::string, double> validate() override {
    double squares = 0, face_squares = 0, face_pixels = 0, latents = 0, latent_squares = 0, numbers = 0;
    double at_cells = 0, within_cells = 0;
    for (std::int64_t i = 0; i < validation_clips; ++i) {
      const auto clip = validation_clip(i);
      const auto [decoded, latent] = round_trip(clip.frames);
      const at::Tensor error = decoded - clip.frames;
      squares += error.square().mean().item<double>();
      const at::Tensor inside = face_mask(clip.boxes, clip.frames.size(2), clip.frames.size(3));
      face_squares += (error.square() * inside).sum().item<double>();
      face_pixels += 3 * inside.sum().item<double>();
      latents += latent.sum().item<double>();
      latent_squares += latent.square().sum().item<double>();
      numbers += static_cast<double>(latent.numel());
      // Latent cells that do not join show as errors that jump at the cells' edges.
      const std::int64_t width = error.size(3), cell = options_.spatial_compression;
      const at::Tensor jumps = (error.narrow(3, 1, width - 1) - error.narrow(3, 0, width - 1)).abs().mean({0, 1, 2});
      for (std::int64_t x = 0; x + 1 < width; ++x)
        ((x + 1) % cell == 0 ? at_cells : within_cells) += jumps[x].item<double>() / ((x + 1) % cell == 0 ? 1.0 : static_cast<double>(cell - 1));
    }
    const double mean = latents / numbers;
    latent_deviation_ = std::sqrt(latent_squares / numbers - mean * mean);
    return {{"psnr", psnr(squares / validation_clips)},
            {"face_psnr", psnr(face_squares / face_pixels)},
            {"seams", at_cells / within_cells},
            {"latent_deviation", latent_deviation_}};
  }

  void write_samples(const std::filesystem::path& folder) override {
    std::vector<at::Tensor> rows;
    for (std::int64_t i = 0; i < 6; ++i) {
      const auto clip = validation_clip(i);
      const at::Tensor decoded = round_trip(clip.frames).first;
      for (const at::Tensor& frames : {clip.frames, decoded}) {
        std::vector<at::Tensor> row;
        for (std::int64_t f = 0; f < frames.size(0); f += 2) row.push_back(frames[f]);
        rows.push_back(at::cat(row, 2));
      }
    }
    media::write_png(folder / "clips-and-reconstructions.png", at::cat(rows, 1));
  }

  void write() override {
    auto written = config(options_);
    // As HunyuanVideo's 0.476986: the transformer sees latents of unit variance.
    written.scaling_factor = 1.0 / latent_deviation_;
    write_half(context_.model / "vae", written.to_json().dump(2), parameters_.named_tensors(), "diffusion_pytorch_model.safetensors");
  }

 private:
  static constexpr std::int64_t validation_clips = 16;

  static objectives::AutoencoderCalls calls(const hv::Autoencoder& network) {
    return {.encode =
                [network](const at::Tensor& sample) {
                  const auto latents = network.encode(sample);
                  return std::pair(latents.mean, latents.logvar);
                },
            .decode = [network](const at::Tensor& latents) { return network.decode(latents); }};
  }

  static hv::AutoencoderConfig config(const AutoencoderNetworkOptions& o) {
    hv::AutoencoderConfig config;
    config.latent_channels = o.latent_channels;
    config.block_out_channels = o.channels;
    config.layers_per_block = o.layers_per_block;
    config.norm_num_groups = o.norm_groups;
    config.spatial_compression_ratio = o.spatial_compression;
    return config;
  }

  static double psnr(double mean_square) { return -10 * std::log10(mean_square); }

  miniature::Clip validation_clip(std::int64_t i) const {
    return miniature::render(miniature::draw_scene(context_.person(miniature::Split::test, i % context_.world.test_people), context_.seed, i),
                             context_.clip_size(), /*with_flow=*/false);
  }

  // frames [F,3,H,W] in 0..1 -> what comes back, and the latents.
  std::pair<at::Tensor, at::Tensor> round_trip(const at::Tensor& frames) const {
    const auto network = hv::Autoencoder::from_weights(config(options_), parameters_.weights(at::kFloat));
    const at::Tensor mean = network.encode((frames.unsqueeze(0).transpose(1, 2) * 2 - 1).to(context_.placement.device)).mean;
    const at::Tensor decoded = (network.decode(mean) / 2 + 0.5).clamp(0, 1).to(at::kCPU);
    return {decoded[0].transpose(0, 1).contiguous(), mean.to(at::kCPU)};
  }

  objectives::AutoencoderBatch batch(std::int64_t step, std::int64_t slot, std::int64_t global) const {
    const base::CounterRandom random(context_.seed, "autoencoder-batch");
    const auto number = static_cast<std::uint64_t>(step * global + slot);
    const bool clips =
        static_cast<double>(step) >= options_.clips_from * static_cast<double>(options_.training.steps) && random.uniform(number, 0) < options_.clip_share;
    // Clips of all lengths, short ones in larger batches: a batch costs about the same whatever it holds.
    auto size = context_.clip_size();
    size.frames =
        1 + 4 * static_cast<std::int64_t>(1 + random.below(static_cast<std::uint64_t>(std::max<std::int64_t>(1, (size.frames - 1) / 4)), number, 1'000'000));
    const std::int64_t items = clips ? std::max<std::int64_t>(1, options_.clip_batch * context_.world.frames / size.frames) : options_.batch;
    std::vector<at::Tensor> samples, weights;
    for (std::int64_t i = 0; i < items; ++i) {
      const auto index = static_cast<std::uint64_t>(i);
      const auto person = context_.person(
          miniature::Split::train, static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(context_.world.train_people), number, 2 * index + 1)));
      const auto scene = miniature::draw_scene(person, context_.seed, static_cast<std::int64_t>(number) * options_.batch + i);
      at::Tensor frames, boxes;
      if (clips) {
        const auto clip = miniature::render(scene, size, /*with_flow=*/false);
        frames = clip.frames, boxes = clip.boxes;
      } else {
        const auto photo = miniature::render_photo(scene, random.uniform(number, 2 * index + 2), context_.world.height, context_.world.width);
        frames = photo.image.unsqueeze(0), boxes = photo.box.unsqueeze(0);
      }
      samples.push_back(frames.transpose(0, 1) * 2 - 1);
      weights.push_back((face_mask(boxes, frames.size(2), frames.size(3)) * (options_.face_weight - 1) + 1).transpose(0, 1));
    }
    return {at::stack(samples), at::stack(weights)};
  }

  Context context_;
  AutoencoderNetworkOptions options_;
  models::nn::Parameters parameters_;
  objectives::AutoencoderReconstruction objective_;
  double latent_deviation_ = 1;
};

}  // namespace

std::unique_ptr<Network> make_autoencoder(const Context& context, const AutoencoderNetworkOptions& options) {
  return std::make_unique<AutoencoderNetwork>(context, options);
}

}  // namespace magicid::pretraining
