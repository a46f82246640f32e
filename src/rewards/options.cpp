#include "rewards/options.h"

#include "rewards/vqa.h"

namespace magicid::rewards {
namespace {

// None of these enters a fingerprint by itself: scores depend on them where the semantic reward is vqa, and then vqa_description() stands in the scorer's
// description, so that runs with CLIP keep the keys that they have.
void describe_vqa(config::Fields& fields, RewardOptions& o) {
  fields.choice("semantics", o.semantics, {"clip", "vqa"},
                {.help = "R_sem: clip compares the prompt with frames in CLIP; vqa asks a vision-language model (Qwen2.5-VL) about the video, as VQAScore does",
                 .fingerprint = false});
  fields.path("vqa", o.vqa, {.help = "folder of Qwen2.5-VL, for semantics: vqa; empty: model.folder/rewards/vqa", .fingerprint = false});
  fields.choice("vqa_answer", o.question.answer, {"yes", "rating"},
                {.help = "yes: the probability that the answer begins with Yes; rating: the expected value of a rating from 1 to 10", .fingerprint = false});
  fields.text(
      "vqa_question", o.question.question,
      {.help = "the question, with {} where the prompt goes; empty: Does this video show \"{}\"? Please answer yes or no. (or one that asks for a rating)",
       .fingerprint = false});
  fields.require("vqa_question", is_question(o.question.question), "a question with exactly one {} was expected, where the prompt goes");
  fields.integer("vqa_frames", o.question.frames,
                 {.help = "frames of a video, evenly spaced, that the model sees; their true rate goes in; 0: all", .minimum = 0, .fingerprint = false});
  fields.choice("vqa_dtype", o.question.dtype, {"bfloat16", "float32"}, {.help = "what the model computes in", .fingerprint = false});
}

}  // namespace

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
  describe_vqa(fields, o);
  fields.choice("frames_without_face", o.frames_without_face, {"zero", "whole_frame"},
                {.help = "zero: they count as 0 in R_id; whole_frame: the frame itself is embedded, for models too small to draw faces"});
  describe(fields, o.scoring);
}

}  // namespace magicid::rewards
