#include "planning/plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "base/errors.h"
#include "base/random.h"
#include "comm/mesh.h"
#include "planning/networks.h"

namespace magicid::planning {
namespace {

namespace hv = models::hunyuan_video;

std::int64_t rounds(std::int64_t work, std::int64_t workers) { return (work + workers - 1) / workers; }

// What is left of the reference's forwards where noise_draws keeps their errors: a share of all, and a share of those of the replica that a step waits for.
struct ReferenceLeft {
  double computed = 1, waited = 1;
};

// Plays the samples through as objectives/hpo.cpp and training/step_loop.cpp show them: kinds by their share, every pair once a round, its draw by the round,
// slots to replicas in turn. A replica knows what it has computed itself. The order inside a round is chance, here other than in the run.
ReferenceLeft reference_left(const Workload& w, std::int64_t replicas) {
  struct Kind {
    std::int64_t pairs, shown = 0;
    std::vector<std::int64_t> order = {};
  };
  std::array<Kind, 2> kinds{Kind{w.identity_pairs}, Kind{w.dynamic_pairs}};
  if (w.noise_draws == 0 || kinds[0].pairs + kinds[1].pairs == 0) return {};
  const double share = kinds[1].pairs == 0 ? 0 : kinds[0].pairs == 0 ? 1 : w.share_dynamic;
  const base::CounterRandom random(0, "plan");
  std::set<std::array<std::int64_t, 4>> known;  // replica, kind, pair, draw
  const std::int64_t steps = rounds(w.pairs_seen, w.optimize_batch);
  std::int64_t computed = 0, waited = 0;
  for (std::int64_t step = 0; step < steps; ++step) {
    std::vector<std::int64_t> here(static_cast<std::size_t>(replicas));
    for (std::int64_t slot = 0; slot < w.optimize_batch; ++slot) {
      const auto sample = static_cast<double>(step * w.optimize_batch + slot);
      const std::int64_t number = std::floor((sample + 1) * share + 0.5) > std::floor(sample * share + 0.5) ? 1 : 0;
      Kind& kind = kinds[static_cast<std::size_t>(number)];
      const std::int64_t round = kind.shown / kind.pairs, place = kind.shown++ % kind.pairs;
      if (place == 0) kind.order = random.permutation(kind.pairs, static_cast<std::uint64_t>(2 * round + number));
      here[static_cast<std::size_t>(slot % replicas)] +=
          known.insert({slot % replicas, number, kind.order[static_cast<std::size_t>(place)], round % w.noise_draws}).second;
    }
    for (const auto count : here) computed += count;
    waited += *std::max_element(here.begin(), here.end());
  }
  return {static_cast<double>(computed) / static_cast<double>(steps * w.optimize_batch),
          static_cast<double>(waited) / static_cast<double>(steps * rounds(w.optimize_batch, replicas))};
}

// The sizes and bandwidths behind all phases of one layout.
class Estimate {
 public:
  Estimate(const Networks& n, const Workload& w, const Cluster& c, const Efficiencies& e, const RankLayout& l) : n_(n), w_(w), c_(c), e_(e), l_(l) {
    base::check_invariant(l.replica * l.pair * l.sequence == c.world(), "a layout of ", l.replica, " x ", l.pair, " x ", l.sequence, " ranks on ", c.world(),
                          " GPUs");
    video_ = largest_share(n.transformer, tokens_of(n.transformer, n.autoencoder, w.video, w.text_tokens), l.sequence);
    still_ = largest_share(n.transformer, tokens_of(n.transformer, n.autoencoder, {1, w.video.height, w.video.width}, w.text_tokens), l.sequence);
    weights_ = weight_bytes(n.transformer, element());
    autoencoder_weights_ = static_cast<double>(autoencoder_parameters(n.autoencoder) * element());
    decode_ = decode_cost(n.autoencoder, w.video, element());
    encode_ = encode_cost(n.autoencoder, w.video, element());
  }

  std::vector<Phase> phases() const {
    std::vector<Phase> all{prepare(), reconstruct(), generate(), score(), optimize()};
    if (w_.preview_every > 0) all.push_back(previews());
    all.push_back(evaluate());
    return all;
  }

 private:
  std::int64_t element() const { return c_.device.element; }
  bool fused_rotation() const { return c_.device.name == "cpu"; }
  double peak() const { return c_.device.peak_flops; }

