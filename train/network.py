"""The network that teacher and student share: a timm backbone and one linear score.

The score is linear, without sigmoid: trained on 0..1 it stays near that range, and an integer
output then has steps of equal worth everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fiqa.errors import InputError
from train.timm_loader import load_timm

HEAD_STD = 0.01  # timm's own single-output init of MobileNetV3 (std about 0.6) diverges
HEAD_BIAS = 0.5  # the middle of the score range


class QualityNet(nn.Module):
    """(B, 3, S, S) normalised pictures to (B,) scores.

    `size` binds only backbones that are built for one size; the others take any.
    """

    def __init__(self, backbone: str, size: int) -> None:
        super().__init__()
        timm = load_timm()
        if backbone not in timm.list_models():
            near = timm.list_models(f"*{backbone.split('_')[0]}*")[:8]
            raise InputError(
                f"timm knows no model {backbone!r}",
                expected="a timm model, such as " + (", ".join(near) or "mobilenetv3_small_100"),
            )
        self.name = backbone
        fixed = timm.get_pretrained_cfg(backbone).fixed_input_size  # Swin and other windows
        options = {"img_size": size} if fixed else {}
        self.backbone = timm.create_model(backbone, num_classes=0, **options)
        self.width = int(getattr(self.backbone, "head_hidden_size", self.backbone.num_features))
        self.head = nn.Linear(self.width, 1)
        nn.init.normal_(self.head.weight, 0, HEAD_STD)
        nn.init.constant_(self.head.bias, HEAD_BIAS)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) to the (B, width) pooled features the score is read from."""
        return self.backbone(x)

    def score(self, features: Tensor) -> Tensor:
        return self.head(features).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x))


@dataclass(frozen=True)
class Cost:
    """What one face costs: parameters, and multiply-adds at a picture size."""

    parameters: int
    multiply_adds: int
    size: int

    def __str__(self) -> str:
        return (
            f"{self.parameters / 1e6:.2f} M parameters, "
            f"{self.multiply_adds / 1e6:.1f} M multiply-adds at {self.size} x {self.size}"
        )


def cost_of(network: nn.Module, size: int) -> Cost:
    """Counted on one real forward pass; matrix products of attention included."""
    was_training = network.training
    network.eval()
    picture = next(network.parameters()).new_zeros(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(picture)
    network.train(was_training)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Cost(parameters, counter.get_total_flops() // 2, size)
