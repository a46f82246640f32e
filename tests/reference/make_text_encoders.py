"""Outputs of transformers' LLaMA and CLIP text models and of diffusers' encode_prompt, with weights from formula_weights.py.

    python tests/reference/make_text_encoders.py

writes tests/data/text_encoders/<case>/{config.json, shapes.json, expected.safetensors}. The tokenisers of the pipeline case are those of
make_tokenizers.py.
"""
import json
import pathlib
import shutil

import diffusers
import torch
import transformers
from diffusers import HunyuanVideoPipeline
from safetensors.torch import save_file
from transformers import (CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, LlamaConfig, LlamaModel,
                          PreTrainedTokenizerFast)

from formula_weights import formula_tensor, save_shapes

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "data" / "text_encoders"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__, "diffusers": diffusers.__version__}


def fill(model, rename=lambda name: name):
    """The formula's weights under the names that a file would have; returns {name: shape}."""
    shapes = {}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(formula_tensor(rename(name), list(tensor.shape)))
            shapes[rename(name)] = list(tensor.shape)
    return shapes


def write(name, config, shapes, tensors):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_shapes(folder / "shapes.json", shapes)
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, str(folder / "expected.safetensors"), metadata=VERSIONS)


def ids_and_mask(vocab, lengths, total, seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocab, (len(lengths), total), generator=g)
    mask = (torch.arange(total)[None] < torch.tensor(lengths)[:, None]).long()
    return torch.where(mask == 1, ids, torch.full_like(ids, vocab - 1)), mask


def llama(name, config, lengths, skip, prefix="", extra=None, text_config=False, dtype=torch.float32):
    model = LlamaModel(LlamaConfig(**config["text_config"] if text_config else config)).eval()
    shapes = fill(model, lambda n: prefix + n)
    model = model.to(dtype)
    vocab = (config["text_config"] if text_config else config)["vocab_size"]
    ids, mask = ids_and_mask(vocab, lengths, max(lengths) + 3, len(name))
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-(skip + 1)]
    write(name, config, {**shapes, **(extra or {})}, {"input_ids": ids, "attention_mask": mask, "hidden_states": states, "layers_to_skip": torch.tensor([skip])})


