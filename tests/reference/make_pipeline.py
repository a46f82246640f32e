"""Golden files for the whole program (tests/data/pipeline), from diffusers' HunyuanVideoPipeline in fp32.

folder/: what save_pretrained wrote of a tiny pipeline, without weights and tokenisers: the configurations and the transformer's shard index.
shapes.json: for each network {key in its file: shape}. A weight is formula_tensor(key without a leading "model." or "text_model.").
cases.json: the options of each sample, the adapter's keys, shapes and metadata as save_lora_weights wrote them (lora_A is formula_tensor(key),
lora_B 0.3 times that), versions. Inputs are formula_tensor(name) scaled to variance 1.
expected.safetensors: outputs; the tokenisers are those of make_tokenizers.py (llama3, clip_files).

    python tests/reference/make_pipeline.py
    python tests/reference/make_pipeline.py --keep FOLDER     # leaves the pipeline and the adapter there
"""
import argparse
import json
import pathlib
import shutil
import tempfile

import diffusers
import numpy as np
import peft
import safetensors.torch
import torch
import transformers
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline, HunyuanVideoTransformer3DModel
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from formula_weights import formula_tensor, save_shapes

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
OUT = DATA / "pipeline"
TEMPLATE = {"template": "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video:<|eot_id|>{}<|eot_id|>", "crop_start": 9}
PROMPT = "A person walks along the beach at sunset, it's 12:30."

# Options of the sample; `template` false: HunyuanVideo's own.
CASES = {
    "embedded_guidance": dict(height=32, width=48, frames=5, guidance=6.0, max_length=64, template=True, prompt=PROMPT),
    "shift_framewise": dict(height=16, width=32, frames=17, guidance=4.5, max_length=64, template=True, prompt="caf\u00e9, stra\u00dfe \U0001f600", shift=3.0),
    "true_cfg": dict(height=32, width=16, frames=5, guidance=1.0, max_length=32, template=True, prompt=PROMPT, negative_prompt="blurry, low quality", true_cfg=4.0),
    "true_cfg_from_the_empty_text": dict(height=16, width=32, frames=5, guidance=1.0, max_length=64, template=True, prompt=PROMPT, negative_prompt="", true_cfg=2.5),
    "one_frame": dict(height=32, width=48, frames=1, guidance=6.0, max_length=200, template=False, prompt=PROMPT),
    "long_prompt": dict(height=16, width=32, frames=5, guidance=6.0, max_length=40, template=True, prompt="The woman in the red coat turns her head and smiles; " * 6),
    "adapter": dict(height=32, width=32, frames=5, guidance=6.0, max_length=24, template=True, prompt=PROMPT, adapter=True),
}


def unit_input(name, shape):
    return formula_tensor(name, shape) * float(np.prod(shape[1:])) ** 0.5


def plain_name(key):
    for prefix in ("model.", "text_model."):
        if key.startswith(prefix):
            return key[len(prefix):]
    return key


def fill(model):
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(formula_tensor(plain_name(name), list(tensor.shape)))
    return model.eval()


def build():
    tokenizer = PreTrainedTokenizerFast.from_pretrained(DATA / "tokenizers" / "llama3")
    tokenizer_2 = CLIPTokenizer.from_pretrained(DATA / "tokenizers" / "clip_files")
    return HunyuanVideoPipeline(
        text_encoder=fill(LlamaModel(LlamaConfig(vocab_size=len(tokenizer), hidden_size=24, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, rope_theta=500000.0))),
        tokenizer=tokenizer,
        transformer=fill(HunyuanVideoTransformer3DModel(
            in_channels=4, out_channels=4, num_attention_heads=3, attention_head_dim=16, num_layers=2, num_single_layers=1, num_refiner_layers=2, mlp_ratio=2.0, patch_size=2, patch_size_t=1,
            text_embed_dim=24, pooled_projection_dim=20, rope_axes_dim=(4, 6, 6))),
        vae=fill(AutoencoderKLHunyuanVideo(latent_channels=4, block_out_channels=(4, 8, 8, 8), layers_per_block=1, norm_num_groups=2)),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=fill(CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer_2), hidden_size=20, intermediate_size=28, num_hidden_layers=2, num_attention_heads=2, bos_token_id=tokenizer_2.bos_token_id,
                                                         eos_token_id=tokenizer_2.eos_token_id, projection_dim=16))),
        tokenizer_2=tokenizer_2)


def save(pipe, folder):
    """Writes the pipeline, checks that the committed rule gives its weights, and returns {network: {key: shape}}."""
    pipe.save_pretrained(folder)
    pipe.transformer.save_pretrained(folder / "transformer", max_shard_size="200KB")
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink(missing_ok=True)
    shapes = {}
    for network in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        shapes[network] = {}
        for file in (folder / network).glob("*.safetensors"):
            for key, tensor in safetensors.torch.load_file(file).items():
                assert torch.equal(tensor, formula_tensor(plain_name(key), list(tensor.shape))), key
                shapes[network][key] = list(tensor.shape)
    return shapes


