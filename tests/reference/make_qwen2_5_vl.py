"""Outputs of transformers' Qwen2.5-VL and its processor, with weights from formula_weights.py and videos from the same formula.

    python tests/reference/make_qwen2_5_vl.py

writes tests/data/qwen2_5_vl/: a small tokeniser of Qwen's kind with the published chat template, for each case its configuration and names (cases.json) and what the processor and
the model make of the videos (NAME.safetensors), and the names and shapes of the published 3B and 7B models (full_size.json). Needs torchvision.
"""
import json
import pathlib
import shutil

import tokenizers
import torch
import torchvision
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Regex
from transformers import (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor, Qwen2Tokenizer, Qwen2VLImageProcessor,
                          Qwen2VLVideoProcessor)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.video_utils import VideoMetadata

from formula_weights import formula_tensor

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "data" / "qwen2_5_vl"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__, "torchvision": torchvision.__version__, "tokenizers": tokenizers.__version__}

# chat_template.json of Qwen/Qwen2.5-VL-3B-Instruct and -7B-Instruct.
TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>",
           "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
CORPUS = ["Does this video show a woman who walks on a beach? Please answer yes or no.", "Yes", "No", "Yes, it does.", "No, it does not.", "system", "user", "assistant",
          "You are a helpful assistant.", "How well does this video show it, from 1 to 10? Answer with the number alone."] * 20


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=360, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    qwen = Qwen2Tokenizer(vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]], eos_token="<|im_end|>", pad_token="<|endoftext|>",
                          additional_special_tokens=SPECIAL)
    folder = OUT / "tokenizer"
    qwen.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return qwen


def formula_video(name, frames, height, width):
    """uint8 [F,3,H,W], the same in tests/unit/models/qwen2_5_vl: floor(256 u) of the formula's uniform numbers."""
    u = formula_tensor(name + ".running_var", [frames * 3 * height * width]) - 0.5
    return (u * 256).floor().clamp(0, 255).to(torch.uint8).reshape(frames, 3, height, width)


def old_names(name):
    """As files of transformers before 4.52, and those that are published."""
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def fill(model, rename):
    shapes = {}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if model.config.tie_word_embeddings and name.startswith("lm_head"):
                continue
            tensor.copy_(formula_tensor(rename(name), list(tensor.shape)))
            shapes[rename(name)] = list(tensor.shape)
    model.tie_weights()
    return shapes


def run(name, qwen, config, videos, preprocessing=None, old=False, flat=False):
    size = preprocessing or {"min_pixels": 28 * 28 * 4, "max_pixels": 28 * 28 * 12}
    ids = {"image_token_id": qwen.convert_tokens_to_ids("<|image_pad|>"), "video_token_id": qwen.convert_tokens_to_ids("<|video_pad|>"),
           "vision_start_token_id": qwen.convert_tokens_to_ids("<|vision_start|>"), "vision_end_token_id": qwen.convert_tokens_to_ids("<|vision_end|>"),
           "model_type": "qwen2_5_vl"}
    written = {**config["text_config"], **ids, "vision_config": config["vision_config"]} if flat else {**config, **ids}
    written["tie_word_embeddings"] = config.get("tie_word_embeddings", False)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**json.loads(json.dumps(written)))).eval()
    shapes = fill(model, old_names if old else lambda n: n)
    processor = Qwen2_5_VLProcessor(Qwen2VLImageProcessor(), qwen, Qwen2VLVideoProcessor(**size), chat_template=TEMPLATE)
    tensors, cases = {}, []
    for i, (frames, height, width, fps, text) in enumerate(videos):
        video = formula_video(f"{name}.{i}", frames, height, width)
        chat = processor.apply_chat_template([{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}], tokenize=False, add_generation_prompt=True)
        inputs = processor(text=[chat], videos=[video], video_metadata=[VideoMetadata(total_num_frames=frames, fps=fps, frames_indices=list(range(frames)))], return_tensors="pt")
        with torch.no_grad():
            positions, _ = model.model.get_rope_index(inputs["input_ids"], inputs["mm_token_type_ids"], video_grid_thw=inputs["video_grid_thw"],
                                                      second_per_grid_ts=torch.as_tensor(inputs["second_per_grid_ts"]))
            features = model.model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"]).pooler_output[0]
            logits = model(**{k: torch.as_tensor(v) for k, v in inputs.items()}).logits[0, -1]
        # Levels of 8 bits take a quarter of the place: pixel values are (level / 255 - mean) / deviation.
        mean = torch.tensor(processor.video_processor.image_mean).repeat_interleave(2 * 14 * 14)
        deviation = torch.tensor(processor.video_processor.image_std).repeat_interleave(2 * 14 * 14)
        levels = ((inputs["pixel_values_videos"] * deviation + mean) * 255).round()
        assert (((levels / 255 - mean) / deviation) - inputs["pixel_values_videos"]).abs().max() < 1e-5
        for key, value in {"input_ids": inputs["input_ids"][0].to(torch.int32), "levels": levels.to(torch.uint8), "video_grid_thw": inputs["video_grid_thw"][0],
                           "positions": positions[:, 0].to(torch.int32), "features": features, "logits": logits}.items():
            tensors[f"{i}.{key}"] = value.detach().contiguous()
        cases.append({"frames": frames, "height": height, "width": width, "fps": fps, "text": text, "chat": chat})
    save_file(tensors, str(OUT / f"{name}.safetensors"), metadata=VERSIONS)
    return {"config": written, "preprocessing": size, "shapes": shapes, "videos": cases}


