// The small world's optical flow: RAFT small, trained on the exact movement of rendered clips.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/corrcoef.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <c10/core/GradMode.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/random.h"
#include "media/image.h"
#include "models/vision/initial_networks.h"
#include "models/vision/optical_flow.h"
#include "objectives/flow_sequence.h"
#include "pretraining/augmentation.h"
#include "pretraining/block_matching.h"
#include "pretraining/network.h"
#include "pretraining/network_folder.h"
#include "rewards/dynamics.h"

namespace magicid::pretraining {
namespace {

namespace vision = models::vision;

constexpr const char* architecture = "raft_small";
constexpr int validation_updates = 12;

class OpticalFlowNetwork : public Network {
 public:
  OpticalFlowNetwork(const Context& context, const OpticalFlowOptions& options)
      : context_(context),
        options_(options),
        initial_(calmed(vision::initial_raft(architecture, context.seed))),
        parameters_(initial_.tensors, context.placement.device, "optical flow"),
        objective_(architecture, parameters_, [this](auto step, auto slot, auto global) { return batch(step, slot, global); },
                   static_cast<int>(options.updates), {}) {}

  training::Objective& objective() override { return objective_; }

  // Errors in pixels over all pixels and over those that move, and the correlation over clips of the dynamics score with that of the exact flow: for the
  // network, for block matching (matched_*) and for a flow of zeros (zero_*). `length` is the mean length of the network's flow over that of the exact one:
  // near 0 it has collapsed.
  std::map<std::string, double> validate() override {
    look_at_validation();
    const at::Tensor flow = estimate(validation_first_, validation_second_);
    std::map<std::string, double> figures;
    measure(figures, "", flow);
    measure(figures, "matched_", validation_matched_);
    const at::Tensor length = lengths(validation_truth_);
    figures["zero_error"] = length.mean().item<double>();
    figures["zero_moving_error"] = length.masked_select(length >= moving_from).mean().item<double>();
    figures["length"] = lengths(flow).mean().item<double>() / figures["zero_error"];
    return figures;
  }

  // Rows of five: two frames, the true flow, the network's, that of block matching.
  void write_samples(const std::filesystem::path& folder) override {
    look_at_validation();
    // One pair of each of the first clips.
    const auto some = [](const at::Tensor& all) { return all.slice(0, 0, 8 * pairs_of_a_clip, pairs_of_a_clip); };
    const at::Tensor first = some(validation_first_), second = some(validation_second_), truth = some(validation_truth_), matched = some(validation_matched_),
                     flow = estimate(first, second);
    std::vector<at::Tensor> rows;
    for (std::int64_t i = 0; i < flow.size(0); ++i) {
      const double longest = std::max(1.0, lengths(truth.narrow(0, i, 1)).max().item<double>());
      rows.push_back(at::cat({first[i], second[i], coloured(truth[i], longest), coloured(flow[i], longest), coloured(matched[i], longest)}, 2));
    }
    media::write_png(folder / "frames-and-flows.png", at::cat(rows, 1));
  }

  void write() override { write_half(context_.model / "rewards" / "raft", nlohmann::json::parse(initial_.config).dump(2), parameters_.named_tensors()); }

 private:
  static constexpr std::int64_t validation_clips = 24, pairs_of_a_clip = 3;

  // Random weights that keep variances make a network that does not learn to match: its context saturates the recurrent unit, what all features have in common
  // hides their differences in the correlations, and its first flows are so wrong that training ends at no flow at all. Smaller steps there, and features
  // without a common part.
  static vision::InitialNetwork calmed(vision::InitialNetwork network) {
    const c10::AutoGradMode no_grad(false);
    const auto scale = [&](const std::string& name, double factor) { network.tensors.at(name) = network.tensors.at(name) * factor; };
    at::Tensor& features = network.tensors.at("feature_encoder.conv.weight");
    features = features - features.mean({1}, /*keepdim=*/true);
    scale("context_encoder.conv.weight", 0.2);
    for (const char* layer : {"convcorr1.0", "convflow1.0", "convflow2.0", "conv.0"})
      scale(base::concat("update_block.motion_encoder.", layer, ".weight"), 0.5);
    scale("update_block.flow_head.conv2.weight", 0.1);
    return network;
  }

  static constexpr double moving_from = 0.25;  // pixels

  static at::Tensor lengths(const at::Tensor& flow) { return flow.square().sum(1).sqrt(); }

  void measure(std::map<std::string, double>& figures, const std::string& prefix, const at::Tensor& flow) const {
    const at::Tensor error = lengths(flow - validation_truth_);
    figures[prefix + "error"] = error.mean().item<double>();
    figures[prefix + "moving_error"] = error.masked_select(lengths(validation_truth_) >= moving_from).mean().item<double>();
    figures[prefix + "dynamics_correlation"] = at::corrcoef(at::stack({scores(flow), scores(validation_truth_)}))[0][1].item<double>();
  }

  // The dynamics reward of each validation clip. [validation_clips]
  static at::Tensor scores(const at::Tensor& flow) {
    std::vector<double> scores(validation_clips, 0);
    for (std::int64_t i = 0; i < flow.size(0); ++i) scores[static_cast<std::size_t>(i / pairs_of_a_clip)] += rewards::motion_of_flow(flow[i]) / pairs_of_a_clip;
    return at::tensor(scores);
  }

