"""Untrained networks whose scores depend on the picture, as a trained one's do.

Fresh from its initialisation a deep network gives nearly one score for all pictures, and any
converter passes. Here statistics fit the pictures, and no branch is switched off.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from export.parity import extremes
from train.network import QualityNet

SPREAD = 0.2  # standard deviation of a trained student's scores


def make_lively(network: QualityNet, size: int, spread: float = SPREAD) -> QualityNet:
    """Set statistics of normalisation from noise pictures, and wake LayerScale and the head."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of what it sees
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            nn.init.uniform_(parameter, 0.2, 1.0)
    seen = np.concatenate([pictures(8, size), extremes(size)])  # else extremes score in hundreds
    x = torch.from_numpy(seen).permute(0, 3, 1, 2) / 128.0 - 1
    nn.init.normal_(network.head.weight)
    with torch.no_grad():
        network.train()(x)
        network.head.weight *= spread / network.train(False)(x).std()
        network.head.bias += 0.5 - network(x).mean()
    return network


def pictures(count: int, size: int) -> np.ndarray:
    """(count, size, size, 3) bytes, all different: coloured light, noise and a bright square."""
    rng = np.random.default_rng(3)
    light = rng.integers(30, 226, (count, 1, 1, 3))
    noise = rng.normal(0, 1, (count, size, size, 3)) * rng.uniform(2, 50, (count, 1, 1, 1))
    light = np.broadcast_to(light, noise.shape).copy()
    for index, one in enumerate(light):
        at = index % max(size // 2, 1)
        one[at : at + size // 3, at : at + size // 2] = rng.integers(0, 256, 3)
    return np.clip(light + noise, 0, 255).astype(np.uint8)
