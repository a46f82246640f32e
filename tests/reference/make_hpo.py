"""Golden files for hybrid preference optimization (tests/data/hpo): loss, errors and the adapter's gradient of one pair, from diffusers'
HunyuanVideoTransformer3DModel and PEFT in fp64, with the loss written out and differentiated by autograd as a whole.

cases.json: for each case the configuration, latents, text rows and length, targets, rank, alpha, sigma, guidance, beta, reference, the loss
and the four errors. Weights follow formula_weights.py; so do the adapters: A of module M of adapter P ("policy", "reference") is
formula_tensor("P.M.lora_A.weight"), B 0.2 times formula_tensor("P.M.lora_B.weight"), M in Tencent's fused names: the parts of a fused
module share A and have their rows of B. Inputs are formula_tensor(name) times sqrt(fan_in / 3), so uniform in [-1, 1].
<case>.safetensors: grad.<module>.lora_A.weight, grad.<module>.lora_B.weight.

    python tests/reference/make_hpo.py
"""
import json
import pathlib

import diffusers
import peft
import safetensors.torch
import torch
import torch.nn.functional as F
from diffusers import HunyuanVideoTransformer3DModel
from peft import LoraConfig

from formula_weights import exact_frequencies, fill, formula_tensor

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "hpo"
BASE = {
    "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "num_single_layers": 2,
    "num_refiner_layers": 1, "mlp_ratio": 2.0, "patch_size": 2, "patch_size_t": 1, "qk_norm": "rms_norm", "guidance_embeds": True,
    "text_embed_dim": 20, "pooled_projection_dim": 12, "rope_theta": 256.0, "rope_axes_dim": [4, 6, 6],
}
CASES = {
    "plain": dict(),
    "padded_text_odd_tokens": dict(latents=[5, 6, 6], text=[9, 5], sigma=0.31, beta=80.0, alpha=5.0),
    "bare_reference": dict(reference=False, beta=5.0, sigma=0.9),
    "three_heads_with_modulations": dict(config={"num_attention_heads": 3, "num_layers": 1, "num_single_layers": 3}, modulations=True, latents=[3, 4, 10], text=[4, 1]),
    "no_single_blocks": dict(config={"num_single_layers": 0, "guidance_embeds": False}, rank=1, alpha=2.0),
    # Left aside until the implementation was finished.
    "late_one_frame": dict(config={"num_layers": 0, "num_single_layers": 3, "mlp_ratio": 3.0}, latents=[1, 6, 14], text=[7, 3], rank=4, sigma=0.05, beta=400.0),
}


def formula_input(name, shape):
    tensor = formula_tensor(name, shape)
    return (tensor * (tensor[0].numel() / 3.0) ** 0.5).double()


