"""Smooth pictures from a formula, the same as tests/unit/models/vision/smooth_images.h, so that golden files need not hold pictures."""
import math

import torch
import torch.nn.functional as F

from formula_weights import formula_tensor


def smooth_images(name, count, height, width, cells):
    """[count,3,height,width] in -1..1: noise on a grid of `cells` x `cells`, interpolated bilinearly."""
    noise = formula_tensor(name, [count, 3, cells, cells]) / math.sqrt(3.0 / (3 * cells * cells))
    return F.interpolate(noise, size=(height, width), mode="bilinear", align_corners=True)