  // Of one rank, forward of one sample: seconds and bytes sent.
  double exchange_seconds(double bytes) const { return bytes / (c_.device.link_bandwidth * e_.link); }
  // By the rank that sends most: of a forward, and of a forward and backward.
  double exchanged(const Share& share) const {
    double most = 0;
    for (int rank = 0; rank < share.sequence; ++rank) most = std::max(most, exchange_bytes(n_.transformer, share.whole, share.sequence, rank, element()));
    return most;
  }
  double exchanged_in_training(const Share& share) const {
    double most = 0;
    for (int rank = 0; rank < share.sequence; ++rank)
      most = std::max(most, training_exchange_bytes(n_.transformer, share.whole, share.sequence, rank, l_.recompute, element()));
    return most;
  }
  // Of all ranks of a sample's group: the counted operations with whole sequences.
  Share whole(const Share& share) const { return largest_share(n_.transformer, share.whole, 1); }

  struct Training {
    double flops, seconds, sent;
  };
  // Forward and backward of one sample for the adapter.
  Training train(const Share& share) const {
    const auto operations = [&](const Share& s) {
      return (forward_flops(n_.transformer, s, &w_.adapter) + backward_flops(n_.transformer, s, w_.adapter, true) +
              recomputed_flops(n_.transformer, s, w_.adapter, l_.recompute))
          .total();
    };
    const double sent = exchanged_in_training(share);
    return {operations(whole(share)), operations(share) / (peak() * e_.training) + exchange_seconds(sent), sent};
  }
  Training predict(const Share& share, bool adapted, double efficiency) const {
    const auto operations = [&](const Share& s) { return forward_flops(n_.transformer, s, adapted ? &w_.adapter : nullptr).total(); };
    const double sent = exchanged(share);
    return {operations(whole(share)), operations(share) / (peak() * efficiency) + exchange_seconds(sent), sent};
  }

  double reduction_bytes(int ranks) const { return all_reduce_bytes(static_cast<double>(adapter_parameters(n_.transformer, w_.adapter)) * 4, ranks); }
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
    const ActivationBytes a = training_bytes(n_.transformer, share, w_.adapter, l_.recompute, element(), fused_rotation());
    phase.memory = {{"weights", weights_},
                    {with_reference ? "adapter, gradient, total, moments, reference (fp32)" : "adapter, gradient, total, moments (fp32)",
                     adapter_state_bytes(n_.transformer, w_.adapter, with_reference)},
                    {"adapter in the model's dtype", a.copies},
                    {"activations kept (" + l_.recompute.text() + ")", a.kept},
                    {"one block's backward and exchanges", a.working}};
    finish_memory(phase);
  }

  Phase prepare() const {
    Phase phase{.name = "prepare"};
    const EncoderSize llama = llama3_8b_30_layers(), clip = clip_l_text();
    const std::int64_t texts = 2 * w_.prompts + 1;
    phase.work = base::concat(texts, " prompts, ", w_.stills, " stills");
    phase.flops = static_cast<double>(texts) * (llama.flops(95 + w_.text_tokens) + clip.flops(77)) + static_cast<double>(w_.stills) * encode_.flops;
    phase.seconds = phase.flops / (peak() * e_.autoencoder);
    const double texts_bytes = (llama.parameters() + clip.parameters()) * static_cast<double>(element()), videos = autoencoder_weights_ + encode_.peak_bytes;
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
    const double steps = static_cast<double>(w_.reconstruct_steps), each = static_cast<double>(rounds(w_.reconstruct_batch, busy));
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
    return static_cast<double>(w_.face_frames) * iresnet_flops({3, 13, 30, 3}) +
           2 * static_cast<double>(flow_pairs()) * raft_flops(true, w_.video.height, w_.video.width, w_.flow_updates) +
           static_cast<double>(w_.semantic_frames) * clip_l_vision().flops(257);
  }
  std::int64_t flow_pairs() const {
    return std::max<std::int64_t>(
        0, static_cast<std::int64_t>(static_cast<double>(w_.video.frames - 1) * std::min(1.0, w_.flow_rate / static_cast<double>(w_.fps))));
  }
  double score_seconds() const { return decode_.flops / (peak() * e_.autoencoder) + reward_flops() / (peak() * e_.rewards); }
  double flow_bytes() const { return static_cast<double>(std::min(w_.reward_batch, flow_pairs())) * raft_correlation_bytes(w_.video.height, w_.video.width); }
  double frames_bytes() const { return 4.0 * 3 * static_cast<double>(w_.video.frames * w_.video.height * w_.video.width); }

