"""Golden files for LoRA adapters of HunyuanVideo's transformer (tests/data/adapter), from diffusers + PEFT in fp64.

cases.json: for each case the file's keys with their shapes, its metadata, and `tied` (key: the key whose values it has). Values follow
formula_weights.py: lora_A (lora_down) is formula_tensor(key), lora_B (lora_up) 0.2 times that; an `.alpha` key holds the number in `alphas`.
The cases of diffusers' layout hold the keys and metadata that HunyuanVideoPipeline.save_lora_weights itself wrote. Those of Tencent's layout
are computed without PEFT: scale * B A is added to the weights, rows split by hand.
<case>.safetensors: sample; gradient.<key> of sum(sample * formula_tensor("loss")) where the case says so.

    python tests/reference/make_adapter.py
    python tests/reference/make_adapter.py --check FOLDER     # files that adapter_test wrote: MAGICID_ADAPTER_EXPORT=FOLDER adapter_test
"""
import argparse
import json
import pathlib
import tempfile

import diffusers
import peft
import safetensors.torch
import torch
from diffusers import HunyuanVideoPipeline, HunyuanVideoTransformer3DModel
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from formula_weights import exact_frequencies, fill, formula_tensor

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "adapter"
CONFIG = {
    "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "num_single_layers": 2,
    "num_refiner_layers": 1, "mlp_ratio": 2.0, "patch_size": 2, "patch_size_t": 1, "qk_norm": "rms_norm", "guidance_embeds": True,
    "text_embed_dim": 20, "pooled_projection_dim": 12, "rope_theta": 256.0, "rope_axes_dim": [4, 6, 6],
}
WIDTH, MLP = 32, 64
DOUBLE = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_out.0", "attn.to_add_out",
          "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"]
SINGLE = ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out"]


def modules(double, single):
    return [f"transformer_blocks.{i}.{m}" for i in range(2) for m in double] + [f"single_transformer_blocks.{i}.{m}" for i in range(2) for m in single]


ALL = modules(DOUBLE, SINGLE)
FUSED = {"attn.to_k": "attn.to_q", "attn.to_v": "attn.to_q", "proj_mlp": "attn.to_q", "attn.add_k_proj": "attn.add_q_proj", "attn.add_v_proj": "attn.add_q_proj"}

# name: (LoraConfig, whether A of fused parts are equal, whether the file has metadata, whether gradients are kept)
PEFT_CASES = {
    "equal_a": (dict(r=3, lora_alpha=6, target_modules=ALL), True, True, True),
    "different_a": (dict(r=2, lora_alpha=2, target_modules=ALL), False, False, True),
    "some_targets": (dict(r=4, lora_alpha=1, target_modules=modules(["attn.to_q", "attn.to_v", "attn.add_k_proj", "ff.net.2"], ["attn.to_k", "proj_mlp"])), False, True, False),
    "patterns": (dict(r=2, lora_alpha=5, target_modules=modules(DOUBLE + ["norm1.linear", "norm1_context.linear"], SINGLE + ["norm.linear"]),
                      rank_pattern={"^transformer_blocks.1.attn.to_q": 5, "attn.to_v": 3}, alpha_pattern={"^transformer_blocks.1.attn.to_q": 2, "proj_out": 7, "^transformer_blocks.0.ff.net.2": 0.5}), False, True, False),
    "rank_stabilised": (dict(r=4, lora_alpha=3, target_modules=ALL, use_rslora=True), True, True, False),
}


def base_model():
    model = HunyuanVideoTransformer3DModel(**CONFIG).eval()
    fill(model)
    return model.requires_grad_(False)


def formula_input(name, shape):
    tensor = formula_tensor(name, shape)
    return tensor * (tensor[0].numel() / 3.0) ** 0.5


def forward(model, dtype=torch.float64):
    mask = torch.zeros(1, 6)
    mask[0, :4] = 1
    return model(
        hidden_states=formula_input("hidden_states", [1, 4, 3, 4, 6]).to(dtype), timestep=torch.tensor([725.0]),
        encoder_hidden_states=formula_input("encoder_hidden_states", [1, 6, 20]).to(dtype), encoder_attention_mask=mask,
        pooled_projections=formula_input("pooled_projections", [1, 12]).to(dtype), guidance=torch.tensor([1000.0]), return_dict=False)[0]


def factor(key, shape):
    return formula_tensor(key, shape) * (0.2 if ("lora_B" in key or "lora_up" in key) else 1.0)


def tied_to(key):
    if ".lora_A." not in key:
        return None
    for part, first in FUSED.items():
        if f".{part}.lora_A." in key:
            return key.replace(f".{part}.", f".{first}.")
    return None


