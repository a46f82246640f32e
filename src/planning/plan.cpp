#include "planning/plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "base/errors.h"
#include "comm/mesh.h"
#include "planning/networks.h"
#include "preference/pair_order.h"
#include "rewards/frame_sampling.h"
#include "training/schedule.h"

namespace magicid::planning {
namespace {

using models::generator::ActivationBytes;
using models::generator::CodecCost;
using models::generator::Recompute;
using models::generator::RecomputePlan;
using models::generator::Share;

std::int64_t rounds(std::int64_t work, std::int64_t workers) { return (work + workers - 1) / workers; }
std::int64_t optimizer_steps(const Workload& w) { return training::steps_for(w.pairs_seen, w.optimize_batch); }
// Samples of a step that the replica with most of them computes.
std::int64_t most_slots(std::int64_t batch, std::int64_t replicas) { return static_cast<std::int64_t>(training::slots_of(0, replicas, batch).size()); }

// Bytes that a rank sends when all sum a buffer up: a ring's, 2 (n-1)/n times the bytes (Patarasuk & Yuan 2009).
double all_reduce_bytes(double bytes, int ranks) { return ranks > 1 ? 2 * bytes * (ranks - 1) / ranks : 0; }

// What is left of the reference's forwards where noise_draws keeps their errors: a share of all, and a share of those of the replica that a step waits for.
struct ReferenceLeft {
  double computed = 1, waited = 1;
};

// Plays the samples through in the order that the run shows them in. A replica knows what it has computed itself.
ReferenceLeft reference_left(const Workload& w, std::int64_t replicas) {
  if (w.noise_draws == 0 || w.identity_pairs + w.dynamic_pairs == 0) return {};
  const preference::PairOrder order(w.identity_pairs, w.dynamic_pairs, w.share_dynamic, w.seed);
  std::vector<std::set<std::pair<std::int64_t, std::int64_t>>> known(static_cast<std::size_t>(replicas));  // pair and draw
  const std::int64_t steps = optimizer_steps(w);
  std::int64_t computed = 0, waited = 0;
  for (std::int64_t step = 0; step < steps; ++step) {
    std::int64_t most = 0;
    for (std::int64_t replica = 0; replica < replicas; ++replica) {
      std::int64_t here = 0;
      for (const std::int64_t slot : training::slots_of(replica, replicas, w.optimize_batch)) {
        const preference::ShownPair shown = order.at(step * w.optimize_batch + slot);
        here += known[static_cast<std::size_t>(replica)].insert({order.number_of(shown), preference::noise_draw_of(shown.round, w.noise_draws)}).second;
      }
      computed += here;
      most = std::max(most, here);
    }
    waited += most;
  }
  return {static_cast<double>(computed) / static_cast<double>(steps * w.optimize_batch),
          static_cast<double>(waited) / static_cast<double>(steps * most_slots(w.optimize_batch, replicas))};
}

// The sizes and bandwidths behind all phases of one layout.
class Estimate {
 public:
  Estimate(const Networks& n, const Workload& w, const Cluster& c, const Efficiencies& e, const RankLayout& l)
      : cost_(*n.backbone), w_(w), c_(c), e_(e), l_(l) {
    base::check_invariant(l.replica * l.pair * l.sequence == c.world(), "a layout of ", l.replica, " x ", l.pair, " x ", l.sequence, " ranks on ", c.world(),
                          " GPUs");
    models::generator::VideoSize still = w.video;
    still.frames = 1;
    video_ = cost_.largest_share(cost_.tokens_of(w.video, w.text_tokens), l.sequence);
    still_ = cost_.largest_share(cost_.tokens_of(still, w.text_tokens), l.sequence);
    weights_ = cost_.weight_bytes(element());
    autoencoder_weights_ = static_cast<double>(cost_.codec_parameters() * element());
    decode_ = cost_.decode_cost(w.video, element());
    encode_ = cost_.encode_cost(w.video, element());
  }

  std::vector<Phase> phases() const {
    std::vector<Phase> all{prepare(), reconstruct(), generate(), score(), optimize()};
    if (w_.preview_every > 0) all.push_back(previews());
    all.push_back(evaluate());
    return all;
  }

