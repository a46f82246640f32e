"""Golden files for `magicid import` (tests/data/imports): small networks in every layout in which their weights are published.

    python tests/reference/make_imports.py

Networks are those of diffusers, transformers and torchvision; face embedders those of make_arcface.py. Weights are formula_tensor(name in the expected file).

transformer/, vae/, llama/, clip/: `expected.safetensors` and config.json as save_pretrained writes them, and a file for each layout.
skeletons/: data.pkl of torch.save for networks whose sizes are fixed, `NAME.json`: bytes of each storage, type of its elements, and [name in the file, expected name] of each
tensor. The test builds the archive again around them, so that the repository holds no megabytes of weights.
faces/: ONNX files of torch.onnx (the exporter of TorchScript) of face embedders with thin layers, with norms folded and kept, and their state dicts.
full_size.json: names and shapes of the published networks on the meta device, in Tencent's, diffusers', openai's and transformers' names.
versions.json.
"""
import json
import pathlib
import platform
import tempfile
import zipfile

import diffusers
import onnx
import safetensors.torch
import torch
import torchvision
import transformers
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from diffusers.loaders import single_file_utils
from torch import nn
from transformers import CLIPConfig, CLIPModel, LlamaConfig, LlamaModel

import make_arcface
from formula_weights import formula_tensor

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "imports"
torch.set_grad_enabled(False)


def save_json(path, value):
    path.write_text(json.dumps(value, separators=(",", ":"), sort_keys=True) + "\n")


def fill(model, dtype=torch.float32, canonical=lambda name: name):
    for name, tensor in model.state_dict().items():
        tensor.copy_(formula_tensor(canonical(name), list(tensor.shape)))
    return model.to(dtype)


def save_pretrained(model, folder):
    """The expected weights and config.json, without versions that change from release to release."""
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        written = next(p for p in pathlib.Path(temporary).iterdir() if p.suffix == ".safetensors")
        tensors = safetensors.torch.load_file(written)
        config = json.loads((pathlib.Path(temporary) / "config.json").read_text())
    config = {k: v for k, v in config.items() if k not in ("_diffusers_version", "transformers_version", "_name_or_path")}
    folder.mkdir(parents=True, exist_ok=True)
    save_json(folder / "config.json", config)
    safetensors.torch.save_file(tensors, folder / "expected.safetensors", {"format": "pt"})
    return tensors


# --- HunyuanVideo's transformer ---------------------------------------------------------------------------------------------------

