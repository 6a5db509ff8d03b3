"""The network that teacher and student share: a timm backbone and one linear score.

The score is linear, without sigmoid: trained on 0..1 it stays near that range, and an integer
output then has steps of equal worth everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any

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
        self.name, self.size = backbone, size
        self.has_fixed_size = has_fixed_size(backbone)
        self.backbone = build_backbone(backbone, size)
        self.width = int(getattr(self.backbone, "head_hidden_size", self.backbone.num_features))
        self.head = nn.Linear(self.width, 1)
        nn.init.normal_(self.head.weight, 0, HEAD_STD)
        nn.init.constant_(self.head.bias, HEAD_BIAS)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) to the (B, width) pooled features the score is read from."""
        return self.backbone(x)

    def score(self, features: Tensor) -> Tensor:
        """(B, width) to (B,), in float32 under mixed precision too: bfloat16 has 256 scores."""
        if torch.is_autocast_enabled(features.device.type):
            with torch.autocast(features.device.type, enabled=False):
                return self.head(features.float()).squeeze(1)
        return self.head(features).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x))


def build_backbone(name: str, size: int, **options: Any) -> Any:
    """A timm model without classifier, or a variant of one: `timm_name.variant`.

    `options` go to timm's create_model, as those that fetch pretrained weights do.
    """
    timm = load_timm()
    base, _, variant = name.partition(".")
    if base not in timm.list_models() or variant not in ("", *VARIANTS):
        raise _unknown(name, timm)
    if has_fixed_size(name):
        options["img_size"] = size
    try:
        backbone = timm.create_model(base, num_classes=0, **options)
    except (AssertionError, ZeroDivisionError) as error:  # timm's words about a size
        raise InputError(
            f"{name} cannot be built for {size} x {size} pixels: {error}",
            expected="a size that its patches or windows divide",
            fix="choose the size it was made for, or another network",
        ) from error
    return VARIANTS[variant](backbone, name) if variant else backbone


def has_fixed_size(name: str) -> bool:
    """Whether a timm model takes pictures of the size it is built for alone: Swin, ViT, ..."""
    known = load_timm().get_pretrained_cfg(name.partition(".")[0])
    return known is not None and bool(known.fixed_input_size)


def _without_head_norm(backbone: Any, name: str) -> nn.Module:
    """Features pooled, and not normalised after it: Efficient-FIQA's EdgeNeXt is built so."""
    if not isinstance(getattr(getattr(backbone, "head", None), "norm", None), nn.Module):
        raise InputError(
            f"{name}: this timm model has no norm in its head",
            expected="a model with head.norm, such as edgenext_xx_small",
            fix=f"name it {name.partition('.')[0]}",
        )
    backbone.head.norm = nn.Identity()
    return backbone


def _with_relu_stem(backbone: Any, name: str) -> nn.Module:
    """ReLU behind the first convolution: a hard-swish there stores the largest tensors of a
    MobileNetV3 twice more, and what 8 bits lose of them is most of what they lose."""
    if not isinstance(getattr(getattr(backbone, "bn1", None), "act", None), nn.Hardswish):
        raise InputError(
            f"{name}: this timm model has no hard-swish behind its first convolution",
            expected="a model that has, such as mobilenetv3_small_100",
            fix=f"name it {name.partition('.')[0]}",
        )
    backbone.bn1.act = nn.ReLU(inplace=True)
    return backbone


VARIANTS: dict[str, Callable[[Any, str], nn.Module]] = {
    "no_head_norm": _without_head_norm,
    "relu_stem": _with_relu_stem,
}


def _unknown(name: str, timm: ModuleType) -> InputError:
    base, _, variant = name.partition(".")
    known = timm.list_models()
    if base in known:
        return InputError(
            f"there is no variant {variant!r} of {base}",
            expected=f"{base}, or a variant of it: {', '.join(VARIANTS)}",
            fix="pretrained weights are named by --init, not by the model's name",
        )
    near = get_close_matches(base, known, 8, 0.5) or ["mobilenetv3_small_100"]
    return InputError(
        f"timm knows no model {name!r}",
        expected="a timm model, such as " + ", ".join(near),
        fix="timm.list_models() names them all",
    )


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