 private:
  std::int64_t element() const { return c_.device.element; }
  models::generator::Arithmetic arithmetic() const { return {.element = element(), .fused_rotation = c_.device.name == "cpu"}; }
  double peak() const { return c_.device.peak_flops; }

  // Of one rank, forward of one sample: seconds and bytes sent.
  double exchange_seconds(double bytes) const { return bytes / (c_.device.link_bandwidth * e_.link); }
  // By the rank that sends most: of a forward, and of a forward and backward.
  double exchanged(const Share& share) const {
    double most = 0;
    for (int rank = 0; rank < share.sequence; ++rank) most = std::max(most, cost_.exchange_bytes(share.whole, share.sequence, rank, element()));
    return most;
  }
  double exchanged_in_training(const Share& share) const {
    double most = 0;
    for (int rank = 0; rank < share.sequence; ++rank)
      most = std::max(most, cost_.training_exchange_bytes(share.whole, share.sequence, rank, l_.recompute, element()));
    return most;
  }
  // Of all ranks of a sample's group: the counted operations with whole sequences.
  Share whole(const Share& share) const { return cost_.largest_share(share.whole, 1); }

  struct Training {
    double flops, seconds, sent;
  };
  // Forward and backward of one sample for the adapter.
  Training train(const Share& share) const {
    const auto operations = [&](const Share& s) {
      return (cost_.forward_flops(s, &w_.adapter) + cost_.backward_flops(s, w_.adapter, true) + cost_.recomputed_flops(s, w_.adapter, l_.recompute)).total();
    };
    const double sent = exchanged_in_training(share);
    return {operations(whole(share)), operations(share) / (peak() * e_.training) + exchange_seconds(sent), sent};
  }
  Training predict(const Share& share, bool adapted, double efficiency) const {
    const auto operations = [&](const Share& s) { return cost_.forward_flops(s, adapted ? &w_.adapter : nullptr).total(); };
    const double sent = exchanged(share);
    return {operations(whole(share)), operations(share) / (peak() * efficiency) + exchange_seconds(sent), sent};
  }

  double reduction_bytes(int ranks) const { return all_reduce_bytes(static_cast<double>(cost_.adapter_parameters(w_.adapter)) * 4, ranks); }
  double reduction_seconds(int ranks) const {
    const double bandwidth = ranks > c_.gpus ? c_.network_bandwidth * e_.network : c_.device.link_bandwidth * e_.link;
    return reduction_bytes(ranks) / bandwidth;
  }

  void finish_memory(Phase& phase) const {
    double sum = 0;
    for (const auto& kind : phase.memory) sum += kind.bytes;
    phase.memory.push_back({"context and libraries (allowance)", c_.reserve});
    phase.memory.push_back({"allocator slack (allowance)", c_.slack * sum});
  }

  void add_training_memory(Phase& phase, const Share& share, bool with_reference) const {
    const ActivationBytes a = cost_.training_bytes(share, w_.adapter, l_.recompute, arithmetic());
    phase.memory = {{"weights", weights_},
                    {with_reference ? "adapter, gradient, total, moments, reference (fp32)" : "adapter, gradient, total, moments (fp32)",
                     cost_.adapter_state_bytes(w_.adapter, with_reference)},
                    {"adapter in the model's dtype", a.copies},
                    {"activations kept (" + l_.recompute.text() + ")", a.kept},
                    {"one block's backward and exchanges", a.working}};
    finish_memory(phase);
  }

  Phase prepare() const {
    Phase phase{.name = "prepare"};
    const std::int64_t texts = 2 * w_.prompts + 1;
    phase.work = base::concat(texts, " prompts, ", w_.stills, " stills");
    phase.flops = static_cast<double>(texts) * cost_.prompt_flops(w_.text_tokens) + static_cast<double>(w_.stills) * encode_.flops;
    phase.seconds = phase.flops / (peak() * e_.autoencoder);
    const double texts_bytes = cost_.text_encoder_parameters() * static_cast<double>(element()), videos = autoencoder_weights_ + encode_.peak_bytes;
    phase.memory = texts_bytes > videos ? std::vector<MemoryKind>{{"text encoders", texts_bytes}}
                                        : std::vector<MemoryKind>{{"autoencoder", autoencoder_weights_}, {"encoding one tile of frames", encode_.peak_bytes}};
    finish_memory(phase);
    return phase;
  }