def tencent_transformer(tensors, config):
    """The inverse of diffusers' convert_hunyuan_video_transformer_to_diffusers."""
    result = {}

    def copy(tencent, diffusers_name):
        for part in ("weight", "bias"):
            if f"{diffusers_name}.{part}" in tensors:
                result[f"{tencent}.{part}"] = tensors[f"{diffusers_name}.{part}"]

    def fuse(tencent, names):
        for part in ("weight", "bias"):
            result[f"{tencent}.{part}"] = torch.cat([tensors[f"{name}.{part}"] for name in names])

    copy("img_in.proj", "x_embedder.proj")
    for tencent, theirs in (("time_in", "time_text_embed.timestep_embedder"), ("guidance_in", "time_text_embed.guidance_embedder")):
        copy(f"{tencent}.mlp.0", f"{theirs}.linear_1")
        copy(f"{tencent}.mlp.2", f"{theirs}.linear_2")
    copy("vector_in.in_layer", "time_text_embed.text_embedder.linear_1")
    copy("vector_in.out_layer", "time_text_embed.text_embedder.linear_2")
    copy("txt_in.input_embedder", "context_embedder.proj_in")
    copy("txt_in.t_embedder.mlp.0", "context_embedder.time_text_embed.timestep_embedder.linear_1")
    copy("txt_in.t_embedder.mlp.2", "context_embedder.time_text_embed.timestep_embedder.linear_2")
    copy("txt_in.c_embedder.linear_1", "context_embedder.time_text_embed.text_embedder.linear_1")
    copy("txt_in.c_embedder.linear_2", "context_embedder.time_text_embed.text_embedder.linear_2")
    for i in range(config["num_refiner_layers"]):
        a, b = f"txt_in.individual_token_refiner.blocks.{i}", f"context_embedder.token_refiner.refiner_blocks.{i}"
        for norm in ("norm1", "norm2"):
            copy(f"{a}.{norm}", f"{b}.{norm}")
        fuse(f"{a}.self_attn_qkv", [f"{b}.attn.to_{x}" for x in "qkv"])
        copy(f"{a}.self_attn_proj", f"{b}.attn.to_out.0")
        copy(f"{a}.mlp.fc1", f"{b}.ff.net.0.proj")
        copy(f"{a}.mlp.fc2", f"{b}.ff.net.2")
        copy(f"{a}.adaLN_modulation.1", f"{b}.norm_out.linear")
    for i in range(config["num_layers"]):
        a, b = f"double_blocks.{i}", f"transformer_blocks.{i}"
        for stream, norm, qkv, added, proj, ff in (("img", "norm1", "attn.to_{}", "norm_", "to_out.0", "ff"),
                                                   ("txt", "norm1_context", "attn.add_{}_proj", "norm_added_", "to_add_out", "ff_context")):
            copy(f"{a}.{stream}_mod.linear", f"{b}.{norm}.linear")
            fuse(f"{a}.{stream}_attn_qkv", [f"{b}." + qkv.format(x) for x in "qkv"])
            for x in "qk":
                copy(f"{a}.{stream}_attn_{x}_norm", f"{b}.attn.{added}{x}")
            copy(f"{a}.{stream}_attn_proj", f"{b}.attn.{proj}")
            copy(f"{a}.{stream}_mlp.fc1", f"{b}.{ff}.net.0.proj")
            copy(f"{a}.{stream}_mlp.fc2", f"{b}.{ff}.net.2")
    for i in range(config["num_single_layers"]):
        a, b = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        copy(f"{a}.modulation.linear", f"{b}.norm.linear")
        fuse(f"{a}.linear1", [f"{b}.attn.to_q", f"{b}.attn.to_k", f"{b}.attn.to_v", f"{b}.proj_mlp"])
        copy(f"{a}.linear2", f"{b}.proj_out")
        for x in "qk":
            copy(f"{a}.{x}_norm", f"{b}.attn.norm_{x}")
    copy("final_layer.linear", "proj_out")
    for part in ("weight", "bias"):
        scale, shift = tensors[f"norm_out.linear.{part}"].chunk(2)
        result[f"final_layer.adaLN_modulation.1.{part}"] = torch.cat([shift, scale])
    return result


def check_against_diffusers(tencent, expected):
    """diffusers' own converter must give the expected tensors. It takes the width for 3072, so that its line is replaced for small networks, and forgets the weight alone."""
    import inspect

    width = tencent["img_in.proj.bias"].shape[0]
    source = inspect.getsource(single_file_utils.convert_hunyuan_video_transformer_to_diffusers).replace("hidden_size = 3072", f"hidden_size = {width}")
    scope = dict(torch=torch)
    exec(source, scope)
    converted = scope["convert_hunyuan_video_transformer_to_diffusers"](dict(tencent))
    assert converted.keys() == expected.keys(), converted.keys() ^ expected.keys()
    for name in expected:
        assert torch.equal(converted[name], expected[name]), name


def comfyui_name(name):
    """The renaming of ComfyUI's HunyuanVideo.process_unet_state_dict (comfy/supported_models.py), in the words of its pairs."""
    for a, b in (("txt_in.t_embedder.mlp.0.", "txt_in.t_embedder.in_layer."), ("txt_in.t_embedder.mlp.2.", "txt_in.t_embedder.out_layer."),
                 ("txt_in.c_embedder.linear_1.", "txt_in.c_embedder.in_layer."), ("txt_in.c_embedder.linear_2.", "txt_in.c_embedder.out_layer."),
                 ("_mod.linear.", "_mod.lin."), ("_attn_qkv.", "_attn.qkv."), ("mlp.fc1.", "mlp.0."), ("mlp.fc2.", "mlp.2."),
                 ("_attn_q_norm.weight", "_attn.norm.query_norm.scale"), ("_attn_k_norm.weight", "_attn.norm.key_norm.scale"),
                 (".q_norm.weight", ".norm.query_norm.scale"), (".k_norm.weight", ".norm.key_norm.scale"), ("_attn_proj.", "_attn.proj."),
                 (".modulation.linear.", ".modulation.lin."), ("_in.mlp.2.", "_in.out_layer."), ("_in.mlp.0.", "_in.in_layer.")):
        name = name.replace(a, b)
    return name


