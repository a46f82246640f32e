#include "pretraining/options.h"

namespace magicid::pretraining {
namespace {

training::Options adamw(double learning_rate, double weight_decay, double beta2) {
  training::Options o;
  o.global_batch = 2;
  o.learning_rate = learning_rate;
  o.weight_decay = weight_decay;
  o.beta2 = beta2;
  o.schedule = "linear";
  o.warmup_steps = 50;
  o.checkpoint_every = 200;
  o.hash_check_every = 200;
  return o;
}

}  // namespace

AutoencoderNetworkOptions::AutoencoderNetworkOptions() {
  training = adamw(2e-3, 0, 0.95);
  training.steps = 4000;
  batch = 16;
}

TextEncoderOptions::TextEncoderOptions() {
  training = adamw(2e-3, 0, 0.95);
  training.steps = 300;
  batch = 32;
}

ClipOptions::ClipOptions() {
  training = adamw(1e-3, 0.01, 0.98);
  training.steps = 1500;
  batch = 64;
}

TransformerOptions::TransformerOptions() {
  training = adamw(1e-3, 0, 0.99);
  training.steps = 8000;
  training.warmup_steps = 200;
  batch = 16;
}

FaceEmbedderOptions::FaceEmbedderOptions() {
  training = adamw(2e-3, 1e-4, 0.99);
  training.steps = 3000;
  batch = 32;
}

LandmarkDetectorOptions::LandmarkDetectorOptions() {
  training = adamw(2e-3, 0, 0.99);
  training.steps = 1500;
  batch = 64;
}

OpticalFlowOptions::OpticalFlowOptions() {
  training = adamw(4e-4, 1e-5, 0.999);
  training.steps = 1500;
  training.decay_steps = 600;
  batch = 4;
}

void describe(config::Fields& fields, WorldOptions& options) {
  fields.integer("frames", options.frames, {.help = "frames of a clip, 4k + 1", .minimum = 1});
  fields.integer("height", options.height, {.help = "of pictures, pixels", .minimum = 16});
  fields.integer("width", options.width, {.help = "of pictures, pixels", .minimum = 16});
  fields.number("fps", options.fps, {.help = "frames a second of the world's clips", .above = 0});
  fields.integer("train_people", options.train_people, {.help = "people that networks are trained on", .minimum = 2});
  fields.integer("test_people", options.test_people, {.help = "people that only validation sees", .minimum = 2});
  fields.require("frames", (options.frames - 1) % 4 == 0, "is not 4k + 1: the autoencoder packs 4 frames into one behind the first");
}

void describe(config::Fields& fields, NetworkOptions& options) {
  fields.integer("steps", options.training.steps, {.help = "optimizer steps", .minimum = 1});
  fields.integer("batch", options.batch, {.help = "items of one batch; a step sums global_batch batches", .minimum = 1});
  fields.integer("validate_every", options.validate_every, {.help = "steps between validations with pictures", .minimum = 1, .fingerprint = false});
  describe(fields, options.training);
}

void describe(config::Fields& fields, AutoencoderNetworkOptions& options) {
  describe(fields, static_cast<NetworkOptions&>(options));
  fields.integers("channels", options.channels, {.help = "block_out_channels", .minimum = 1});
  fields.integer("layers_per_block", options.layers_per_block, {.help = "resnets of an encoder level", .minimum = 1});
  fields.integer("norm_groups", options.norm_groups, {.help = "norm_num_groups", .minimum = 1});
  fields.integer("latent_channels", options.latent_channels, {.help = "channels of a latent", .minimum = 1});
  fields.integer("spatial_compression", options.spatial_compression, {.help = "pixels of a latent's side, 4 or 8", .minimum = 4, .maximum = 8});
  fields.number("clips_from", options.clips_from,
                {.help = "share of the steps that see single frames only, before clips are mixed in", .minimum = 0, .maximum = 1});
  fields.number("clip_share", options.clip_share,
                {.help = "share of batches that are clips of 5, 9, ... frames; the others are single frames", .minimum = 0, .maximum = 1});
  fields.integer("clip_batch", options.clip_batch, {.help = "clips of full length in a batch; of shorter ones as many as have so many frames", .minimum = 1});
  fields.number("gradient_weight", options.gradient_weight, {.help = "weight of the loss on differences of neighbouring pixels", .minimum = 0});
  fields.number("face_weight", options.face_weight, {.help = "weight of pixels in the face's box, against 1 elsewhere", .minimum = 0});
  fields.number("kl_weight", options.kl_weight, {.help = "weight of the latents' divergence from standard normal ones", .minimum = 0});
  fields.number(
      "latent_noise", options.latent_noise,
      {.help = "standard deviation of the most noise added to latents before decoding, so that the decoder forgives a diffusion model's errors", .minimum = 0});
}

void describe(config::Fields& fields, TextEncoderOptions& options) {
  describe(fields, static_cast<NetworkOptions&>(options));
  fields.integer("width", options.width, {.help = "hidden_size", .minimum = 8});
  fields.integer("layers", options.layers, {.help = "num_hidden_layers; the states of the third last are the prompt's embeddings", .minimum = 3});
  fields.integer("heads", options.heads, {.help = "num_attention_heads", .minimum = 1});
  fields.text("trigger", options.trigger, {.help = "a word for people that some captions use"});
}

void describe(config::Fields& fields, ClipOptions& options) {
  describe(fields, static_cast<NetworkOptions&>(options));
  fields.integer("width", options.width, {.help = "hidden_size of the image half", .minimum = 8});
  fields.integer("layers", options.layers, {.help = "layers of the image half", .minimum = 1});
  fields.integer("heads", options.heads, {.help = "attention heads of both halves", .minimum = 1});
  fields.integer("patch", options.patch, {.help = "patch_size, pixels", .minimum = 1});
  fields.integer("image_size", options.image_size, {.help = "side of the picture that the network sees, pixels", .minimum = 8});
  fields.integer("projection", options.projection, {.help = "projection_dim", .minimum = 1});
  fields.integer("text_width", options.text_width, {.help = "hidden_size of the text half", .minimum = 8});
  fields.integer("text_layers", options.text_layers, {.help = "layers of the text half", .minimum = 1});
  fields.integer("grid", options.grid,
                 {.help = "frames on a side of the tiled pictures that most of training shows; rewards.semantic_grid of runs must be the same",
                  .minimum = 1,
                  .maximum = 8});
  fields.text("trigger", options.trigger, {.help = "a word for people that some captions use"});
}

void describe(config::Fields& fields, TransformerOptions& options) {
  describe(fields, static_cast<NetworkOptions&>(options));
  fields.integer("heads", options.heads, {.help = "num_attention_heads", .minimum = 1});
  fields.integer("head_size", options.head_size, {.help = "attention_head_dim, a multiple of 8", .minimum = 8});
  fields.integer("double_blocks", options.double_blocks, {.help = "num_layers", .minimum = 0});
  fields.integer("single_blocks", options.single_blocks, {.help = "num_single_layers", .minimum = 0});
  fields.integer("refiner_blocks", options.refiner_blocks, {.help = "num_refiner_layers", .minimum = 0});
  fields.integer("clips", options.clips, {.help = "clips that batches are drawn from; their latents are made once and kept", .minimum = 1});
  fields.integer("pictures", options.pictures, {.help = "single frames, likewise", .minimum = 1});
  fields.number("image_share", options.image_share, {.help = "share of batches that are single frames", .minimum = 0, .maximum = 1});
  fields.number("text_dropout", options.text_dropout, {.help = "share of captions replaced by the empty prompt", .minimum = 0, .maximum = 1});
  fields.number("trigger_share", options.trigger_share, {.help = "share of captions with the trigger word", .minimum = 0, .maximum = 1});
  fields.number("description_share", options.description_share, {.help = "share of captions that describe the person's looks", .minimum = 0, .maximum = 1});
  fields.number("shift", options.shift, {.help = "shift of the noise schedule", .above = 0});
  fields.number("face_weight", options.face_weight, {.help = "weight of the error of tokens that show the head, against 1 elsewhere", .minimum = 0});
  fields.integer("sample_steps", options.sample_steps, {.help = "denoising steps of the samples that validation draws", .minimum = 1, .fingerprint = false});
  // A checkpoint holds the weights: a folder that moved since does not keep a run from going on.
  fields.path(
      "initialize_from", options.initialize_from,
      {.help =
           "diffusers transformer folder whose tensors of the same name and shape are the initial ones; the others are drawn. Read by the first start alone",
       .fingerprint = false});
}

void describe(config::Fields& fields, FaceEmbedderOptions& options) {
  describe(fields, static_cast<NetworkOptions&>(options));
  fields.choice("architecture", options.architecture, {"mobilefacenet_112x112", "mobilefacenet_112x96", "iresnet18"},
                {.help = "as in the folder's config.json"});
  fields.integer("embedding_size", options.embedding_size, {.help = "numbers of an embedding", .minimum = 8});
  fields.integers(
      "channels", options.channels,
      {.help = "of mobilefacenet_112x112: widths at 56 and 28 pixels, at 14, at 7, and of the last convolution; [64, 128, 128, 512] is the public network",
       .minimum = 1});
  fields.integers("blocks", options.blocks,
                  {.help = "of mobilefacenet_112x112: residual blocks at 28, 14 and 7 pixels; [4, 6, 2] is the public network", .minimum = 1});
  fields.require("channels", options.channels.size() == 4, "must be four widths");
  fields.require("blocks", options.blocks.size() == 3, "must be three counts");
  fields.integer("people", options.people,
                 {.help = "training people that are told apart; fewer learn faster in few steps, more tell strangers apart better. All of world.train_people "
                          "where that is less",
                  .minimum = 2});
  fields.number("scale", options.scale, {.help = "s of the margin softmax", .above = 0});
  fields.number("margin", options.margin, {.help = "m of the margin softmax, subtracted from the cosine", .minimum = 0, .maximum = 1});
}

void describe(config::Fields& fields, LandmarkDetectorOptions& options) { describe(fields, static_cast<NetworkOptions&>(options)); }

void describe(config::Fields& fields, OpticalFlowOptions& options) {
  describe(fields, static_cast<NetworkOptions&>(options));
  fields.integer("updates", options.updates, {.help = "recurrent updates in training", .minimum = 1});
}

void describe(config::Fields& fields, AssessmentOptions& options) {
  fields.integer("clips", options.clips, {.help = "scenes of unseen people: rendered, through the autoencoder, and sampled from their captions", .minimum = 1});
  fields.integer("steps", options.steps, {.help = "denoising steps of sampled clips", .minimum = 1});
  fields.number("true_cfg", options.true_cfg, {.help = "true guidance of sampled clips", .minimum = 1});
}

void describe(config::Fields& fields, Options& c) {
  fields.path("output", c.output, {.help = "folder that receives model/ and the training's files", .fingerprint = false, .required = true});
  fields.integer("seed", c.seed, {.help = "of the world and of all weights", .minimum = 0});
  fields.choice("device", c.device, {"auto", "cpu", "cuda"}, {.help = "where networks compute; auto: a GPU where there is one", .fingerprint = false});
  fields.choice("dtype", c.dtype, {"auto", "float32", "bfloat16"},
                {.help = "of the computation; weights and optimizer are float32. auto: bfloat16 where the processor multiplies in it", .fingerprint = false});
  fields.nested("world", c.world, "the world's pictures and people");
  fields.nested("mesh", c.mesh, "how ranks are laid out");
  fields.nested("clip", c.clip, "image-text pair, CLIP class; its text half is the pipeline's second text encoder");
  fields.nested("text_encoder", c.text_encoder, "the pipeline's first text encoder, LLaMA class, and its tokeniser");
  fields.nested("face_embedder", c.face_embedder, "face embedder, by margin softmax on aligned faces");
  fields.nested("landmark_detector", c.landmark_detector, "face box and landmarks: a face detector for the small world");
  fields.nested("optical_flow", c.optical_flow, "RAFT small, on exact flow");
  fields.nested("autoencoder", c.autoencoder, "the causal video autoencoder");
  fields.nested("transformer", c.transformer, "the diffusion transformer, by flow matching on the autoencoder's latents");
  fields.nested("assessment", c.assessment, "figures of all networks together, when all are made");
}

}  // namespace magicid::pretraining