  Phase reconstruct() const {
    // The pair axis counts as replicas here.
    const int replicas = l_.replica * l_.pair, busy = static_cast<int>(std::min<std::int64_t>(replicas, w_.reconstruct_batch));
    Phase phase{.name = "reconstruct", .gpus = busy * l_.sequence};
    phase.work = base::concat(w_.reconstruct_steps, " steps of ", w_.reconstruct_batch, w_.reconstruct_batch == 1 ? " photo" : " photos");
    Training sample = train(still_);
    if (w_.prior != Workload::Prior::none) {
      const Training prior = train(w_.prior == Workload::Prior::image ? still_ : video_);
      sample = {sample.flops + prior.flops, sample.seconds + prior.seconds, sample.sent + prior.sent};
      phase.work += " and as many class samples";
    }
    const double steps = static_cast<double>(w_.reconstruct_steps), each = static_cast<double>(most_slots(w_.reconstruct_batch, busy));
    phase.flops = steps * static_cast<double>(w_.reconstruct_batch) * sample.flops;
    phase.seconds = steps * (each * sample.seconds + reduction_seconds(phase.gpus));
    phase.sent_bytes = steps * (each * sample.sent + reduction_bytes(phase.gpus));
    add_training_memory(phase, w_.prior == Workload::Prior::video ? video_ : still_, false);
    return phase;
  }

  Phase generate() const {
    const std::int64_t groups = l_.replica * l_.pair, videos = w_.initial_videos + w_.tuned_videos;
    Phase phase{.name = "generate", .gpus = static_cast<int>(std::min(groups, videos)) * l_.sequence};
    phase.work = base::concat(videos, " videos of ", w_.sampling_steps, " steps");
    const double predictions = static_cast<double>(w_.sampling_steps * w_.forwards_per_step);
    const Training bare = predict(video_, false, e_.generation), adapted = predict(video_, true, e_.generation);
    phase.flops = predictions * (static_cast<double>(w_.initial_videos) * bare.flops + static_cast<double>(w_.tuned_videos) * adapted.flops);
    phase.seconds = static_cast<double>(rounds(videos, groups)) * predictions * adapted.seconds;
    phase.sent_bytes = static_cast<double>(rounds(videos, groups)) * predictions * adapted.sent;
    phase.memory = {{"weights", weights_}, forward()};
    finish_memory(phase);
    return phase;
  }

  // Decoding and rewards of one video; the flow of a pair is computed forward and backward.
  double reward_flops() const {
    return static_cast<double>(rewards::evenly_spaced_frames(w_.video.frames, w_.face_frames).size()) * iresnet_flops({3, 13, 30, 3}) +
           2 * static_cast<double>(flow_pairs()) * raft_flops(true, w_.video.height, w_.video.width, w_.flow_updates) +
           static_cast<double>(rewards::evenly_spaced_frames(w_.video.frames, w_.semantic_frames).size()) * clip_l_vision().flops(257);
  }
  std::int64_t flow_pairs() const {
    return static_cast<std::int64_t>(rewards::frames_for_flow(w_.video.frames, static_cast<double>(w_.fps), w_.flow_rate).size()) - 1;
  }
  double score_seconds() const { return decode_.flops / (peak() * e_.autoencoder) + reward_flops() / (peak() * e_.rewards); }
  double flow_bytes() const { return static_cast<double>(std::min(w_.reward_batch, flow_pairs())) * raft_correlation_bytes(w_.video.height, w_.video.width); }
  double frames_bytes() const { return 4.0 * 3 * static_cast<double>(w_.video.frames * w_.video.height * w_.video.width); }