def is_block_linear(name, tensor):
    return name.startswith(("double_blocks.", "single_blocks.")) and name.endswith(".weight") and tensor.dim() == 2


def make_transformer():
    folder = OUT / "transformer"
    config = dict(num_attention_heads=1, attention_head_dim=32, in_channels=2, out_channels=2, num_layers=1, num_single_layers=1, num_refiner_layers=1, mlp_ratio=2.0,
                  text_embed_dim=6, pooled_projection_dim=5, rope_axes_dim=(4, 14, 14))
    expected = save_pretrained(fill(HunyuanVideoTransformer3DModel(**config), torch.bfloat16), folder)
    tencent = tencent_transformer(expected, config)
    check_against_diffusers(tencent, expected)
    torch.save({"module": tencent}, folder / "tencent.pt")
    safetensors.torch.save_file({"model.diffusion_model." + k: v for k, v in tencent.items()}, folder / "kohya.safetensors")
    safetensors.torch.save_file({"model.model." + comfyui_name(k): v for k, v in tencent.items()}, folder / "comfyui.safetensors")

    # fp8, in three ways; each beside the values that its own rule of reading gives.
    fp8 = torch.float8_e4m3fn
    plain = {k: v.to(fp8) if is_block_linear(k, v) else v for k, v in tencent.items()}
    safetensors.torch.save_file(plain, folder / "fp8_plain.safetensors")
    scaled, scales = {}, {}
    for name, tensor in tencent.items():
        if is_block_linear(name, tensor):
            scale = tensor.float().abs().max() / 448
            scaled[name] = (tensor.float() / scale).to(fp8)
            scales[name.removesuffix(".weight")] = scale
        else:
            scaled[name] = tensor
    torch.save({"module": scaled}, folder / "mp_rank_00_model_states_fp8.pt")
    torch.save(scales, folder / "mp_rank_00_model_states_fp8_map.pt")
    comfyui = dict(scaled, scaled_fp8=torch.empty(0, dtype=fp8))
    comfyui.update({k + ".scale_weight": v for k, v in scales.items()})
    comfyui.update({k + ".scale_input": torch.ones(()) for k in scales})
    safetensors.torch.save_file({"model.diffusion_model." + k: v for k, v in comfyui.items()}, folder / "fp8_scaled.safetensors")
    values = {k: (v.float() * scales[k.removesuffix(".weight")]).to(torch.bfloat16) if v.dtype == fp8 else v for k, v in scaled.items()}
    safetensors.torch.save_file(values, folder / "fp8_values.safetensors")


# --- HunyuanVideo's autoencoder ---------------------------------------------------------------------------------------------------

def original_vae_name(name, levels):
    """diffusers' names to latent-diffusion's, as ComfyUI's convert_vae_state_dict has them."""
    for i in range(levels):
        name = name.replace(f"encoder.down_blocks.{i}.", f"encoder.down.{i}.")
    for i in range(levels):
        name = name.replace(f"decoder.up_blocks.{i}.", f"decoder.up.{levels - 1 - i}.") if f"decoder.up_blocks.{i}." in name else name
    for a, b in (("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"), (".resnets.", ".block."), (".downsamplers.0.", ".downsample."),
                 (".upsamplers.0.", ".upsample."), ("conv_shortcut", "nin_shortcut"), ("conv_norm_out", "norm_out")):
        name = name.replace(a, b)
    if "mid_block.attentions.0." in name:
        for a, b in (("mid_block.attentions.0.", "mid.attn_1."), ("group_norm.", "norm."), ("to_q.", "q."), ("to_k.", "k."), ("to_v.", "v."), ("to_out.0.", "proj_out.")):
            name = name.replace(a, b)
    return name