def fused_modules(config, modulations):
    """Tencent's module: diffusers' modules in row order."""
    table = {}
    for i in range(config["num_layers"]):
        a, b = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        for s, norm, qkv, proj, ff in (("img", "norm1", ("to_q", "to_k", "to_v"), "to_out.0", "ff"),
                                       ("txt", "norm1_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "ff_context")):
            if modulations:
                table[f"{a}{s}_mod.linear"] = [b + norm + ".linear"]
            table[f"{a}{s}_attn_qkv"] = [b + "attn." + part for part in qkv]
            table[f"{a}{s}_attn_proj"] = [b + "attn." + proj]
            table[f"{a}{s}_mlp.fc1"] = [b + ff + ".net.0.proj"]
            table[f"{a}{s}_mlp.fc2"] = [b + ff + ".net.2"]
    for i in range(config["num_single_layers"]):
        a, b = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        if modulations:
            table[a + "modulation.linear"] = [b + "norm.linear"]
        table[a + "linear1"] = [b + "attn.to_q", b + "attn.to_k", b + "attn.to_v", b + "proj_mlp"]
        table[a + "linear2"] = [b + "proj_out"]
    return table


def set_adapter(model, table, prefix, rank):
    """Writes the adapter's values into the PEFT layers; returns {module: (out, in)}."""
    shapes = {}
    with torch.no_grad():
        for module, parts in table.items():
            layers = [model.get_submodule(part) for part in parts]
            rows = [layer.out_features for layer in layers]
            shapes[module] = (sum(rows), layers[0].in_features)
            a = formula_tensor(f"{prefix}.{module}.lora_A.weight", [rank, layers[0].in_features])
            b = 0.2 * formula_tensor(f"{prefix}.{module}.lora_B.weight", [sum(rows), rank])
            for layer, part in zip(layers, b.split(rows)):
                layer.lora_A["default"].weight.copy_(a)
                layer.lora_B["default"].weight.copy_(part)
    return shapes


def run(name, config=None, latents=(3, 4, 6), text=(6, 4), modulations=False, rank=2, alpha=3.0, sigma=0.62, guidance=1.0, beta=30.0, reference=True):
    config = {**BASE, **(config or {})}
    table = fused_modules(config, modulations)
    model = HunyuanVideoTransformer3DModel(**config).eval()
    fill(model)
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=[part for parts in table.values() for part in parts]))
    model = model.double()

    shape = [1, config["in_channels"], *latents]
    winner, loser, noise = (formula_input(key, shape) for key in ("latents_winner", "latents_loser", "noise"))
    mask = torch.zeros(1, text[0], dtype=torch.int64)
    mask[0, : text[1]] = 1
    prompt = formula_input("prompt_embeds", [1, text[0], config["text_embed_dim"]])
    pooled = formula_input("pooled_prompt_embeds", [1, config["pooled_projection_dim"]])

    def error(x0):
        velocity = model(hidden_states=(1 - sigma) * x0 + sigma * noise, timestep=torch.tensor([1000 * sigma], dtype=torch.float64), encoder_hidden_states=prompt,
                         encoder_attention_mask=mask, pooled_projections=pooled,
                         guidance=torch.tensor([1000 * guidance], dtype=torch.float64) if config["guidance_embeds"] else None, return_dict=False)[0]
        return (velocity - (noise - x0)).square().mean()

    with torch.no_grad():
        if reference:
            set_adapter(model, table, "reference", rank)
        else:
            model.disable_adapters()
        reference_winner, reference_loser = error(winner), error(loser)
        model.enable_adapters()
    shapes = set_adapter(model, table, "policy", rank)
    policy_winner, policy_loser = error(winner), error(loser)
    loss = -F.logsigmoid(-(beta / 2) * ((policy_winner - reference_winner) - (policy_loser - reference_loser)))
    loss.backward()

    gradients = {}
    for module, parts in table.items():
        layers = [model.get_submodule(part) for part in parts]
        # The last text stream without single blocks after it changes nothing: no gradient.
        of = lambda weight: torch.zeros_like(weight) if weight.grad is None else weight.grad
        gradients[f"grad.{module}.lora_A.weight"] = sum(of(layer.lora_A["default"].weight) for layer in layers).float().contiguous()
        gradients[f"grad.{module}.lora_B.weight"] = torch.cat([of(layer.lora_B["default"].weight) for layer in layers]).float().contiguous()
    case = {"config": config, "latents": shape, "text": list(text), "modules": {module: list(s) for module, s in shapes.items()}, "rank": rank, "alpha": alpha, "sigma": sigma,
            "guidance": guidance, "beta": beta, "reference": reference, "loss": loss.item(), "errors": {
                "winner": policy_winner.item(), "loser": policy_loser.item(), "reference_winner": reference_winner.item(), "reference_loser": reference_loser.item()}}
    print(f"{name}: loss {loss.item():.6f}, {len(gradients)} gradients, largest {max(g.abs().max().item() for g in gradients.values()):.3g}")
    return case, gradients


def main():
    exact_frequencies()
    OUT.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__}
    cases = {}
    for name, arguments in CASES.items():
        cases[name], gradients = run(name, **arguments)
        safetensors.torch.save_file(gradients, OUT / f"{name}.safetensors", metadata=versions)
    with open(OUT / "cases.json", "w") as out:
        json.dump({"versions": versions, "cases": cases}, out, indent=1, sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    main()
