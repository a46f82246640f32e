"""Golden files for CLIP's image encoder: tests/data/clip_vision/.

Usage: python make_clip_vision.py OUTPUT_FOLDER

The reference is transformers' CLIPVisionModelWithProjection, CLIPModel, and both CLIP image processors (tensors and PIL). Weights come from
formula_weights.py, pictures from smooth_images.py.
"""
import json
import platform
import sys
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from formula_weights import fill, save_shapes
from smooth_images import smooth_images

torch.set_grad_enabled(False)
CASES = {  # name: (configuration, batch)
    "quick_gelu": (dict(hidden_size=32, intermediate_size=96, projection_dim=24, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8), 3),
    "gelu": (dict(hidden_size=48, intermediate_size=64, projection_dim=16, num_hidden_layers=2, num_attention_heads=3, image_size=28, patch_size=14,
                  hidden_act="gelu"), 2),
    "cut_patches": (dict(hidden_size=40, intermediate_size=80, projection_dim=17, num_hidden_layers=2, num_attention_heads=5, image_size=35, patch_size=8,
                         layer_norm_eps=1e-3), 1),  # 35 is no multiple of 8
    "one_patch": (dict(hidden_size=16, intermediate_size=16, projection_dim=8, num_hidden_layers=1, num_attention_heads=1, image_size=16, patch_size=16), 2),
    "deep": (dict(hidden_size=64, intermediate_size=256, projection_dim=64, num_hidden_layers=12, num_attention_heads=8, image_size=56, patch_size=7), 1),
}
HELD_BACK = {  # while the code was written, run at the end
    "held_back": (dict(hidden_size=72, intermediate_size=100, projection_dim=31, num_hidden_layers=5, num_attention_heads=6, image_size=45, patch_size=9,
                       hidden_act="gelu"), 2),
}
# Sizes of frames (height, width) and the processor's settings.
PREPROCESSING = {
    "landscape": (90, 161, {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}),
    "portrait_enlarged": (41, 29, {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}),
    "odd_crop": (77, 120, {"size": {"shortest_edge": 50}, "crop_size": {"height": 41, "width": 36}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}),
    "exact_size": (64, 96, {"size": {"height": 40, "width": 52}, "crop_size": {"height": 40, "width": 40}}),
}


def levels(name, height, width):
    """One picture [3,height,width] of 8-bit levels."""
    coarse = smooth_images(f"clip.{name}", 1, height, width, 17)[0]
    return ((coarse + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    outputs, cases = {}, {}
    for name, (settings, batch) in {**CASES, **HELD_BACK}.items():
        model = CLIPVisionModelWithProjection(CLIPVisionConfig(**settings)).eval()
        save_shapes(folder / f"{name}.shapes.json", fill(model))
        pixels = smooth_images(f"clip.{name}", batch, settings["image_size"], settings["image_size"], 11)
        outputs[name] = model(pixel_values=pixels).image_embeds
        cases[name] = {"config": {"model_type": "clip_vision_model", **settings}, "batch": batch}

    # The same half inside of a full model, under the configuration that transformers writes.
    vision = {**CASES["quick_gelu"][0], "projection_dim": 512}  # as such files have it: the full model's own figure counts
    text = dict(hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50, max_position_embeddings=9)
    full = CLIPModel(CLIPConfig(text_config=CLIPTextConfig(**text).to_dict(), vision_config=CLIPVisionConfig(**vision).to_dict(), projection_dim=20)).eval()
    save_shapes(folder / "full.shapes.json", fill(full))
    full.config.architectures = ["CLIPModel"]
    (folder / "full.config.json").write_text(full.config.to_json_string())
    pixels = smooth_images("clip.full", 2, 32, 32, 11)
    outputs["full"] = full.visual_projection(full.vision_model(pixel_values=pixels).pooler_output)

    settings_of = {}
    for name, (height, width, settings) in PREPROCESSING.items():
        picture = levels(name, height, width)
        outputs[f"preprocessing.{name}"] = CLIPImageProcessor(**settings)(picture, return_tensors="pt")["pixel_values"]
        by_pil = CLIPImageProcessorPil(**settings)(Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy())), return_tensors="pt")["pixel_values"]
        outputs[f"preprocessing_pil.{name}"] = by_pil
        written = json.loads(CLIPImageProcessor(**settings).to_json_string())
        settings_of[name] = {"height": height, "width": width, "preprocessor_config": written}
    save_file({k: v.contiguous() for k, v in outputs.items()}, folder / "outputs.safetensors")
    (folder / "cases.json").write_text(json.dumps(
        {"cases": cases, "held_back": list(HELD_BACK), "preprocessing": settings_of,
         "versions": {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
                      "transformers": transformers.__version__, "pillow": PIL.__version__}}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
