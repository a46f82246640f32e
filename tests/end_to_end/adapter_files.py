"""Reads adapter files, to compare them. For the tests of this folder. Standard library only."""
import json
import math
import struct


def tensors(path):
    """The float32 tensors of a safetensors file but for alphas: name -> numbers."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    found = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name != "__metadata__" and not name.endswith("alpha"):
            begin, end = entry["data_offsets"]
            found[name] = struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])
    return found


def update_difference(path, expected_path, start_path):
    """Over all tensors, the largest difference between the updates that lead from `start_path` to the two files, over the expected update; in norms, because the update of a number
    whose gradient is nearly zero hangs on rounding. Training that does nothing gives 1."""
    found, expected, start = tensors(path), tensors(expected_path), tensors(start_path)
    assert found.keys() == expected.keys() == start.keys()
    return max(math.dist(found[name], expected[name]) / math.dist(expected[name], start[name]) for name in expected)


def largest_difference(path, expected_path):
    """Over all tensors, the largest difference of a number over the largest number of the expected tensor."""
    found, expected = tensors(path), tensors(expected_path)
    assert found.keys() == expected.keys()
    assert all(map(math.isfinite, (a for values in found.values() for a in values))), f"{path}: holds numbers that are not finite"
    return max(max(abs(a - b) for a, b in zip(found[name], values, strict=True)) / max(max(map(abs, values)), 1e-6) for name, values in expected.items())
