"""Reads adapter files, to compare them. For the tests of this folder. Standard library only."""
import json
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


def largest_difference(path, expected_path):
    """Over all tensors, the largest difference of a number over the largest number of the expected tensor."""
    found, expected = tensors(path), tensors(expected_path)
    assert found.keys() == expected.keys()
    return max(max(abs(a - b) for a, b in zip(found[name], values, strict=True)) / max(max(map(abs, values)), 1e-6) for name, values in expected.items())