  // first, second [N,3,H,W] in 0..1 -> [N,2,H,W], a few pairs at a time.
  at::Tensor estimate(const at::Tensor& first, const at::Tensor& second) const {
    const auto network = vision::Raft::from_weights(parameters_.weights(at::kFloat), architecture);
    std::vector<at::Tensor> parts;
    for (std::int64_t i = 0; i < first.size(0); i += pairs_of_a_clip) {
      const auto pairs = [&](const at::Tensor& all) { return all.slice(0, i, i + pairs_of_a_clip) * 2 - 1; };
      parts.push_back(vision::estimate_flow(network, pairs(first), pairs(second), validation_updates).to(at::kCPU));
    }
    return at::cat(parts);
  }

  // flow [2,H,W] -> [3,H,W] in 0..1: grey stands still, red and green are to the right and down, at full colour by `longest` pixels; blue is half.
  static at::Tensor coloured(const at::Tensor& flow, double longest) {
    const at::Tensor both = (flow / (2 * longest) + 0.5).clamp(0, 1);
    return at::cat({both, at::full_like(both.narrow(0, 0, 1), 0.5)});
  }

  struct Pair {
    at::Tensor first, second, flow;  // [3,H,W] in 0..1, [2,H,W]
  };

  // Two frames of a clip of a person in training. Sizes, steps in time, colours and sharpness vary; half of the pairs are cut out of larger pictures at two
  // places, so that all of the picture moves and there is a match to be found everywhere.
  Pair draw(std::uint64_t number) const {
    miniature::Dice dice(context_.seed, "optical-flow-batch", number);
    const auto person = context_.person(miniature::Split::train, dice.below(static_cast<int>(context_.world.train_people)));
    auto scene = miniature::draw_scene(person, context_.seed, static_cast<std::int64_t>(dice.bits()));
    if (dice.chance(0.3)) scene.camera = static_cast<miniature::Camera>(dice.below(miniature::cameras));
    auto size = context_.clip_size();
    const bool cut = dice.chance(0.5), skip = size.frames > 2 && dice.chance(0.4);
    if (skip) size.frames = (size.frames + 1) / 2, size.fps /= 2;  // every second frame of the same clip
    const std::int64_t height = size.height, width = size.width, reach = std::max<std::int64_t>(1, height / 10);
    if (cut) {
      const double factor = dice.uniform(1.2, 1.6);
      size.height = std::max<std::int64_t>(height + 2 * reach, std::llround(static_cast<double>(height) * factor));
      size.width = std::max<std::int64_t>(width + 2 * reach, std::llround(static_cast<double>(width) * factor));
    }
    const auto clip = miniature::render(scene, size);
    const std::int64_t frame = dice.below(static_cast<int>(size.frames - 1));
    at::Tensor frames = clip.frames.narrow(0, frame, 2), flow = clip.flow[frame];
    frames = degrade(jitter_colours(frames, dice), dice);
    if (!cut) return {frames[0], frames[1], flow};
    const auto between = [&](std::int64_t low, std::int64_t high) { return low + dice.below(static_cast<int>(high - low + 1)); };
    const std::int64_t y = between(reach, size.height - height - reach), x = between(reach, size.width - width - reach), dy = between(-reach, reach),
                       dx = between(-reach, reach);
    const at::Tensor shift = at::tensor({static_cast<double>(dx), static_cast<double>(dy)}, flow.options()).view({2, 1, 1});
    const auto window = [&](const at::Tensor& picture, std::int64_t top, std::int64_t left) { return picture.narrow(1, top, height).narrow(2, left, width); };
    return {window(frames[0], y, x), window(frames[1], y + dy, x + dx), window(flow, y, x) - shift};
  }

  objectives::FlowBatch batch(std::int64_t step, std::int64_t slot, std::int64_t global) const {
    std::vector<at::Tensor> first, second, flow;
    for (std::int64_t i = 0; i < options_.batch; ++i) {
      const Pair pair = draw(static_cast<std::uint64_t>((step * global + slot) * options_.batch + i));
      first.push_back(pair.first * 2 - 1);
      second.push_back(pair.second * 2 - 1);
      flow.push_back(pair.flow);
    }
    return {at::stack(first), at::stack(second), at::stack(flow)};
  }

  void look_at_validation() {
    if (validation_truth_.defined()) return;
    std::vector<at::Tensor> first, second, truth, matched;
    for (std::int64_t i = 0; i < validation_clips; ++i) {
      const auto scene = miniature::draw_scene(context_.person(miniature::Split::test, i % context_.world.test_people), context_.seed, 2'000'000'000 + i);
      const auto clip = miniature::render(scene, context_.clip_size());
      for (std::int64_t k = 0; k < pairs_of_a_clip; ++k) {
        const std::int64_t frame = k * (clip.flow.size(0) - 1) / (pairs_of_a_clip - 1);
        first.push_back(clip.frames[frame]);
        second.push_back(clip.frames[frame + 1]);
        truth.push_back(clip.flow[frame]);
        matched.push_back(match_blocks(first.back(), second.back()));
      }
    }
    validation_first_ = at::stack(first);
    validation_second_ = at::stack(second);
    validation_matched_ = at::stack(matched);
    validation_truth_ = at::stack(truth);
  }

  Context context_;
  OpticalFlowOptions options_;
  vision::InitialNetwork initial_;
  models::nn::Parameters parameters_;
  objectives::FlowSequence objective_;
  at::Tensor validation_first_, validation_second_, validation_truth_, validation_matched_;
};

}  // namespace

std::unique_ptr<Network> make_optical_flow(const Context& context, const OpticalFlowOptions& options) {
  return std::make_unique<OpticalFlowNetwork>(context, options);
}

}  // namespace magicid::pretraining