  // In fp32: iresnet100 65 million parameters, RAFT 5, CLIP 428.
  static constexpr double kRewardBytes = 4.0 * 498e6;
  // What is alive while the networks take turns.
  MemoryKind forward() const { return {"one forward's activations", cost_.forward_bytes(video_, arithmetic())}; }
  MemoryKind decoding() const { return {"decoding one tile of frames", decode_.peak_bytes}; }
  MemoryKind flow() const { return {"correlations of one batch of frames", flow_bytes()}; }
  static MemoryKind largest(std::initializer_list<MemoryKind> kinds) {
    return *std::max_element(kinds.begin(), kinds.end(), [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  }

  Phase score() const {
    const std::int64_t videos = w_.initial_videos + w_.tuned_videos + w_.stills, ranks = c_.world();
    Phase phase{.name = "score", .gpus = static_cast<int>(std::min(ranks, videos))};
    phase.work = base::concat(videos, " videos decoded and rewarded");
    phase.flops = static_cast<double>(videos) * (decode_.flops + reward_flops());
    phase.seconds = static_cast<double>(rounds(videos, ranks)) * score_seconds();
    phase.memory = {{"autoencoder", autoencoder_weights_}, {"reward networks", kRewardBytes}, {"frames", frames_bytes()}, largest({decoding(), flow()})};
    finish_memory(phase);
    return phase;
  }

  Phase optimize() const {
    const int busy = static_cast<int>(std::min<std::int64_t>(l_.replica, w_.optimize_batch));
    Phase phase{.name = "optimize", .gpus = busy * l_.pair * l_.sequence};
    const std::int64_t steps = optimizer_steps(w_);
    phase.work = base::concat(steps, " steps of ", w_.optimize_batch, w_.optimize_batch == 1 ? " pair" : " pairs");
    const Training policy = train(video_), reference = predict(video_, true, e_.training);
    const ReferenceLeft left = reference_left(w_, busy);
    if (w_.noise_draws > 0) phase.work += base::concat(", ", std::lround(100 * left.computed), "% of the reference's forwards");
    const double videos = 2.0 / l_.pair, each = static_cast<double>(most_slots(w_.optimize_batch, busy)), n = static_cast<double>(steps);
    phase.flops = 2 * n * static_cast<double>(w_.optimize_batch) * (policy.flops + left.computed * reference.flops);
    phase.seconds = n * (each * videos * (policy.seconds + left.waited * reference.seconds) + reduction_seconds(phase.gpus));
    phase.sent_bytes = n * (each * videos * (policy.sent + left.waited * reference.sent) + reduction_bytes(phase.gpus));
    add_training_memory(phase, video_, true);
    return phase;
  }

  // Part of the stage `optimize`, between its steps. The ranks of a sequence group sample a video together; then every rank decodes and scores videos of its
  // own.
  Phase previews() const {
    const std::int64_t times = training::previews_due(w_.preview_every, optimizer_steps(w_)), groups = l_.replica * l_.pair;
    Phase phase{.name = "previews", .gpus = static_cast<int>(std::min(groups, w_.preview_videos)) * l_.sequence};
    phase.work = base::concat(times, " times ", w_.preview_videos, w_.preview_videos == 1 ? " video" : " videos", " of ", w_.sampling_steps,
                              " steps, decoded and rewarded");
    const Training adapted = predict(video_, true, e_.generation);
    const double predictions = static_cast<double>(w_.sampling_steps * w_.forwards_per_step),
                 each = static_cast<double>(times * rounds(w_.preview_videos, groups));
    phase.flops = static_cast<double>(times * w_.preview_videos) * (predictions * adapted.flops + decode_.flops + reward_flops());
    phase.seconds = each * predictions * adapted.seconds + static_cast<double>(times * rounds(w_.preview_videos, c_.world())) * score_seconds();
    phase.sent_bytes = each * predictions * adapted.sent;
    phase.memory = {{"weights", weights_},
                    {"adapter, gradient, total, moments, reference (fp32)", cost_.adapter_state_bytes(w_.adapter, true)},
                    {"autoencoder", autoencoder_weights_},
                    {"reward networks", kRewardBytes},
                    {"frames", frames_bytes()},
                    largest({decoding(), flow(), forward()})};
    finish_memory(phase);
    return phase;
  }

  Phase evaluate() const {
    const std::int64_t groups = l_.replica * l_.pair, videos = w_.evaluation_videos;
    Phase phase{.name = "evaluate", .gpus = static_cast<int>(std::min(groups, videos)) * l_.sequence};
    phase.work = base::concat(videos, " videos of ", w_.sampling_steps, " steps, decoded and measured");
    const Training adapted = predict(video_, true, e_.generation);
    const double predictions = static_cast<double>(w_.sampling_steps * w_.forwards_per_step), each = static_cast<double>(rounds(videos, groups));
    phase.flops = static_cast<double>(videos) * (predictions * adapted.flops + decode_.flops + reward_flops());
    phase.seconds = each * predictions * adapted.seconds + static_cast<double>(rounds(videos, c_.world())) * score_seconds();
    phase.sent_bytes = each * predictions * adapted.sent;
    phase.memory = {{"weights", weights_}, {"autoencoder", autoencoder_weights_}, {"frames", frames_bytes()}, largest({decoding(), forward()})};
    finish_memory(phase);
    return phase;
  }

  const models::generator::BackboneCost& cost_;
  const Workload& w_;
  const Cluster& c_;
  const Efficiencies& e_;
  const RankLayout& l_;
  Share video_, still_;
  double weights_ = 0, autoencoder_weights_ = 0;
  CodecCost decode_, encode_;
};

const Phase& most_memory(const Plan& plan) {
  return *std::max_element(plan.phases.begin(), plan.phases.end(), [](const Phase& a, const Phase& b) { return a.memory_total() < b.memory_total(); });
}

std::string name_of(const RankLayout& l) {
  return base::concat(l.replica, l.replica == 1 ? " replica x " : " replicas x ", l.pair, " pair x ", l.sequence, " sequence, recompute ", l.recompute.text());
}

// Without their recomputation.
std::vector<RankLayout> meshes(const Cluster& cluster, const Wish& wish) {
  std::vector<RankLayout> all;
  for (const int pair : {1, 2}) {
    if (wish.pair && *wish.pair != pair) continue;
    for (const int sequence : comm::valid_sequence_sizes(cluster.world(), pair)) {
      // A group that crosses nodes would exchange activations over the network: only when asked for.
      if (wish.sequence ? *wish.sequence != sequence : cluster.gpus % sequence != 0) continue;
      all.push_back({cluster.world() / (pair * sequence), pair, sequence, {}});
    }
  }
  if (all.empty()) comm::Mesh::for_world(cluster.world(), wish.pair.value_or(1), wish.sequence.value_or(1));  // says what is wrong
  base::check_invariant(!all.empty(), "no layout of ", cluster.world(), " ranks");
  return all;
}

std::vector<RecomputePlan> one_kind_for_all(const Wish& wish) {
  if (wish.recompute) return {*wish.recompute};
  return {Recompute::none, Recompute::attention_kept, Recompute::full};
}

struct Search {
  std::optional<Plan> best, leanest;
  std::vector<Plan> all;
};

// The mesh with as few blocks of the leaner mode as fit, first in their order: the backward runs from the last block, so what the others keep is gone before
// the first is computed again. Empty: that is no mixture.
std::optional<Plan> mixed(std::int64_t blocks, double memory, Recompute leaner, Recompute other,
                          const std::function<Plan(const RecomputePlan&)>& estimate_with) {
  std::optional<Plan> found;
  std::int64_t low = 1, high = blocks - 1;
  while (low <= high) {
    const std::int64_t count = (low + high) / 2;
    Plan plan = estimate_with(RecomputePlan::parse(base::concat(to_string(leaner), ":", count, ",", to_string(other))));
    if (plan.memory() <= memory) {
      found = std::move(plan);
      high = count - 1;
    } else {
      low = count + 1;
    }
  }
  return found;
}

Search search(const Networks& n, const Workload& w, const Cluster& c, const Efficiencies& e, const Wish& wish) {
  Search found;
  const auto fitting = [&](const Plan& plan) { return plan.memory() <= c.device.memory_bytes; };
  const auto consider = [&](Plan plan) {
    if (!found.leanest || plan.memory() < found.leanest->memory()) found.leanest = plan;
    // Of layouts within half a percent the simpler one, which comes first.
    if (fitting(plan) && (!found.best || plan.seconds() < 0.995 * found.best->seconds())) found.best = plan;
    found.all.push_back(std::move(plan));
  };
  using enum Recompute;
  std::vector<RankLayout> layouts;
  for (RankLayout layout : meshes(c, wish)) {
    for (const auto& recompute : one_kind_for_all(wish)) {
      layout.recompute = recompute;
      consider(estimate(n, w, c, e, layout));
    }
    layouts.push_back(layout);
  }
  if (wish.recompute) return found;
  const std::vector<Plan> pure = found.all;  // three for each mesh
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const auto estimate_with = [&, layout = layouts[i]](const RecomputePlan& recompute) mutable {
      layout.recompute = recompute;
      return estimate(n, w, c, e, layout);
    };
    for (std::size_t j = 0; j < 2; ++j) {
      if (fitting(pure[3 * i + j]) || !fitting(pure[3 * i + j + 1])) continue;
      const Recompute leaner = j == 0 ? attention_kept : full, other = j == 0 ? none : attention_kept;
      if (auto plan = mixed(n.backbone->blocks(), c.device.memory_bytes, leaner, other, estimate_with)) consider(std::move(*plan));
    }
  }
  return found;
}

// No mixture fits where its leaner mode does not.
bool fits(const Networks& n, const Workload& w, const Cluster& c, const Wish& wish) {
  for (RankLayout layout : meshes(c, wish)) {
    for (const auto& recompute : one_kind_for_all(wish)) {
      layout.recompute = recompute;
      if (estimate(n, w, c, {}, layout).memory() <= c.device.memory_bytes) return true;
    }
  }
  return false;
}

// What would make a job fit that does not.
std::string remedies(const Networks& n, const Workload& w, const Cluster& c, const Wish& wish) {
  std::vector<std::string> found;
  if (wish.pair || wish.sequence || wish.recompute)
    if (fits(n, w, c, {})) found.push_back("leave layout and recomputation to the plan (without --pair, --sequence, --recompute it fits)");
  if (w.preview_every > 0) {
    Workload without = w;
    without.preview_every = 0;
    if (fits(n, without, c, wish)) found.push_back("no previews: optimize.previews.every=0");
  }
  for (int gpus = 2 * c.gpus; gpus <= 64; gpus *= 2) {
    Cluster larger = c;
    larger.gpus = gpus;
    if (!fits(n, w, larger, {})) continue;
    found.push_back(base::concat("more ranks for a sequence: nodes of ", gpus, " GPUs"));
    break;
  }
  const models::generator::VideoSize step = n.backbone->steps_of_size();
  for (std::int64_t frames = w.video.frames - step.frames; frames >= 1; frames -= step.frames) {
    Workload smaller = w;
    smaller.video.frames = frames;
    if (!fits(n, smaller, c, wish)) continue;
    found.push_back(base::concat("a shorter video: video.frames=", frames));
    break;
  }
  for (std::int64_t eighths = 7; eighths >= 2; --eighths) {
    Workload smaller = w;
    smaller.video.height = w.video.height * eighths / 8 / step.height * step.height;
    smaller.video.width = w.video.width * eighths / 8 / step.width * step.width;
    if (smaller.video.height < step.height || smaller.video.width < step.width || !fits(n, smaller, c, wish)) continue;
    found.push_back(base::concat("a smaller video: video.height=", smaller.video.height, " video.width=", smaller.video.width));
    break;
  }
  std::string devices_that_fit;
  for (const Device& device : devices()) {
    Cluster other = c;
    other.device = device;
    if (device.element == c.device.element && device.memory_bytes > c.device.memory_bytes && fits(n, w, other, wish))
      devices_that_fit += (devices_that_fit.empty() ? "" : ", ") + device.name;
  }
  if (!devices_that_fit.empty()) found.push_back("devices with more memory: " + devices_that_fit);
  if (found.empty()) return "Neither more ranks for a sequence, nor a shorter or smaller video, nor another device of the list makes it fit.";
  std::string text = "What would make it fit: ";
  for (std::size_t i = 0; i < found.size(); ++i) text += (i ? "; or " : "") + found[i];
  return text + ".";
}

void refuse(const Networks& n, const Workload& w, const Cluster& c, const Wish& wish, const Plan& leanest) {
  const Phase& phase = most_memory(leanest);
  const auto& largest = *std::max_element(phase.memory.begin(), phase.memory.end(), [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  throw base::UserError("this job does not fit ", c.nodes, " x ", c.gpus, " ", c.device.name, ": ", phase.name, " needs ", bytes_text(phase.memory_total()),
                        " on each GPU, which has ", bytes_text(c.device.memory_bytes), ", even with the leanest layout (", name_of(leanest.layout),
                        "); the largest part is ", largest.name, " with ", bytes_text(largest.bytes), ". ", remedies(n, w, c, wish));
}

void explain(Plan& plan, const Search& found, const Cluster& c, const Workload& w, const Wish& wish) {
  const Phase& tightest = most_memory(plan);
  plan.reasons.push_back(base::concat("It is the fastest of the layouts that fit: ", tightest.name, " needs most, ", bytes_text(plan.memory()), " of ",
                                      bytes_text(c.device.memory_bytes), "."));
  std::size_t fitting = 0;
  const Plan* second = nullptr;
  for (const auto& other : found.all) {
    if (other.memory() > c.device.memory_bytes) continue;
    ++fitting;
    const bool same_mesh = other.layout.pair == plan.layout.pair && other.layout.sequence == plan.layout.sequence;
    if (!same_mesh && (!second || other.seconds() < second->seconds())) second = &other;
  }
  plan.reasons.push_back(base::concat(found.all.size(), " layouts were compared, ", fitting, " fit."));
  if (second)
    plan.reasons.push_back(base::concat("The best of another mesh, ", name_of(second->layout), ", takes ", time_text(second->seconds()), " instead of ",
                                        time_text(plan.seconds()), "."));
  for (const auto& other : found.all)
    if (other.layout.pair == plan.layout.pair && other.layout.sequence == plan.layout.sequence && other.layout.recompute != plan.layout.recompute)
      plan.reasons.push_back(
          base::concat("recompute ", other.layout.recompute.text(), " would need ", bytes_text(other.memory()), " and take ", time_text(other.seconds()), "."));
  if (plan.layout.sequence > 1) {
    const bool inside = c.gpus % plan.layout.sequence == 0;
    plan.reasons.push_back(inside ? base::concat("The ", plan.layout.sequence, " ranks of a sequence lie in one node and exchange over ", c.device.link, ".")
                                  : base::concat("The ", plan.layout.sequence,
                                                 " ranks of a sequence cross nodes, as asked for: the exchanges will be slower than reckoned here."));
  }
  for (const auto& phase : plan.phases) {
    const bool reconstruct = phase.name == "reconstruct";
    if ((!reconstruct && phase.name != "optimize") || phase.gpus >= c.world()) continue;
    const std::int64_t needed = reconstruct ? plan.layout.replica * plan.layout.pair : plan.layout.replica;
    const std::string batch = phase.name + ".global_batch";
    plan.advice.push_back(base::concat(batch, " is ", reconstruct ? w.reconstruct_batch : w.optimize_batch, ", which gives work to ", phase.gpus, " of ",
                                       c.world(), " GPUs",
                                       reconstruct ? base::concat("; the others wait there. ", batch, "=", needed, " gives work to all.")
                                                   : base::concat("; such a job is refused. Set ", batch, "=", needed, ", or use ", phase.gpus, " GPUs.")));
  }
  if (wish.sequence || wish.pair || wish.recompute) plan.reasons.push_back("Part of the layout was given, not chosen.");
}

}  // namespace

double Phase::memory_total() const {
  double sum = 0;
  for (const auto& kind : memory) sum += kind.bytes;
  return sum;
}

double Plan::seconds() const {
  double sum = 0;
  for (const auto& phase : phases) sum += phase.seconds;
  return sum;
}

double Plan::memory() const { return most_memory(*this).memory_total(); }

Plan estimate(const Networks& networks, const Workload& workload, const Cluster& cluster, const Efficiencies& efficiencies, const RankLayout& layout) {
  return {.layout = layout, .phases = Estimate(networks, workload, cluster, efficiencies, layout).phases(), .reasons = {}, .advice = {}};
}

Plan make_plan(const Networks& networks, const Workload& workload, const Cluster& cluster, const Efficiencies& efficiencies, const Wish& wish) {
  if (wish.recompute) wish.recompute->check(networks.backbone->blocks());
  Search found = search(networks, workload, cluster, efficiencies, wish);
  if (!found.best) refuse(networks, workload, cluster, wish, *found.leanest);
  Plan plan = *found.best;
  explain(plan, found, cluster, workload, wish);
  return plan;
}

}  // namespace magicid::planning