def make_vae():
    folder = OUT / "vae"
    config = dict(block_out_channels=(2, 4, 4), layers_per_block=1, norm_num_groups=2, latent_channels=3, down_block_types=("HunyuanVideoDownBlock3D",) * 3,
                  up_block_types=("HunyuanVideoUpBlock3D",) * 3, spatial_compression_ratio=4)
    expected = save_pretrained(fill(AutoencoderKLHunyuanVideo(**config), torch.float16), folder)
    torch.save({"state_dict": {"vae." + k: v for k, v in expected.items()}, "epoch": 3}, folder / "tencent.pt")
    original = {}
    for name, tensor in expected.items():
        other = original_vae_name(name, 3)
        original[other] = tensor.reshape(*tensor.shape, 1, 1, 1) if "attn_1" in other and tensor.dim() == 2 else tensor
    safetensors.torch.save_file(original, folder / "comfyui.safetensors")


# --- Text and image encoders ------------------------------------------------------------------------------------------------------

def make_llama():
    folder = OUT / "llama"
    config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=6, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    expected = save_pretrained(fill(LlamaModel(config), torch.float16), folder)
    expected = {k.removeprefix("model."): v for k, v in expected.items()}
    safetensors.torch.save_file({"model." + k: v for k, v in expected.items()} | {"lm_head.weight": torch.zeros(11, 8, dtype=torch.float16)}, folder / "comfyui.safetensors")
    safetensors.torch.save_file(expected, folder / "bare.safetensors")
    torch.save({"language_model.model." + k: nn.Parameter(v) for k, v in expected.items()}, folder / "llava.pt")


def openai_clip(tensors):
    """transformers' names to openai's (clip/model.py); the inverse of transformers' convert_clip_original_pytorch_to_hf.py."""
    result = {}
    for half, prefix in (("text_model.", ""), ("vision_model.", "visual.")):
        for name, tensor in tensors.items():
            if not name.startswith(half) or any(x in name for x in (".q_proj", ".k_proj", ".v_proj")):
                continue
            other = name.removeprefix(half)
            for a, b in (("embeddings.token_embedding.weight", "token_embedding.weight"), ("embeddings.position_embedding.weight", "positional_embedding"),
                         ("embeddings.class_embedding", "class_embedding"), ("embeddings.patch_embedding.weight", "conv1.weight"), ("pre_layrnorm", "ln_pre"),
                         ("post_layernorm", "ln_post"), ("final_layer_norm", "ln_final"), ("encoder.layers.", "transformer.resblocks."), ("layer_norm1", "ln_1"),
                         ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("self_attn.out_proj", "attn.out_proj")):
                other = other.replace(a, b)
            if other.endswith("position_ids"):
                continue
            result[prefix + other] = tensor
        i = 0
        while f"{half}encoder.layers.{i}.self_attn.q_proj.weight" in tensors:
            for part in ("weight", "bias"):
                result[f"{prefix}transformer.resblocks.{i}.attn.in_proj_{part}"] = torch.cat(
                    [tensors[f"{half}encoder.layers.{i}.self_attn.{x}_proj.{part}"] for x in "qkv"])
            i += 1
    result["text_projection"] = tensors["text_projection.weight"].t().contiguous()
    result["visual.proj"] = tensors["visual_projection.weight"].t().contiguous()
    result["logit_scale"] = tensors["logit_scale"]
    return result


def scripted(tensors, numbers):
    """An archive of torch.jit with these parameters, as openai publishes its networks."""
    def module(below):
        result = nn.Module()
        children = {}
        for name, tensor in below.items():
            first, _, rest = name.partition(".")
            if rest:
                children.setdefault(first, {})[rest] = tensor
            else:
                result.register_parameter(first, nn.Parameter(tensor))
        for name, child in children.items():
            result.add_module(name, module(child))
        return result

    network = module(tensors)
    for name, number in numbers.items():
        setattr(network, name, number)
    return torch.jit.script(network)


