"""Golden file for overlapping patterns of PEFT's rank_pattern and alpha_pattern (tests/data/adapter/patterns_in_order.json): which of them holds for a module.

PEFT asks get_pattern_key for the first pattern, in the order of the file, that fits the module's name. Each case is the metadata as text, since its order counts,
with rank and alpha of every module. A double key keeps its first place and its last value, as Python's json reads it.

    python tests/reference/make_adapter_patterns.py
"""
import json
import pathlib

import peft
from peft.utils.other import get_pattern_key

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "adapter" / "patterns_in_order.json"
MODULES = ["transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_v", "transformer_blocks.1.attn.to_q",
           "transformer_blocks.1.ff.net.2", "single_transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.proj_out", "single_transformer_blocks.1.proj_out"]
COMMON = '"r": 2, "lora_alpha": 5, '
CASES = [
    # The general one first, and last; in the order of the alphabet both would be the same.
    COMMON + '"alpha_pattern": {"to_q": 3, "attn.to_q": 4, "transformer_blocks.0.attn.to_q": 7}',
    COMMON + '"alpha_pattern": {"transformer_blocks.0.attn.to_q": 7, "attn.to_q": 4, "to_q": 3}',
    COMMON + '"alpha_pattern": {"to_[qk]": 3, "^transformer_blocks.*": 4, ".*": 6}',
    COMMON + '"alpha_pattern": {"proj_out": 8, "attn.to_q": 1, "^single_transformer_blocks.1.proj_out": 9, "attn.to_(q|v)": 2, "0.attn.to_k": 3}',
    COMMON + '"alpha_pattern": {"to_q": 3, "attn.to_q": 4, "to_q": 6}',
    COMMON + '"rank_pattern": {"to_q": 3, "1.attn.to_q": 4, "attn.*": 1}, "alpha_pattern": {"transformer_blocks.1.attn.to_q": 4, "to_q": 3}',
    '"alpha_pattern": {"to_q": 3, "attn.to_q": 4}, ' + COMMON.rstrip(", "),
]


def held(patterns, module, otherwise):
    return patterns.get(get_pattern_key(patterns, module), otherwise)


def main():
    cases = []
    for text in CASES:
        text = "{" + text + "}"
        config = json.loads(text)
        modules = {m: {"rank": held(config.get("rank_pattern", {}), m, config["r"]), "alpha": held(config.get("alpha_pattern", {}), m, config["lora_alpha"])} for m in MODULES}
        cases.append({"metadata": text, "modules": modules})
    OUT.write_text(json.dumps({"versions": {"peft": peft.__version__}, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
