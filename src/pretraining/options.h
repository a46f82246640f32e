// The configuration of `magicid pretrain`: the world, and one section for each network.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/options.h"
#include "config/fields.h"
#include "training/options.h"

namespace magicid::pretraining {

struct WorldOptions {
  std::int64_t frames = 13, height = 48, width = 48;
  double fps = 8;
  std::int64_t train_people = 4000, test_people = 64;
};

// What every section has. `batch` items make one batch; `training.global_batch` batches make one step.
struct NetworkOptions {
  training::Options training;
  std::int64_t batch = 16;
  std::int64_t validate_every = 500;
};
void describe(config::Fields& fields, NetworkOptions& options);

struct AutoencoderNetworkOptions : NetworkOptions {
  std::vector<std::int64_t> channels = {32, 48, 64};
  std::int64_t layers_per_block = 1, norm_groups = 8, latent_channels = 16, spatial_compression = 4;
  double clips_from = 0.4;       // share of the steps after which clips are mixed in: with clips from the start colours took five times as many steps
  double clip_share = 0.6;       // share of batches that are clips then; the others are single frames
  std::int64_t clip_batch = 1;   // clips of full length in a batch
  double gradient_weight = 1.0;  // of the loss on differences of neighbouring pixels
  double face_weight = 2.0;      // of pixels inside the face box, against 1 elsewhere
  double kl_weight = 1e-5;
  double latent_noise = 0;  // the most noise that the decoder learns to forgive, standard deviation of unscaled latents
  AutoencoderNetworkOptions();
};
void describe(config::Fields& fields, AutoencoderNetworkOptions& options);

struct TextEncoderOptions : NetworkOptions {
  std::int64_t width = 128, layers = 4, heads = 4;  // LLaMA class
  std::string trigger = "sks";
  TextEncoderOptions();
};
void describe(config::Fields& fields, TextEncoderOptions& options);

struct ClipOptions : NetworkOptions {
  std::int64_t width = 128, layers = 4, heads = 4, patch = 16, image_size = 96, projection = 64, text_width = 128, text_layers = 3;
  std::int64_t grid = 3;  // frames on a side of the pictures that show a clip
  std::string trigger = "sks";
  ClipOptions();
};
void describe(config::Fields& fields, ClipOptions& options);

struct TransformerOptions : NetworkOptions {
  std::int64_t heads = 6, head_size = 32, double_blocks = 3, single_blocks = 5, refiner_blocks = 1;
  std::int64_t clips = 16384, pictures = 8192;
  double image_share = 0.25;       // share of batches that are single frames
  double text_dropout = 0.1;       // share of captions replaced by the empty prompt
  double trigger_share = 0.1;      // share of captions with the trigger word
  double description_share = 0.3;  // share of captions that describe the person's looks
  double shift = 3.0;
  double face_weight = 1;  // of tokens that show the head, against 1 elsewhere
  std::int64_t sample_steps = 20;
  std::string initialize_from;  // transformer folder
  TransformerOptions();
};
void describe(config::Fields& fields, TransformerOptions& options);

struct FaceEmbedderOptions : NetworkOptions {
  std::string architecture = "mobilefacenet_112x112";
  std::int64_t embedding_size = 128;
  std::vector<std::int64_t> channels = {16, 48, 64, 256},
                            blocks = {2, 4, 2};  // of mobilefacenet_112x112; the public network has {64, 128, 128, 512}, {4, 6, 2}
  double scale = 32, margin = 0.3;
  std::int64_t people = 2000;  // classes; at most world.train_people are taken
  FaceEmbedderOptions();
};
void describe(config::Fields& fields, FaceEmbedderOptions& options);

struct LandmarkDetectorOptions : NetworkOptions {
  LandmarkDetectorOptions();
};
void describe(config::Fields& fields, LandmarkDetectorOptions& options);

struct OpticalFlowOptions : NetworkOptions {
  std::int64_t updates = 4;
  OpticalFlowOptions();
};
void describe(config::Fields& fields, OpticalFlowOptions& options);

// How the finished networks are looked at together.
struct AssessmentOptions {
  std::int64_t clips = 64, steps = 20;
  double true_cfg = 2;
};
void describe(config::Fields& fields, AssessmentOptions& options);

// The whole configuration.
struct Options {
  std::string output;  // holds model/ and the training files
  std::int64_t seed = 1;
  std::string device = "auto";
  std::string dtype = "auto";  // auto: bfloat16 where the processor multiplies in it, else float32
  WorldOptions world;
  comm::Options mesh;
  AutoencoderNetworkOptions autoencoder;
  TextEncoderOptions text_encoder;
  ClipOptions clip;
  TransformerOptions transformer;
  FaceEmbedderOptions face_embedder;
  LandmarkDetectorOptions landmark_detector;
  OpticalFlowOptions optical_flow;
  AssessmentOptions assessment;
};
void describe(config::Fields& fields, Options& options);

}  // namespace magicid::pretraining
