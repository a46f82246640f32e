// Which layout of ranks a job should take on given devices, what it needs and how long it takes. Arithmetic alone: nothing is run or opened.
//
// Operations and bytes are those of models/generator/cost.h and networks.h. Times are operations over the device's peak times a stated efficiency, plus bytes
// over a link's bandwidth times a stated efficiency, without overlap; loading weights from disk, video files and the optimizer's update (far below a second)
// are left out.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/generator/cost.h"
#include "planning/devices.h"

namespace magicid::planning {

struct Networks {
  std::shared_ptr<const models::generator::BackboneCost> backbone;
  std::string source;  // where the sizes come from, for the reader
};

// What the configuration asks for, in counts.
struct Workload {
  models::generator::VideoSize video{.height = 720, .width = 1280, .frames = 61};
  std::int64_t text_tokens = 256;  // the longest prompt
  models::generator::AdapterSize adapter;
  std::int64_t prompts = 20, stills = 4;
  std::int64_t reconstruct_steps = 1000, reconstruct_batch = 1;
  enum class Prior { none, image, video } prior = Prior::none;
  std::int64_t initial_videos = 20, tuned_videos = 100, sampling_steps = 50, forwards_per_step = 1;
  std::int64_t pairs_seen = 5000, optimize_batch = 8;
  std::int64_t noise_draws = 0;                            // 0: the reference's errors are not kept
  std::int64_t identity_pairs = 100, dynamic_pairs = 100;  // that `select` asks for; fewer may be found
  double share_dynamic = 0.5;
  std::uint64_t seed = 0;                              // of the order in which pairs are shown
  std::int64_t preview_every = 0, preview_videos = 4;  // steps of `optimize` between previews, 0: none; videos each time
  std::int64_t evaluation_videos = 60;
  std::int64_t fps = 24, flow_updates = 20, face_frames = 16, semantic_frames = 16, reward_batch = 8;
  double flow_rate = 8;
};

// Shares of a peak that are reached. Estimates: measure and give your own.
struct Efficiencies {
  double training = 0.45, generation = 0.5, autoencoder = 0.3, rewards = 0.2;  // of the device's operations a second
  double link = 0.7, network = 0.7;                                            // of bandwidths
};

struct Cluster {
  int nodes = 1, gpus = 1;
  Device device;
  double network_bandwidth = 25e9;  // between nodes, for each GPU, in one direction, bytes a second
  double reserve = 2e9;             // CUDA context, libraries' workspaces, NCCL's buffers: an allowance
  double slack = 0.05;              // lost between the allocator's blocks, of all that is allocated: an allowance
  int world() const { return nodes * gpus; }
};

struct RankLayout {
  int replica = 1, pair = 1, sequence = 1;
  models::generator::RecomputePlan recompute;
};

// What the user has decided already.
struct Wish {
  std::optional<int> pair, sequence;
  std::optional<models::generator::RecomputePlan> recompute;
};

struct MemoryKind {
  std::string name;
  double bytes = 0;
};

struct Phase {
  std::string name;  // of the stage, or `previews`, which `optimize` makes between its steps
  std::string work;  // "120 videos of 50 steps"
  int gpus = 1;      // that have work
  double flops = 0;  // of all GPUs together
  double seconds = 0;
  double sent_bytes = 0;           // by the rank that sends most
  std::vector<MemoryKind> memory;  // of one GPU
  double memory_total() const;
};

struct Plan {
  RankLayout layout;
  std::vector<Phase> phases;
  std::vector<std::string> reasons;  // why this layout
  std::vector<std::string> advice;   // what the user could change
  double seconds() const;
  double memory() const;  // of the phase that needs most
};

// What one layout costs, whether it fits or not. The layout must divide the cluster (InvariantError).
Plan estimate(const Networks& networks, const Workload& workload, const Cluster& cluster, const Efficiencies& efficiencies, const RankLayout& layout);

// The fastest layout that fits: sequence groups inside a node, any split into replicas and pairs, any recomputation, mixed by block
// where one kind for all wastes memory or does not fit. Throws UserError when none fits, naming
// the number that is too large and what would make it fit, or when the wishes do not divide the cluster.
Plan make_plan(const Networks& networks, const Workload& workload, const Cluster& cluster, const Efficiencies& efficiencies, const Wish& wish = {});

std::string to_table(const Plan& plan, const Networks& networks, const Workload& workload, const Cluster& cluster, const Efficiencies& efficiencies);
nlohmann::json to_json(const Plan& plan, const Networks& networks, const Workload& workload, const Cluster& cluster, const Efficiencies& efficiencies);

// "12.3 GB", "4.5 h", "3.25 PFLOP".
std::string bytes_text(double bytes);
std::string time_text(double seconds);
std::string flops_text(double flops);

}  // namespace magicid::planning