  // In fp32: iresnet100 65 million parameters, RAFT 5, CLIP 428.
  static constexpr double kRewardBytes = 4.0 * 498e6;
  // What is alive while the networks take turns.
  MemoryKind forward() const { return {"one forward's activations", forward_bytes(n_.transformer, video_, element(), fused_rotation())}; }
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
    const std::int64_t steps = rounds(w_.pairs_seen, w_.optimize_batch);
    phase.work = base::concat(steps, " steps of ", w_.optimize_batch, w_.optimize_batch == 1 ? " pair" : " pairs");
    const Training policy = train(video_), reference = predict(video_, true, e_.training);
    const ReferenceLeft left = reference_left(w_, busy);
    if (w_.noise_draws > 0) phase.work += base::concat(", ", std::lround(100 * left.computed), "% of the reference's forwards");
    const double videos = 2.0 / l_.pair, each = static_cast<double>(rounds(w_.optimize_batch, busy)), n = static_cast<double>(steps);
    phase.flops = 2 * n * static_cast<double>(w_.optimize_batch) * (policy.flops + left.computed * reference.flops);
    phase.seconds = n * (each * videos * (policy.seconds + left.waited * reference.seconds) + reduction_seconds(phase.gpus));
    phase.sent_bytes = n * (each * videos * (policy.sent + left.waited * reference.sent) + reduction_bytes(phase.gpus));
    add_training_memory(phase, video_, true);
    return phase;
  }

  // Part of the stage `optimize`, between its steps. The ranks of a sequence group sample a video together; then every rank decodes and scores videos of its
  // own.
  Phase previews() const {
    const std::int64_t steps = rounds(w_.pairs_seen, w_.optimize_batch), groups = l_.replica * l_.pair;
    const std::int64_t times = steps / w_.preview_every + 1 + (steps % w_.preview_every != 0);  // from step 0 on, and after the last
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
                    {"adapter, gradient, total, moments, reference (fp32)", adapter_state_bytes(n_.transformer, w_.adapter, true)},
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

  const Networks& n_;
  const Workload& w_;
  const Cluster& c_;
  const Efficiencies& e_;
  const RankLayout& l_;
  Share video_, still_;
  double weights_ = 0, autoencoder_weights_ = 0;
  AutoencoderCost decode_, encode_;
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

std::vector<models::generator::RecomputePlan> one_kind_for_all(const Wish& wish) {
  if (wish.recompute) return {*wish.recompute};
  return {models::generator::Recompute::none, models::generator::Recompute::attention_kept, models::generator::Recompute::full};
}

struct Search {
  std::optional<Plan> best, leanest;
  std::vector<Plan> all;
};

// The mesh with as few blocks of the leaner mode as fit, first in their order: the backward runs from the last block, so what the others keep is gone before
// the first is computed again. Empty: that is no mixture.
std::optional<Plan> mixed(const Networks& n, const Workload& w, const Cluster& c, const Efficiencies& e, RankLayout layout, models::generator::Recompute leaner,
                          models::generator::Recompute other) {
  std::optional<Plan> found;
  std::int64_t low = 1, high = n.transformer.num_layers + n.transformer.num_single_layers - 1;
  while (low <= high) {
    const std::int64_t count = (low + high) / 2;
    layout.recompute = models::generator::RecomputePlan::parse(base::concat(to_string(leaner), ":", count, ",", to_string(other)));
    Plan plan = estimate(n, w, c, e, layout);
    if (plan.memory() <= c.device.memory_bytes) {
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
  using enum models::generator::Recompute;
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
  for (std::size_t i = 0; i < layouts.size(); ++i)
    for (std::size_t j = 0; j < 2; ++j)
      if (!fitting(pure[3 * i + j]) && fitting(pure[3 * i + j + 1]))
        if (auto plan = mixed(n, w, c, e, layouts[i], j == 0 ? attention_kept : full, j == 0 ? none : attention_kept)) consider(std::move(*plan));
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
  for (std::int64_t frames = w.video.frames - 4; frames >= 1; frames -= 4) {
    Workload smaller = w;
    smaller.video.frames = frames;
    if (!fits(n, smaller, c, wish)) continue;
    found.push_back(base::concat("a shorter video: video.frames=", frames));
    break;
  }
  for (std::int64_t eighths = 7; eighths >= 2; --eighths) {
    Workload smaller = w;
    smaller.video.height = w.video.height * eighths / 8 / 16 * 16;
    smaller.video.width = w.video.width * eighths / 8 / 16 * 16;
    if (smaller.video.height < 16 || smaller.video.width < 16 || !fits(n, smaller, c, wish)) continue;
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
  if (wish.recompute) wish.recompute->check(networks.transformer.num_layers + networks.transformer.num_single_layers);
  Search found = search(networks, workload, cluster, efficiencies, wish);
  if (!found.best) refuse(networks, workload, cluster, wish, *found.leanest);
  Plan plan = *found.best;
  explain(plan, found, cluster, workload, wish);
  return plan;
}

}  // namespace magicid::planning
