#include "pretraining/network_list.h"

namespace magicid::pretraining {

std::vector<NetworkEntry> networks_in_order(const Options& o) {
  return {
      {"clip", &o.clip, [&o](const Context& x) { return make_clip(x, o.clip); }},
      {"text_encoder", &o.text_encoder, [&o](const Context& x) { return make_text_encoder(x, o.text_encoder); }},
      {"face_embedder", &o.face_embedder, [&o](const Context& x) { return make_face_embedder(x, o.face_embedder); }},
      {"landmark_detector", &o.landmark_detector, [&o](const Context& x) { return make_landmark_detector(x, o.landmark_detector); }},
      {"optical_flow", &o.optical_flow, [&o](const Context& x) { return make_optical_flow(x, o.optical_flow); }},
      {"autoencoder", &o.autoencoder, [&o](const Context& x) { return make_autoencoder(x, o.autoencoder); }},
      {"transformer",
       &o.transformer,
       [&o](const Context& x) { return make_transformer(x, o.transformer); },
       {"vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"}},
  };
}

}  // namespace magicid::pretraining