def make_clip():
    folder = OUT / "clip"
    config = CLIPConfig(text_config=dict(vocab_size=9, hidden_size=8, intermediate_size=6, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=5),
                        vision_config=dict(hidden_size=4, intermediate_size=6, num_hidden_layers=2, num_attention_heads=2, image_size=6, patch_size=3), projection_dim=7)
    expected = save_pretrained(fill(CLIPModel(config), torch.float16), folder)
    openai = openai_clip(expected)
    torch.save(openai, folder / "openai.pt")
    scripted(openai, dict(input_resolution=6, context_length=5, vocab_size=9)).save(str(folder / "openai_scripted.pt"))
    text = {k: v for k, v in expected.items() if k.startswith("text_model.")}
    safetensors.torch.save_file(text, folder / "text_comfyui.safetensors")
    safetensors.torch.save_file({k.removeprefix("text_model."): v for k, v in text.items()}, folder / "text_bare.safetensors")


# --- Networks of fixed sizes ------------------------------------------------------------------------------------------------------

def save_skeleton(name, state, pairs):
    folder = OUT / "skeletons"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary) / f"{name}.pth"
        torch.save(state, path)
        with zipfile.ZipFile(path) as archive:
            (folder / f"{name}.pkl").write_bytes(archive.read(f"{name}/data.pkl"))
            sizes = {i.filename.split("/")[-1]: i.file_size for i in archive.infolist() if "/data/" in i.filename}
    save_json(folder / f"{name}.json", {"storages": sizes, "pairs": pairs})


def princeton_raft(name):
    for a, b in (("feature_encoder.", "fnet."), ("context_encoder.", "cnet."), ("mask_predictor.convrelu.0.", "update_block.mask.0."),
                 ("mask_predictor.conv.", "update_block.mask.2."), ("net.convnormrelu.0.", "net.conv1."), ("net.convnormrelu.1.", "net.norm1."), ("net.conv.", "net.conv2."),
                 ("motion_encoder.conv.0.", "encoder.conv."), ("motion_encoder.convcorr1.0.", "encoder.convc1."), ("motion_encoder.convcorr2.0.", "encoder.convc2."),
                 ("motion_encoder.convflow1.0.", "encoder.convf1."), ("motion_encoder.convflow2.0.", "encoder.convf2.")):
        name = name.replace(a, b)
    for i in (1, 2, 3):
        name = name.replace(f"convnormrelu{i}.0.", f"conv{i}.").replace(f"convnormrelu{i}.1.", f"norm{i}.")
    return name


def make_raft():
    for size in ("large", "small"):
        network = getattr(torchvision.models.optical_flow, f"raft_{size}")()
        state = network.state_dict()
        save_skeleton(f"raft_{size}_torchvision", state, [[k, k] for k in state])
        princeton, pairs = {}, []
        for name, tensor in state.items():
            other = princeton_raft(name)
            for gate in "zrq":
                for i in (1, 2):
                    other = other.replace(f"recurrent_block.convgru{i}.conv{gate}.", f"gru.conv{gate}{i}." if size == "large" else f"gru.conv{gate}.")
            other = "module." + other
            princeton[other] = tensor
            pairs.append([other, name])
            if size == "large" and "context_encoder" in name and ".downsample.1." in name:
                princeton[other.replace("downsample.1", "norm3")] = tensor  # the same storage under a second name
        save_skeleton(f"raft_{size}_princeton", princeton, pairs)


