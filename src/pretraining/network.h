// One network of the small world: something to minimise, figures on people that training never saw, a folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "miniature/world.h"
#include "models/nn/weights.h"
#include "pretraining/options.h"
#include "training/objective.h"

namespace magicid::pretraining {

// What every network is made with.
struct Context {
  std::filesystem::path model;  // the pipeline folder that is being made; reward networks lie below model/rewards
  WorldOptions world;
  std::uint64_t seed = 0;
  models::nn::Placement placement;  // where, and in which dtype, networks compute; weights and optimizer are float
  bool goes_on = false;             // a checkpoint's weights replace the initial ones: other files that those would be read from are left alone

  miniature::ClipSize clip_size() const { return {world.frames, world.height, world.width, world.fps}; }
  // Training person 0 <= index < world.train_people, or a person that only validation sees.
  miniature::Person person(miniature::Split split, std::int64_t index) const { return miniature::make_person(seed, split, index); }
};

class Network {
 public:
  virtual ~Network() = default;

  // One slot of a step is one batch of this network, so that losses over a batch (contrastive, batch norm) are whole.
  virtual training::Objective& objective() = 0;
  // Figures on held-out people and scenes, always the same ones. Rank 0 only, grad mode off.
  virtual std::map<std::string, double> validate() = 0;
  // Pictures of what the network can do at present, written below `folder`. Rank 0 only.
  virtual void write_samples(const std::filesystem::path& folder) { (void)folder; }
  // Where its weights began, for the record and the card, when that is not the seed alone; empty otherwise, and where Context::goes_on: the checkpoint knows.
  virtual std::string origin() const { return {}; }
  // Writes the network's folder below Context::model, as the real classes read it; weights in fp16. Rank 0 only.
  virtual void write() = 0;
};

// Each is defined in the file of its name. Their weights start from Context::seed. Throws UserError where one needs another's folder that is not there yet.
std::unique_ptr<Network> make_autoencoder(const Context& context, const AutoencoderNetworkOptions& options);
std::unique_ptr<Network> make_text_encoder(const Context& context, const TextEncoderOptions& options);  // writes tokenizer/ and text_encoder/
std::unique_ptr<Network> make_clip(const Context& context,
                                   const ClipOptions& options);  // writes rewards/clip/, tokenizer_2/ and text_encoder_2/ (its text half)
std::unique_ptr<Network> make_transformer(const Context& context, const TransformerOptions& options);
std::unique_ptr<Network> make_face_embedder(const Context& context, const FaceEmbedderOptions& options);
std::unique_ptr<Network> make_landmark_detector(const Context& context, const LandmarkDetectorOptions& options);
std::unique_ptr<Network> make_optical_flow(const Context& context, const OpticalFlowOptions& options);

}  // namespace magicid::pretraining
