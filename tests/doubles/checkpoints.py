"""Networks with weights worth exporting, as checkpoints that training would have written."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fiqa.contract import PreprocessSpec
from fiqa.manifest import Manifest
from train.checkpoint import save_checkpoint
from train.network import QualityNet


def save_network(folder: Path, network: QualityNet, spec: PreprocessSpec) -> Path:
    manifest = Manifest("checkpoint", network.name, "", spec)
    save_checkpoint(folder, network.state_dict(), manifest)
    return folder


def lively(network: QualityNet, seed: int = 0) -> QualityNet:
    """Random weights whose scores move with the picture: untrained ones give all the same."""
    generator = torch.Generator().manual_seed(seed)

    def around(tensor: torch.Tensor, centre: float, spread: float) -> None:
        noise = torch.rand(tensor.shape, generator=generator) * 2 - 1
        tensor.copy_(centre + spread * noise)

    with torch.no_grad():
        for module in network.backbone.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    around(module.bias, 0, 0.3)
            elif isinstance(module, nn.BatchNorm2d):
                around(module.weight, 1, 0.3)  # type: ignore[arg-type]
                around(module.bias, 0, 0.3)  # type: ignore[arg-type]
                around(module.running_mean, 0, 0.3)  # type: ignore[arg-type]
                around(module.running_var, 1, 0.5)  # type: ignore[arg-type]
        around(network.head.weight, 0, 0.3 / network.width**0.5)
    return network.eval()
