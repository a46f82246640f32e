#include "rewards/options.h"

namespace magicid::rewards {

void describe(config::Fields& fields, Options& options) {
  fields.nested("face_detector", options.face_detector, "how faces are found in references and frames");
  fields.integer("face_frames", options.face_frames, {.help = "frames of a video, evenly spaced, in which the face is compared; 0: all", .minimum = 0});
  fields.choice("reference_aggregation", options.reference_aggregation, {"mean", "max", "centroid"},
                {.help = "a frame's similarity with several references: mean or largest cosine, or cosine with their mean direction"});
  fields.choice("dynamics", options.dynamics, {"visible", "flow"},
                {.help = "R_dy: visible counts flow only where it explains what changes between the frames, so that noise and cuts are no motion; flow counts "
                         "it as it is (VBench's "
                         "figure; for networks of random weights, whose flow explains nothing)"});
  fields.number("flow_rate", options.flow_rate,
                {.help = "frames per second between which motion is measured (every round(fps / flow_rate)-th frame)", .above = 0});
  fields.integer("flow_updates", options.flow_updates, {.help = "RAFT's refinement steps; fewer are faster and less exact on plain backgrounds", .minimum = 1});
  fields.integer("semantic_frames", options.semantic_frames,
                 {.help = "frames of a video, evenly spaced, compared with the prompt for the semantic reward; 0: all", .minimum = 0});
  fields.choice("semantic_input", options.semantic_input, {"frames", "grid"},
                {.help = "what the semantic reward compares with the prompt: each frame alone (mean over semantic_frames), or one picture of semantic_grid x "
                         "semantic_grid frames, which shows movement to a "
                         "network that was trained on such pictures"});
  fields.integer("semantic_grid", options.semantic_grid, {.help = "frames on a side of that picture", .minimum = 1, .maximum = 8});
  fields.integer("batch", options.batch, {.help = "frames or frame pairs given to a reward network at once", .minimum = 1, .fingerprint = false});
}

void describe(config::Fields& fields, RewardOptions& o) {
  fields.path("arcface", o.arcface, {.help = "folder of the face embedder; empty: model.folder/rewards/arcface", .fingerprint = false});
  fields.path("raft", o.raft, {.help = "folder of the optical-flow network; empty: model.folder/rewards/raft", .fingerprint = false});
  fields.path("clip", o.clip, {.help = "folder of CLIP; empty: model.folder/rewards/clip", .fingerprint = false});
  fields.choice("frames_without_face", o.frames_without_face, {"zero", "whole_frame"},
                {.help = "zero: they count as 0 in R_id; whole_frame: the frame itself is embedded, for models too small to draw faces"});
  describe(fields, o.scoring);
}

}  // namespace magicid::rewards
