"""Other people's weights in our shape: a backbone as timm names it, and one linear score.

Programs wrap a timm model under names of their own and put a head of one or more linear layers
on it. The wrapping is found by the backbone's names; linear layers in a row are one linear
layer, folded in double precision. What weights cannot tell is refused, not guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fiqa.errors import InputError
from train.network import QualityNet
from train.weight_files import SHOWN, Tensors, check_fit, is_weight

FIX_BACKBONE = "name the --backbone this file was trained with, or its variant; see --help"


@dataclass(frozen=True)
class Layer:
    """One linear layer: (outputs, inputs) weights and (outputs,) bias, in double precision."""

    name: str
    weight: Tensor
    bias: Tensor

    def __str__(self) -> str:
        outputs, inputs = self.weight.shape
        return f"{self.name} ({inputs} to {outputs})"


@dataclass(frozen=True)
class Found:
    """What of the foreign file became what; a manifest keeps it."""

    prefix: str
    head: tuple[str, ...]


def fill(
    network: QualityNet,
    tensors: Tensors,
    source: str,
    score_range: tuple[float, float] = (0.0, 1.0),
    head_is_linear: bool = False,
) -> Found:
    """Fill the network; its scores are the foreign ones, mapped so that score_range is 0..1.

    `head_is_linear` is the user's word that nothing but dropout stands between the head's layers.
    """
    wanted = network.backbone.state_dict()
    prefix = backbone_prefix(wanted, tensors, source)
    backbone, rest = split_backbone(wanted, tensors, prefix)
    check_fit(wanted, backbone, f"{source} as {network.name}", FIX_BACKBONE)
    head = ordered_head(linear_layers(rest, source), network.width, source)
    if not head_is_linear:
        _check_nothing_between(head, source)
    weight, bias = _to_unit_range(fold(head), score_range)
    network.backbone.load_state_dict(backbone, strict=False)  # counters may be missing
    network.head.load_state_dict({"weight": weight, "bias": bias})
    return Found(prefix, tuple(layer.name for layer in head))


def backbone_prefix(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str
) -> str:
    """What stands before the backbone's names in the file, such as `module.model.`."""
    endings = {name for name in wanted if is_weight(name)}
    votes = Counter(
        name[: len(name) - len(ending)]
        for name in tensors
        for ending in _endings(name)
        if ending in endings
    )
    best = votes.most_common(2)
    if not best:
        first = ", ".join(list(tensors)[:SHOWN])
        raise InputError(
            f"{source} holds no tensor of this backbone; it begins with {first}",
            expected="names that end as timm's, such as " + ", ".join(list(wanted)[:2]),
            fix=FIX_BACKBONE,
        )
    if len(best) == 2 and best[0][1] == best[1][1]:
        raise InputError(
            f"{source} holds the backbone under {best[0][0]!r} and under {best[1][0]!r}",
            expected="one network in the file",
            fix="save the one that is meant alone",
        )
    return best[0][0]


def split_backbone(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], prefix: str
) -> tuple[Tensors, Tensors]:
    """(backbone under its own names, what is left under its foreign names: the head).

    Tensors beside the head's linear layers stay with the backbone and are reported there.
    """
    backbone: Tensors = {}
    rest: Tensors = {}
    for name, value in tensors.items():
        own = name.removeprefix(prefix)
        inside = name.startswith(prefix) and (own in wanted or _is_block(own, wanted))
        if inside and is_weight(own):
            backbone[own] = value
        elif is_weight(name):
            rest[name] = value
    return backbone, rest


def linear_layers(tensors: Mapping[str, Tensor], source: str) -> list[Layer]:
    """The layers these tensors make up; anything but linear ones is refused."""
    layers = []
    names = {name.rpartition(".")[0]: None for name in tensors}  # in the file's order
    for name in names:
        parts = {
            one.rpartition(".")[2]: value
            for one, value in tensors.items()
            if one.rpartition(".")[0] == name
        }
        if not _is_linear(parts):
            shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in parts.items())
            raise InputError(
                f"{source}: {name or 'the top level'} ({shapes}) belongs neither to the backbone "
                "nor to a linear head",
                expected="a backbone of timm's and linear layers, with `weight` and `bias`",
                fix=FIX_BACKBONE,
            )
        weight = parts["weight"]
        bias = parts.get("bias", torch.zeros(len(weight)))
        layers.append(Layer(name, weight.double(), bias.double()))
    return layers


def ordered_head(layers: list[Layer], width: int, source: str) -> list[Layer]:
    """The layers from the features to the single score, told by names and sizes."""
    ordered = sorted(layers, key=lambda layer: _natural(layer.name))
    sizes = [width, *(len(layer.weight) for layer in ordered)]
    chained = all(
        layer.weight.shape[1] == size and layer.bias.shape == layer.weight.shape[:1]
        for layer, size in zip(ordered, sizes, strict=False)
    )
    if ordered and chained and sizes[-1] == 1:
        return ordered
    shown = ", ".join(map(str, ordered[:SHOWN])) or "none"
    if ordered and chained:
        raise InputError(
            f"{source}: the head gives {sizes[-1]} outputs: {shown}",
            expected="one output, the quality score",
            fix="choose a model that gives one score; classes and distributions do not",
        )
    raise InputError(
        f"{source}: these layers make no head: {shown}",
        expected=f"linear layers from {width} features to 1 score",
        fix=FIX_BACKBONE,
    )


def fold(layers: list[Layer]) -> tuple[Tensor, Tensor]:
    """One layer that computes what these do in a row: W2 (W1 x + b1) + b2."""
    weight, bias = layers[0].weight, layers[0].bias
    for layer in layers[1:]:
        weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
    return weight, bias


def _to_unit_range(
    layer: tuple[Tensor, Tensor], score_range: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """(score - worst) / (best - worst), as part of the layer."""
    (weight, bias), (worst, best) = layer, score_range
    return weight / (best - worst), (bias - worst) / (best - worst)


def _check_nothing_between(head: list[Layer], source: str) -> None:
    """A Sequential numbers its layers: a gap is something without weights, known to no one."""
    numbers = [layer.name.rpartition(".") for layer in head]
    if any(number.isdigit() for _, _, number in numbers):
        known = len({parent for parent, _, _ in numbers}) == 1 and [
            number for _, _, number in numbers
        ] == [str(index) for index in range(len(head))]
    else:
        known = len(head) == 1
    if not known:
        raise InputError(
            f"{source}: weights do not tell what stands before and between "
            + ", ".join(map(str, head)),
            expected="one linear layer, or a Sequential of linear layers alone (0, 1, ...)",
            fix="--linear-head, if that is dropout or nothing. With an activation there, no "
            "single linear score computes the same",
        )


def _is_linear(parts: Mapping[str, Tensor]) -> bool:
    weight = parts.get("weight")
    known = weight is not None and weight.ndim == 2 and not set(parts) - {"weight", "bias"}
    return known and all(part.is_floating_point() for part in parts.values())


def _is_block(own: str, wanted: Mapping[str, Tensor]) -> bool:
    """Whether a name that is not wanted lies in a part of the backbone, such as blocks.9."""
    top = own.partition(".")[0]
    return "." in own and top != "head" and any(name.startswith(f"{top}.") for name in wanted)


def _endings(name: str) -> list[str]:
    """a.b.c: a.b.c, b.c and c."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts fc2 before fc10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
