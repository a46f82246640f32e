// LoRA files of other programs: diffusers (PEFT), musubi-tuner (kohya's names) and ComfyUI.
// Sources: diffusers' loaders/lora_pipeline.py (HunyuanVideoLoraLoaderMixin) and loaders/lora_base.py; kohya-ss/musubi-tuner networks/lora.py;
// comfyanonymous/ComfyUI comfy/lora.py.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "models/generator/adapter_file.h"
#include "models/hunyuan_video/transformer_config.h"

namespace magicid::models::hunyuan_video {

// diffusers: diffusers' module names, q, k and v apart (A copied, rows of B split), scale in the metadata entry `lora_adapter_metadata`.
// kohya: lora_unet_double_blocks_0_img_attn_qkv.{lora_down.weight, lora_up.weight, alpha}.
// comfyui: diffusion_model.double_blocks.0.img_attn_qkv.{lora_A,lora_B}.weight, alpha / rank folded into both.
enum class AdapterFormat { diffusers, kohya, comfyui };
// Throws UserError naming the valid names.
AdapterFormat adapter_format_from_name(const std::string& name);

// Writes a safetensors file in fp32; `provenance` becomes entries of its metadata, to which kohya and comfyui add what their tools show (ss_network_dim,
// modelspec.architecture, ...). Lossless, but that comfyui's folded scale rounds when alpha / rank is no power of two. Throws SystemError when the disk fails.
void save_adapter(const generator::Adapter& adapter, const TransformerConfig& config, AdapterFormat format, const std::filesystem::path& path,
                  const std::map<std::string, std::string>& provenance = {});

// Reads any of the three layouts, told apart key by key, with or without their prefixes, diffusers' names from before PEFT, files and folders of PEFT itself
// (adapter_source.h) and files of other trainers; also this program's native.h5. Scale from PEFT's configuration (r, lora_alpha, rank_pattern, alpha_pattern,
// use_rslora), from `.alpha` tensors, else alpha = rank. Parts of a fused module with one A fuse at their rank; with different ones they become block-diagonal
// at the sum of the different ones' ranks; parts that the file lacks get rows of zeros. Parts for text encoders are left out, with a warning. The placement's
// dtype is that of the parameters. Throws UserError that lists every key that cannot be used: modules outside the blocks, other networks, DoRA, LoHa, LoKr,
// whole differences, biases, missing halves, wrong shapes, ranks other than the configuration's, modules given twice.
generator::LoadedAdapter read_adapter_file(const TransformerConfig& config, const std::filesystem::path& path, const nn::Placement& placement = {});
// Without the model: the file's own sizes are taken (sizes_of_adapter), so that wrong ones show only where they do not fit each other. fp32, on the CPU.
generator::LoadedAdapter read_adapter_file(const std::filesystem::path& path);
// The adapter alone; what the file warns of goes to the log.
generator::Adapter load_adapter(const TransformerConfig& config, const std::filesystem::path& path, const nn::Placement& placement = {});

}  // namespace magicid::models::hunyuan_video