def vision(**changes):
    return {"depth": 3, "hidden_size": 32, "intermediate_size": 36, "num_heads": 2, "out_hidden_size": 48, "window_size": 56, "fullatt_block_indexes": [1],
            "tokens_per_second": 2, **changes}


def language(**changes):
    return {"hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 400,
            "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [1, 1, 2]}, **changes}


def full_size():
    """Names and shapes of the published models on the meta device, layers of one shape written once: {name with * for the layer: [layers, shape]}."""
    common = {"image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652, "vision_end_token_id": 151653, "model_type": "qwen2_5_vl", "hidden_act": "silu",
              "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "use_sliding_window": False, "sliding_window": 32768}
    tower = {"depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "in_chans": 3, "patch_size": 14, "spatial_merge_size": 2,
             "spatial_patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2, "temporal_patch_size": 2}
    sizes = {
        "3B": {**common, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
               "max_window_layers": 70, "tie_word_embeddings": True, "vision_config": {**tower, "out_hidden_size": 2048}},
        "7B": {**common, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
               "max_window_layers": 28, "tie_word_embeddings": False, "vision_config": {**tower, "out_hidden_size": 3584}},
    }
    written = {}
    for name, config in sizes.items():
        with torch.device("meta"):
            model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**json.loads(json.dumps(config))))
        tensors, total = {}, 0
        for key, tensor in model.state_dict().items():
            if config["tie_word_embeddings"] and key.startswith("lm_head"):
                continue
            total += tensor.numel()
            parts = old_names(key).split(".")
            layer = next((i for i, p in enumerate(parts) if p in ("layers", "blocks")), None)
            if layer is not None:
                parts[layer + 1] = "*"
            pattern = ".".join(parts)
            count, shape = tensors.get(pattern, (0, list(tensor.shape)))
            assert shape == list(tensor.shape)
            tensors[pattern] = (count + 1, shape)
        written[name] = {"config": config, "parameters": total, "tensors": tensors}
    return {"versions": VERSIONS, "sizes": written}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    qwen = make_tokenizer()
    ask = 'Does this video show "{}"? Please answer yes or no.'
    cases = {
        "untied": run("untied", qwen, {"vision_config": vision(), "text_config": language()},
                      [(4, 56, 84, 8.0, ask.format("a woman walks on a beach")), (5, 45, 98, 24.0, "  Caf\u00e9 1234, it's \u00e9t\u00e9!\n"), (1, 100, 60, 24.0, "Yes?")]),
        # Published names and a flat config.json; a tower without windows at its end; thin and wide videos.
        "tied_old": run("tied_old", qwen, {"vision_config": vision(fullatt_block_indexes=[0, 2], out_hidden_size=64, window_size=112, hidden_size=48, num_heads=3),
                                           "text_config": {**{k: v for k, v in language(hidden_size=64, num_attention_heads=4, num_key_value_heads=1, rms_norm_eps=1e-5).items() if k != "rope_parameters"},
                                                           "rope_theta": 10000.0, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}},
                                           "tie_word_embeddings": True},
                        [(6, 28, 140, 12.5, ask.format("a sks man's <|im_end|> hat")), (3, 200, 30, 30.0, "")], preprocessing={"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 40}, old=True, flat=True),
        "held_back": run("held_back", qwen, {"vision_config": vision(tokens_per_second=4, num_heads=4, out_hidden_size=40, window_size=84, depth=4, fullatt_block_indexes=[3]),
                                             "text_config": language(hidden_size=40, num_attention_heads=5, num_key_value_heads=5, num_hidden_layers=2)},
                         [(2, 90, 90, 23.976, ask.format("x")), (9, 64, 48, 3.7, "10 = \u4e00\u4e8c\u4e09 \U0001f600")], preprocessing={"size": {"shortest_edge": 28 * 28 * 6, "longest_edge": 28 * 28 * 20}}, old=True),
    }
    (OUT / "cases.json").write_text(json.dumps({"versions": VERSIONS, "cases": cases}, separators=(",", ":"), sort_keys=True) + "\n")
    (OUT / "full_size.json").write_text(json.dumps(full_size(), separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
