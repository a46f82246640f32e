// Options as a room would declare them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/fields.h"
#include "config/writer.h"

namespace example {

struct Optimize {
  std::int64_t steps = 1000;
  double beta = 2000;
  double learning_rate = 1e-4;
  bool clip = true;
  std::vector<double> weights = {0.5, 0.25};
  std::vector<std::int64_t> milestones = {};
};

inline void describe(magicid::config::Fields& fields, Optimize& options) {
  fields.integer("steps", options.steps, {.help = "optimizer steps", .minimum = 1, .maximum = 1e6});
  fields.number("beta", options.beta, {.help = "inverse temperature", .above = 0});
  fields.number("learning_rate", options.learning_rate, {.help = "peak learning rate | of AdamW", .minimum = 0, .maximum = 1});
  fields.boolean("clip", options.clip, {.help = "clip gradients"});
  fields.numbers("weights", options.weights, {.help = "weights of the sources", .minimum = 0});
  fields.integers("milestones", options.milestones, {.help = "steps of named checkpoints", .minimum = 1});
  fields.require("milestones", options.milestones.empty() || options.milestones.back() <= options.steps, "lie beyond the last step");
}

struct Root {
  std::string name = "unnamed";
  std::string references;
  std::string detector = "haar";
  std::vector<std::string> prompts = {"a b", "c: d"};
  std::vector<std::string> rewards = {"id", "dynamic"};
  std::int64_t workers = 2;
  Optimize optimize;
};

inline void describe(magicid::config::Fields& fields, Root& options) {
  fields.text("name", options.name, {.help = "name of the run"});
  fields.path("references", options.references, {.help = "folder of photos", .fingerprint = false, .required = true});
  fields.choice("detector", options.detector, {"yunet", "haar", "none", "no"}, {.help = "face detector"});
  fields.texts("prompts", options.prompts, {.help = "what to generate"});
  fields.choices("rewards", options.rewards, {"id", "dynamic", "semantic"}, {.help = "which rewards count"});
  fields.integer("workers", options.workers, {.help = "loader threads", .minimum = 1, .fingerprint = false});
  fields.nested("optimize", options.optimize, "Preference training.");
}

}  // namespace example