def make_faces():
    for name, network in dict(iresnet18=make_arcface.IResNet("iresnet18"), mobilefacenet_insightface=make_arcface.InsightFace(), mobilefacenet_treb1en=make_arcface.TreB1eN(),
                              mobilefacenet_xiaoccer=make_arcface.Xiaoccer()).items():
        state = {("module." if name == "iresnet18" else "") + k: v for k, v in network.state_dict().items()}
        save_skeleton(name, state, [[k, k.removeprefix("module.")] for k in state])

    folder = OUT / "faces"
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in dict(iresnet=thin_iresnet(), mobilefacenet=thin_mobilefacenet(make_arcface.InsightFace(4, (1, 4, 6, 2)))).items():
        for part in network.modules():
            if isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d)):
                part.num_batches_tracked = None
        for key, tensor in network.state_dict().items():
            tensor.copy_(formula_tensor(key, list(tensor.shape)))
        network.eval()
        safetensors.torch.save_file(network.state_dict(), folder / f"{name}.safetensors")
        face = torch.zeros(1, 3, 112, 112)
        torch.onnx.export(network, face, folder / f"{name}_folded.onnx", dynamo=False)
        torch.onnx.export(network, face, folder / f"{name}_kept.onnx", dynamo=False, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
        for kind in ("folded", "kept"):
            model = onnx.load(folder / f"{name}_{kind}.onnx")
            print(name, kind, sorted({node.op_type for node in model.graph.node}), len(model.graph.initializer))


def thin_iresnet():
    """An iresnet18 of two numbers in place of 64: the graph is what is tested."""
    network = make_arcface.IResNet("iresnet18", 5)
    width = 2
    network.conv1, network.bn1, network.prelu = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
    for layer in (1, 2, 3, 4):
        setattr(network, f"layer{layer}", nn.Sequential(*[make_arcface.IBlock(width, width, 2 if i == 0 else 1) for i in range(2)]))
    network.bn2, network.fc = nn.BatchNorm2d(width), nn.Linear(width * 49, 5)
    return network


def thin_mobilefacenet(network):
    """insightface's MobileFaceNet with a sixty-fourth of the numbers in each convolution."""
    def thin(module):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                less = lambda n: n if n == 3 else max(n // 64, 1)
                setattr(module, name, nn.Conv2d(less(child.in_channels), less(child.out_channels), child.kernel_size, child.stride, child.padding,
                                                groups=1 if child.groups == 1 else less(child.groups), bias=False))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.BatchNorm2d(max(child.num_features // 64, 1)))
            elif isinstance(child, nn.PReLU):
                setattr(module, name, nn.PReLU(max(child.num_parameters // 64, 1)))
            elif isinstance(child, nn.Linear):
                setattr(module, name, nn.Linear(child.in_features // 64, child.out_features, bias=False))
            else:
                thin(child)
    thin(network)
    return network


# --- Published sizes --------------------------------------------------------------------------------------------------------------

def shapes(tensors):
    return {k: list(v.shape) for k, v in tensors.items()}


def make_full_size():
    """On the meta device: the classes' defaults are the published HunyuanVideo's; LLaMA's and CLIP's figures are those of their config.json."""
    result = {}
    with torch.device("meta"):
        transformer = HunyuanVideoTransformer3DModel()
        state = transformer.state_dict()
        tencent = tencent_transformer(state, dict(num_layers=20, num_single_layers=40, num_refiner_layers=2))
        assert len(tencent) == 856 and len(state) == 1264
        result["transformer_tencent"] = shapes(tencent)
        result["transformer_config"] = {k: v for k, v in dict(transformer.config).items() if not k.startswith("_")}
        result["transformer_numbers"] = sum(v.numel() for v in state.values())
        result["transformer_diffusers_names"] = len(state)
        result["vae"] = shapes(AutoencoderKLHunyuanVideo().state_dict())
        llama = LlamaModel(LlamaConfig(vocab_size=128320, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8))
        result["llama"] = shapes(llama.state_dict())
        clip = CLIPModel(CLIPConfig(text_config=dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12),
                                    vision_config=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14), projection_dim=768))
        state = {k: v for k, v in clip.state_dict().items() if not k.endswith("position_ids")}
        result["clip_transformers"] = shapes(state)
        result["clip_openai"] = shapes(openai_clip(state))
    save_json(OUT / "full_size.json", result)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    make_transformer()
    make_vae()
    make_llama()
    make_clip()
    make_raft()
    make_faces()
    make_full_size()
    save_json(OUT / "versions.json", dict(torch=torch.__version__, torchvision=torchvision.__version__, diffusers=diffusers.__version__, transformers=transformers.__version__,
                                          onnx=onnx.__version__, safetensors=safetensors.__version__, python=platform.python_version()))


if __name__ == "__main__":
    main()