def peft_case(config, equal_a, with_metadata, gradients):
    model = base_model()
    model.add_adapter(LoraConfig(**config))
    tied = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" not in name:
                continue
            key = "transformer." + name.replace(".default", "")
            source = tied_to(key) if equal_a else None
            if source:
                tied[key] = source
            parameter.copy_(factor(source or key, list(parameter.shape)))
    with tempfile.TemporaryDirectory() as folder:
        metadata = _collate_lora_metadata({"transformer": model}) if with_metadata else {}
        HunyuanVideoPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(model), **metadata)
        file = pathlib.Path(folder) / "pytorch_lora_weights.safetensors"
        with safetensors.safe_open(file, "pt") as opened:
            keys = {key: opened.get_slice(key).get_shape() for key in opened.keys()}
            case = {"keys": keys, "metadata": opened.metadata(), "tied": tied, "alphas": {}}
    model = model.double()
    sample = forward(model)
    tensors = {"sample": sample.detach().float().contiguous()}
    if gradients:
        (sample * formula_tensor("loss", list(sample.shape)).double()).sum().backward()
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                tensors["gradient.transformer." + name.replace(".default", "")] = parameter.grad.float().contiguous()
    return case, tensors


# Tencent's module: (diffusers' modules in row order, rows of each)
def tencent_modules():
    table = {}
    for i in range(2):
        a, b = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        for s, norm, qkv, proj, ff in (("img", "norm1", ("to_q", "to_k", "to_v"), "to_out.0", "ff"),
                                       ("txt", "norm1_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "ff_context")):
            table[f"{a}{s}_mod.linear"] = [b + norm + ".linear"]
            table[f"{a}{s}_attn_qkv"] = [b + "attn." + part for part in qkv]
            table[f"{a}{s}_attn_proj"] = [b + "attn." + proj]
            table[f"{a}{s}_mlp.fc1"] = [b + ff + ".net.0.proj"]
            table[f"{a}{s}_mlp.fc2"] = [b + ff + ".net.2"]
        a, b = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        table[a + "linear1"] = [b + "attn.to_q", b + "attn.to_k", b + "attn.to_v", b + "proj_mlp"]
        table[a + "linear2"] = [b + "proj_out"]
        table[a + "modulation.linear"] = [b + "norm.linear"]
    return table


def merged_case(layout):
    model = base_model().double()
    keys, alphas = {}, {}
    for index, (module, parts) in enumerate(tencent_modules().items()):
        if "mod" in module and layout == "comfyui":
            continue
        linears = [model.get_submodule(part) for part in parts]
        out, inputs, rank = sum(l.out_features for l in linears), linears[0].in_features, 2 + index % 3
        name = "lora_unet_" + module.replace(".", "_") if layout == "kohya" else "diffusion_model." + module
        a_key, b_key = (name + ".lora_down.weight", name + ".lora_up.weight") if layout == "kohya" else (name + ".lora_A.weight", name + ".lora_B.weight")
        keys[a_key], keys[b_key] = [rank, inputs], [out, rank]
        scale = 1.0
        if layout == "kohya" and index % 4:  # now and then no alpha: it is the rank
            keys[name + ".alpha"], alphas[name + ".alpha"] = [], 0.5 + index % 5
            scale = alphas[name + ".alpha"] / rank
        delta = scale * factor(b_key, keys[b_key]).double() @ factor(a_key, keys[a_key]).double()
        for linear, rows in zip(linears, delta.split([l.out_features for l in linears])):
            linear.weight += rows
    with torch.no_grad():
        sample = forward(model)
    return {"keys": keys, "metadata": {}, "tied": {}, "alphas": alphas}, {"sample": sample.float().contiguous()}


def error(actual, expected):
    return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


class Holder(HunyuanVideoPipeline):
    """As much of a pipeline as load_lora_weights needs."""

    def __init__(self, transformer):
        self.transformer = transformer

    components = {}


def check(folder):
    worst = 0.0
    for file in sorted(pathlib.Path(folder).glob("*.diffusers.safetensors")):
        expected = safetensors.torch.load_file(OUT / (file.name.split(".")[0] + ".safetensors"))["sample"]
        results = []
        for load in ("load_lora_weights", "load_lora_adapter"):
            model = base_model()
            if load == "load_lora_weights":
                Holder(model).load_lora_weights(str(file.parent), weight_name=file.name, low_cpu_mem_usage=False)
            else:
                with safetensors.safe_open(file, "pt") as opened:
                    metadata = json.loads(opened.metadata()["lora_adapter_metadata"])
                model.load_lora_adapter(safetensors.torch.load_file(file), prefix="transformer", metadata=metadata)
            with torch.no_grad():
                results.append(error(forward(model.double()), expected))
        worst = max([worst, *results])
        print(f"{file.name}: load_lora_weights {results[0]:.2e}, load_lora_adapter {results[1]:.2e}")
    print(f"worst {worst:.2e}")
    assert 0 < worst < 1e-5


def main():
    exact_frequencies()
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.check:
        return check(arguments.check)
    OUT.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__}
    torch.manual_seed(0)
    with torch.no_grad():
        plain = forward(base_model().double()).float()
    cases, all_tensors = {}, {}
    for name, arguments in PEFT_CASES.items():
        cases[name], all_tensors[name] = peft_case(*arguments)
    for layout in ("kohya", "comfyui"):
        cases[layout], all_tensors[layout] = merged_case(layout)
    for name, tensors in all_tensors.items():
        safetensors.torch.save_file(tensors, OUT / f"{name}.safetensors", metadata=versions)
        print(name, len(cases[name]["keys"]), "keys; effect", f"{error(tensors['sample'], plain):.3f}")
    with open(OUT / "cases.json", "w") as out:
        json.dump({"versions": versions, "config": CONFIG, "cases": cases}, out, separators=(",", ":"), sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    main()
