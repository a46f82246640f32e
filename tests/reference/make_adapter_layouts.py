"""Golden files for adapter files that other programs write (tests/data/adapter/layouts.json, layouts.safetensors), from diffusers + PEFT in fp64.

layouts.json: for each case the keys with their shapes in the file's own order, the header's metadata, the text of the adapter_config.json beside it, and the name that the program gave
the file; values by formula as in make_adapter.py (lora_B and up 0.2 times). Keys, metadata and configuration are those that PEFT and diffusers themselves wrote, but for the names
from before PEFT, which no present version writes: those are made by diffusers' table (utils/state_dict_utils.py, UNET_TO_DIFFUSERS) and read by diffusers. layouts.safetensors: `CASE` is the
sample that the reference gives with the file it wrote, read again by its own loader; `merged.MODULE` are weights after fuse_lora of the case peft_folder.

    python tests/reference/make_adapter_layouts.py
"""
import json
import pathlib
import tempfile

import diffusers
import peft
import safetensors.torch
import torch
from diffusers import FluxPipeline, HunyuanVideoPipeline
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict

from formula_weights import exact_frequencies
from make_adapter import ALL, OUT, Holder, base_model, error, factor, forward, modules

SOME = modules(["attn.to_q", "attn.to_v", "attn.to_out.0", "attn.add_k_proj", "attn.to_add_out", "ff.net.0.proj", "ff_context.net.2"], ["attn.to_k", "proj_mlp", "proj_out"])
MERGED = ["transformer_blocks.0.attn.to_q", "transformer_blocks.1.ff_context.net.2", "single_transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_mlp"]


def fill_factors(model, key_of):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                key = key_of(name)
                parameter.copy_(factor(key, list(parameter.shape)))


def describe(file, config=None):
    with safetensors.safe_open(file, "pt") as opened:
        header = json.loads(file.read_bytes()[8:8 + int.from_bytes(file.read_bytes()[:8], "little")])
        keys = [key for key in header if key != "__metadata__"]
        return {"file": file.name, "keys": [[key, opened.get_slice(key).get_shape()] for key in keys], "metadata": opened.metadata() or {},
                "config": config.read_text() if config else ""}


def peft_folder(**config):
    """PeftModel.save_pretrained and from_pretrained."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = get_peft_model(base_model(), LoraConfig(**config))
        fill_factors(model, lambda name: name.replace(".default", ""))
        model.save_pretrained(folder)
        case = describe(folder / "adapter_model.safetensors", folder / "adapter_config.json")
        again = PeftModel.from_pretrained(base_model(), folder)
        return case, forward(again.double())


def saved_by_the_transformer(**config):
    """transformer.save_lora_adapter: no prefix, neither in the keys nor in the header's metadata."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = base_model()
        model.add_adapter(LoraConfig(**config))
        fill_factors(model, lambda name: name.replace(".default", ""))
        model.save_lora_adapter(folder)
        file = folder / "pytorch_lora_weights.safetensors"
        with safetensors.safe_open(file, "pt") as opened:
            metadata = json.loads(opened.metadata()["lora_adapter_metadata"])
        again = base_model()
        again.load_lora_adapter(safetensors.torch.load_file(file), prefix=None, metadata=metadata)
        return describe(file), forward(again.double())


def with_text_encoder(**config):
    """A pipeline's file that holds a text encoder's part too, as diffusers' pipelines with such parts write it; HunyuanVideo's loader reads the transformer's."""
    from transformers import CLIPTextConfig, CLIPTextModel

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = base_model()
        model.add_adapter(LoraConfig(**config))
        fill_factors(model, lambda name: "transformer." + name.replace(".default", ""))
        encoder = CLIPTextModel(CLIPTextConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
        encoder = get_peft_model(encoder, LoraConfig(r=1, target_modules=["q_proj"]))
        FluxPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(model),
                                      text_encoder_lora_layers={k.removeprefix("base_model.model."): v for k, v in get_peft_model_state_dict(encoder).items()})
        file = folder / "pytorch_lora_weights.safetensors"
        again = base_model()
        Holder(again).load_lora_weights(str(folder), low_cpu_mem_usage=False)
        return describe(file), forward(again.double())


def before_peft():
    """Keys by diffusers' table, read by load_lora_weights. The order of the keys is turned round."""
    tensors = {}
    for index, module in enumerate(SOME):
        linear = base_model().get_submodule(module)
        rank = 2 + index % 3
        stem = "transformer." + module
        for end in ("to_q", "to_k", "to_v", "to_out.0"):
            if module.endswith("attn." + end):
                stem = stem.removesuffix(end) + end.removesuffix(".0") + "_lora"
        if not stem.endswith("_lora"):
            stem += ".lora"
        for name, shape in ((stem + ".down.weight", [rank, linear.in_features]), (stem + ".up.weight", [linear.out_features, rank])):
            tensors[name] = factor(name, shape) * (0.2 if ".up." in name else 1.0)
    model = base_model()
    Holder(model).load_lora_weights(dict(tensors), low_cpu_mem_usage=False)
    keys = [[name, list(tensor.shape)] for name, tensor in tensors.items()][::-1]
    return {"file": "old.safetensors", "keys": keys, "metadata": {}, "config": ""}, forward(model.double())


def merged(case):
    """Weights after fuse_lora at 0.75 of a PEFT folder's adapter."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        tensors = {key: factor(key, shape) for key, shape in case["keys"]}
        safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(case["config"])
        model = PeftModel.from_pretrained(base_model(), folder).get_base_model()
        model.fuse_lora(lora_scale=0.75)
        return {"merged." + name: model.get_submodule(name).get_base_layer().weight.detach().clone().contiguous() for name in MERGED}


def main():
    exact_frequencies()
    cases, tensors = {}, {}
    made = {
        "peft_folder": peft_folder(r=3, lora_alpha=7, target_modules=ALL, rank_pattern={"^transformer_blocks.0.attn.to_q": 5, "proj_mlp": 2},
                                   alpha_pattern={"to_q": 3, "attn.to_q": 4, "transformer_blocks.1.ff.net.(0.proj|2)": 1}),
        "peft_folder_rank_stabilised": peft_folder(r=4, lora_alpha=3, target_modules=SOME, use_rslora=True, rank_pattern={"proj_out": 2}),
        "saved_by_the_transformer": saved_by_the_transformer(r=2, lora_alpha=5, target_modules=SOME, alpha_pattern={"proj_out": 0.5}),
        "with_text_encoder": with_text_encoder(r=2, lora_alpha=2, target_modules=SOME),
        "before_peft": before_peft(),
    }
    with torch.no_grad():
        plain = forward(base_model().double())
    for name, (case, sample) in made.items():
        cases[name], tensors[name] = case, sample.detach().float().contiguous()
        print(name, len(case["keys"]), "keys; effect", f"{error(sample, plain):.3f}")
    tensors.update(merged(cases["peft_folder"]))
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__}
    safetensors.torch.save_file(tensors, OUT / "layouts.safetensors", metadata=versions)
    (OUT / "layouts.json").write_text(json.dumps({"versions": versions, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