def llamas():
    new = dict(architectures=["LlamaModel"], model_type="llama", vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=4, num_attention_heads=4,
               num_key_value_heads=2, rms_norm_eps=1e-5, rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}, hidden_act="silu")
    llama("llama", new, [9, 5, 12], 2)
    llama("llama_bf16", new, [9, 12], 2, dtype=torch.bfloat16)
    old = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=61, hidden_size=40, intermediate_size=72, num_hidden_layers=3, num_attention_heads=2,
               num_key_value_heads=2, head_dim=24, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-6, rope_theta=1000.0, hidden_act="gelu",
               rope_scaling={"type": "llama3", "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32})
    llama("llama_old_scaled", old, [20, 1], 1, prefix="model.", extra={"lm_head.weight": [61, 40], "model.layers.0.self_attn.rotary_emb.inv_freq": [12]})
    llama("llama_all_layers", dict(model_type="llama", vocab_size=50, hidden_size=42, intermediate_size=33, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1), [7], 0)
    llama("llama_in_llava", dict(model_type="llava", architectures=["LlavaForConditionalGeneration"], vision_config={"hidden_size": 8},
                                 text_config=dict(model_type="llama", vocab_size=70, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, rope_theta=500000.0)),
          [6, 11], 2, prefix="language_model.model.", text_config=True,
          extra={"vision_tower.vision_model.embeddings.class_embedding": [8], "multi_modal_projector.linear_1.weight": [32, 8], "language_model.lm_head.weight": [70, 32]})
    llama("llama_held_back", dict(model_type="llama", vocab_size=80, hidden_size=54, intermediate_size=100, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=3, head_dim=10,
                                  attention_bias=True, rms_norm_eps=1e-5, rope_theta=30000.0), [31, 2, 17, 30], 3, prefix="model.")


def clip_outputs(model, ids):
    with torch.no_grad():
        if isinstance(model, CLIPModel):
            text = model.text_model(input_ids=ids)
            return {"last_hidden_state": text.last_hidden_state, "pooler_output": text.pooler_output, "text_embeds": model.text_projection(text.pooler_output)}
        if isinstance(model, CLIPTextModelWithProjection):
            out = model(input_ids=ids)
            return {"last_hidden_state": out.last_hidden_state, "pooler_output": model.text_model(input_ids=ids).pooler_output, "text_embeds": out.text_embeds}
        out = model(input_ids=ids)
        return {"last_hidden_state": out.last_hidden_state, "pooler_output": out.pooler_output}


def clip_ids(vocab, eos, lengths, total, seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocab - 2, (len(lengths), total), generator=g)
    for row, n in enumerate(lengths):
        ids[row, n:] = eos
    return ids


def clip(name, cls, config, ids, rename=lambda n: n, extra=None):
    model = cls((CLIPConfig if cls is CLIPModel else CLIPTextConfig)(**config)).eval()
    shapes = fill(model, rename)
    write(name, config, {**shapes, **(extra or {})}, {"input_ids": ids, **clip_outputs(model, ids)})


def clips():
    base = dict(model_type="clip_text_model", vocab_size=90, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=77,
                hidden_act="quick_gelu", layer_norm_eps=1e-5, bos_token_id=88, eos_token_id=89, projection_dim=24)
    clip("clip_text", CLIPTextModel, base, clip_ids(90, 89, [5, 60, 76], 77, 1))
    clip("clip_text_projection", CLIPTextModelWithProjection, {**base, "hidden_act": "gelu", "hidden_size": 36, "num_attention_heads": 3, "layer_norm_eps": 1e-4},
         clip_ids(90, 89, [4, 9], 12, 2))
    clip("clip_text_old", CLIPTextModel, {**base, "eos_token_id": 2, "hidden_size": 40, "num_attention_heads": 5}, clip_ids(90, 89, [3, 70], 77, 3), rename=lambda n: "text_model." + n,
         extra={"text_model.embeddings.position_ids": [1, 77]})
    whole = dict(model_type="clip", projection_dim=20, text_config={**base, "hidden_size": 24, "num_hidden_layers": 2},
                 vision_config=dict(hidden_size=16, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8))
    clip("clip_whole", CLIPModel, whole, clip_ids(90, 89, [6, 8], 20, 4))
    clip("clip_held_back", CLIPTextModelWithProjection, {**base, "vocab_size": 55, "eos_token_id": 7, "hidden_size": 33, "intermediate_size": 21, "num_attention_heads": 11,
                                                         "num_hidden_layers": 4, "max_position_embeddings": 31, "projection_dim": 5}, torch.tensor([[1, 2, 7, 4, 7], [9, 9, 9, 9, 9]]))


PROMPTS = {
    "short": "A person walks along the beach at sunset, it's 12:30.",
    "empty": "",
    "unicode": "Der Fu\u00dfg\u00e4nger \u00fcberquert die Stra\u00dfe \U0001f600 <|eot_id|> caf\u00e9",
    "long": "The woman in the red coat turns her head and smiles; " * 6,
}
TEMPLATE = {"template": "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video:<|eot_id|>{{x}}{}<|eot_id|>", "crop_start": 9}


def pipeline():
    tokenizer = PreTrainedTokenizerFast.from_pretrained(OUT.parent / "tokenizers" / "llama3")
    tokenizer_2 = CLIPTokenizer.from_pretrained(OUT.parent / "tokenizers" / "clip_files")
    llama_config = dict(model_type="llama", vocab_size=len(tokenizer), hidden_size=24, intermediate_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                        rms_norm_eps=1e-5, rope_parameters={"rope_theta": 500000.0, "rope_type": "default"})
    clip_config = dict(model_type="clip_text_model", vocab_size=len(tokenizer_2), hidden_size=20, intermediate_size=28, num_hidden_layers=2, num_attention_heads=2,
                       max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=tokenizer_2.bos_token_id, eos_token_id=tokenizer_2.eos_token_id)
    text_encoder, text_encoder_2 = LlamaModel(LlamaConfig(**llama_config)).eval(), CLIPTextModel(CLIPTextConfig(**clip_config)).eval()
    llama_shapes, clip_shapes = fill(text_encoder), fill(text_encoder_2, lambda n: "text_model." + n)
    pipe = HunyuanVideoPipeline(text_encoder=text_encoder, tokenizer=tokenizer, transformer=None, vae=None, scheduler=None, text_encoder_2=text_encoder_2, tokenizer_2=tokenizer_2)
    tensors = {}
    for name, prompt in PROMPTS.items():
        for template, options in {"own": dict(prompt_template=TEMPLATE, max_sequence_length=40), "default": dict()}.items():
            with torch.no_grad():
                embeds, pooled, mask = pipe.encode_prompt(prompt, device="cpu", **options)
            key = f"{name}.{template}."
            # Rows at padding carry nothing that anybody may read.
            tensors |= {key + "prompt_embeds": embeds[:, : int(mask.sum())].clone(), key + "pooled_prompt_embeds": pooled, key + "prompt_attention_mask": mask}
    write("pipeline", {"prompts": PROMPTS, "template": TEMPLATE, "max_length": 40, "text_encoder": llama_config, "text_encoder_2": clip_config},
          {"text_encoder": llama_shapes, "text_encoder_2": clip_shapes}, tensors)


if __name__ == "__main__":
    llamas()
    clips()
    pipeline()