def add_adapter(pipe, folder):
    names = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_out.0", "attn.to_add_out", "ff.net.0.proj", "ff.net.2",
             "ff_context.net.0.proj", "ff_context.net.2"]
    targets = [f"transformer_blocks.{i}.{n}" for i in range(2) for n in names] + [f"single_transformer_blocks.0.{n}" for n in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out")]
    pipe.transformer.add_adapter(LoraConfig(r=4, lora_alpha=6, target_modules=targets))
    with torch.no_grad():
        for name, parameter in pipe.transformer.named_parameters():
            if ".lora_" in name:
                key = "transformer." + name.replace(".default", "")
                parameter.copy_(formula_tensor(key, list(parameter.shape)) * (0.3 if ".lora_B." in key else 1.0))
    HunyuanVideoPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(pipe.transformer), **_collate_lora_metadata({"transformer": pipe.transformer}))
    pipe.transformer.delete_adapters("default")
    pipe.load_lora_weights(str(folder), weight_name="pytorch_lora_weights.safetensors")
    with safetensors.safe_open(folder / "pytorch_lora_weights.safetensors", "pt") as opened:
        return {"keys": {key: opened.get_slice(key).get_shape() for key in opened.keys()}, "metadata": opened.metadata()}


def sample(pipe, name, case, tensors):
    template = dict(prompt_template=TEMPLATE) if case["template"] else {}
    shape = [1, 4, (case["frames"] - 1) // 4 + 1, case["height"] // 8, case["width"] // 8]
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=case.get("shift", 7.0))
    for kind, key in (("latent", "latents"), ("pt", "frames")):
        tensors[f"{name}.{key}"] = pipe(
            prompt=case["prompt"], negative_prompt=case.get("negative_prompt"), true_cfg_scale=case.get("true_cfg", 1.0), height=case["height"], width=case["width"], num_frames=case["frames"],
            num_inference_steps=4, guidance_scale=case["guidance"], latents=unit_input("latents." + name, shape), max_sequence_length=case["max_length"], output_type=kind, **template).frames.clone()
    embeds, pooled, mask = pipe.encode_prompt(case["prompt"], device="cpu", max_sequence_length=case["max_length"], **({"prompt_template": TEMPLATE} if case["template"] else {}))
    # Rows at padding carry nothing that anybody may read.
    tensors |= {f"{name}.prompt_embeds": embeds[:, : int(mask.sum())].clone(), f"{name}.pooled_prompt_embeds": pooled, f"{name}.prompt_attention_mask": mask}
    case["latent_shape"] = shape
    if case["template"]:  # whether the language model reads less than the prompt
        case["cut"] = len(pipe.tokenizer(TEMPLATE["template"].format(case["prompt"]))["input_ids"]) > case["max_length"] + TEMPLATE["crop_start"]
    case["ids"] = pipe.tokenizer(case["prompt"])["input_ids"]
    case["ids_2"] = pipe.tokenizer_2(case["prompt"])["input_ids"]


def networks(pipe, tensors):
    """What `magicid probe` is given, and what it has to answer."""
    mask = torch.zeros(2, 7)
    mask[0, :7], mask[1, :3] = 1, 1
    tensors["transformer.sample"] = pipe.transformer(
        hidden_states=unit_input("hidden_states", [2, 4, 3, 4, 6]), timestep=torch.tensor([999, 417]), encoder_hidden_states=unit_input("encoder_hidden_states", [2, 7, 24]),
        encoder_attention_mask=mask, pooled_projections=unit_input("pooled_projections", [2, 20]), guidance=torch.tensor([6000.0, 1000.0]), return_dict=False)[0]
    encoded = pipe.vae.encode(unit_input("vae.sample", [1, 3, 17, 16, 32])).latent_dist
    tensors |= {"vae.mean": encoded.mean, "vae.logvar": encoded.logvar, "vae.decoded": pipe.vae.decode(unit_input("vae.latents", [1, 4, 5, 2, 4])).sample}
    ids = pipe.tokenizer_2([PROMPT, "a cat"], padding="max_length", max_length=20, truncation=True, return_tensors="pt")["input_ids"]
    out = pipe.text_encoder_2(ids)
    tensors |= {"clip.input_ids": ids, "clip.pooler_output": out.pooler_output, "clip.last_hidden_state": out.last_hidden_state}


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", metavar="FOLDER", type=pathlib.Path)
    keep = parser.parse_args().keep
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "folder").mkdir(parents=True)
    tensors = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or pathlib.Path(temporary) / "pipeline"
        pipe = build()
        pipe.set_progress_bar_config(disable=True)
        shapes = save(pipe, folder)
        for file in folder.rglob("*.json"):
            if not file.parent.name.startswith("tokenizer"):
                target = OUT / "folder" / file.relative_to(folder)
                target.parent.mkdir(exist_ok=True)
                shutil.copy(file, target)
        networks(pipe, tensors)
        adapter = None
        for name, case in CASES.items():
            if case.get("adapter"):
                adapter = add_adapter(pipe, folder)
            sample(pipe, name, case, tensors)
    save_shapes(OUT / "shapes.json", shapes)
    (OUT / "cases.json").write_text(json.dumps({"versions": versions, "template": TEMPLATE, "cases": CASES, "adapter": adapter}, separators=(",", ":"), sort_keys=True) + "\n")
    safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / "expected.safetensors", metadata=versions)
    for name in CASES:
        print(name, list(tensors[name + ".latents"].shape), list(tensors[name + ".frames"].shape), "latents to", f"{tensors[name + '.latents'].abs().max():.2f}, frames' spread {tensors[name + '.frames'].std():.3f}")


if __name__ == "__main__":
    main()
