#!/usr/bin/env python3
"""Counts the operations of torchvision's RAFT, without running it (tensors on the meta device): the factors of planning/networks.cpp.

    count_raft.py

Prints for raft_large and raft_small: operations a pixel for the encoders, a pixel and update, and the correlation's channels; then how far a size that
was not used for the fit is from the formula. Made with torchvision 0.26.
"""
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.optical_flow import raft_large, raft_small


def count(make, height, width, updates):
    with torch.device("meta"):
        model = make().eval()
    frames = torch.empty(1, 3, height, width, device="meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(frames, frames, num_flow_updates=updates)
    return counter.get_total_flops()


for name, make, channels in (("raft_large", raft_large, 256), ("raft_small", raft_small, 128)):
    height, width = 720, 1280
    pixels, correlation = height * width, 2 * (height * width // 64) ** 2 * channels
    one, twenty = count(make, height, width, 1), count(make, height, width, 20)
    update = (twenty - one) / 19 / pixels
    once = (one - correlation) / pixels - update
    other = 128 * 192 * (once + 2 * update) + 2 * (128 * 192 // 64) ** 2 * channels
    print(f"{name}: {once:.1f} a pixel, {update:.1f} a pixel and update, {channels} channels; 128 x 192, 2 updates: formula / counted = {other / count(make, 128, 192, 2):.6f}")
