"""Golden files for storage/: safetensors written by the reference package, whose values the tests know by formula.

    python tests/reference/make_storage.py tests/data/storage

The value at flat index i of every tensor is ((7 * i + 3) % 31) - 15, cast to the tensor's type (booleans: value > 0; unsigned: value + 15).
"""
import json
import platform
import sys
from pathlib import Path

import numpy
import safetensors
import torch
from safetensors.torch import save_file

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}


def values(shape, dtype):
    count = 1
    for extent in shape:
        count *= extent
    base = (7 * torch.arange(count) + 3) % 31 - 15
    if dtype == torch.bool:
        base = base > 0
    elif dtype == torch.uint8:
        base = base + 15
    return base.to(torch.float32).to(dtype).reshape(shape) if dtype not in (torch.bool,) else base.reshape(shape)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({f"type.{name}": values((3, 5), dtype) for name, dtype in DTYPES.items()}, folder / "types.safetensors", metadata={"format": "pt", "empty": "", "text": "ü \"q\""})
    shapes = {"scalar": (), "one": (1,), "zero": (0, 4), "zero_inside": (2, 0, 3), "five": (1, 2, 3, 2, 2), "odd/name with space.ü": (7,)}
    save_file({name: values(shape, torch.float32) for name, shape in shapes.items()} | {"byte": values((3,), torch.uint8)}, folder / "shapes.safetensors")
    save_file({}, folder / "empty.safetensors")
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__, "safetensors": safetensors.__version__}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
