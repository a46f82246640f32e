// HunyuanVideo's networks as they are published, for `magicid import`.
#pragma once

#include <vector>

#include "models/nn/published_network.h"

namespace magicid::models::hunyuan_video {

// KIND hunyuanvideo-transformer: Tencent's names (mp_rank_00_model_states.pt and its safetensors forms), ComfyUI's, or diffusers'. The result has diffusers'
// names. Sources: hyvideo/modules/models.py; ComfyUI's comfy/supported_models.py (HunyuanVideo.process_unet_state_dict); diffusers'
// loaders/single_file_utils.py.
models::nn::PublishedNetwork published_transformer();

// KIND hunyuanvideo-vae: Tencent's and diffusers' names, which are the same, or those of latent-diffusion's autoencoders, which ComfyUI computes with.
// Sources: hyvideo/vae/; ComfyUI's comfy/diffusers_convert.py (convert_vae_state_dict).
models::nn::PublishedNetwork published_autoencoder();

}  // namespace magicid::models::hunyuan_video
