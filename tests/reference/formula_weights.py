"""Random-looking weights from a formula; the same as tests/support/formula_weights.h, where the rule is written down."""
import json

import numpy as np
import torch


def formula_tensor(name, shape):
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    seed = 0xCBF29CE484222325
    for c in name.encode():
        seed = ((seed ^ c) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    count = int(np.prod(shape)) if len(shape) else 1
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float64) / 16777216.0
    s = 2 * u - 1
    if name.endswith("running_var"):
        value = 0.5 + u
    elif name.endswith("running_mean"):
        value = 0.2 * s
    elif len(shape) <= 1:
        value = 0.1 * s if name.endswith("bias") else 1 + 0.2 * s
    else:
        fan_in = float(np.prod(shape[1:]))
        value = s * np.sqrt(3.0 / fan_in)
    return torch.from_numpy(value.astype(np.float32)).reshape(tuple(shape))


def fill(module):
    """Overwrites a torch module's parameters and buffers that are saved in its state dict; returns {name: shape}."""
    shapes = {}
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            tensor.copy_(formula_tensor(name, list(tensor.shape)))
            shapes[name] = list(tensor.shape)
    return shapes


def save_shapes(path, shapes):
    with open(path, "w") as out:
        json.dump(shapes, out, separators=(",", ":"), sort_keys=True)
        out.write("\n")


def exact_frequencies():
    """From now on diffusers' sinusoids have frequencies that are the same on every processor.

    diffusers computes exp(-log(10000) i / half) in float32, also in a model of float64. Processors' vector code differs there in the last place, and a guidance of
    6000 makes of that an angle off by 4e-4: gradients "in fp64" differed by up to 4e-5 between an Intel and an AMD machine. exp in float64, rounded to float32, does not.
    """
    import diffusers.models.embeddings as embeddings

    class Torch:
        @staticmethod
        def exp(x):
            return torch.exp(x.double()).to(x.dtype)

        def __getattr__(self, name):
            return getattr(torch, name)

    embeddings.torch = Torch()
