"""Cross-layer equalisation: channels of one tensor brought to one range, exactly.

A tensor has one scale for all channels. Where one channel reaches 258 and the median 25, the
others have a tenth of the steps they could have. Scaling moves range from activations into
weights, which have a scale a channel and can afford it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from quantize.aten import along, known_weights, set_weights
from quantize.channel_groups import Group, find_groups, is_depthwise
from quantize.gates import gated, swishes
from quantize.hard_activations import THREE
from quantize.rewrites import Done
from quantize.simulation import Walk, batches

ACTIVATION_SHARE = 0.8  # how much the activations' ranges count beside those of the weights
NEGATIVE_WEIGHT = 2.0  # of what hard-swish lets through below zero: little, and bent
FLOOR = 1e-4  # a channel's share of its tensor below which it is dead, and not blown up
UNEQUAL = 4.5  # the widest channel to the median one
MOST = 1e3  # a channel is scaled by at most so much


@dataclass
class Extent:
    """The smallest and largest value of each channel."""

    low: Tensor
    high: Tensor


def channel_extents(gm: GraphModule, pictures: Tensor) -> dict[str, Extent]:
    """Extents of all stored values that have channels, by node."""
    found: dict[str, Extent] = {}

    def look(node: Node, value: Tensor) -> None:
        if value.dim() not in (2, 4):
            return
        axes = (0, 2, 3)[: value.dim() - 1]
        low, high = value.amin(axes), value.amax(axes)
        seen = found.get(node.name)
        if seen is not None:
            low, high = torch.minimum(low, seen.low), torch.maximum(high, seen.high)
        found[node.name] = Extent(low, high)

    walk = Walk(stored=look)
    with torch.no_grad():
        for part in batches(pictures):
            walk.run(gm, part)
    return found


def unequal_swishes(gm: GraphModule, extents: Mapping[str, Extent]) -> tuple[int, ...]:
    """The hard-swishes, by place, whose channels differ enough to be worth a gate."""
    found = []
    for place, (x, _, _) in enumerate(swishes(gm)):
        extent = extents.get(x.name)
        if extent is None:
            continue
        reach = torch.maximum(extent.high, (-extent.low).clamp_max(THREE))
        if float(reach.max()) >= UNEQUAL * float(reach.median()):
            found.append(place)
    return tuple(found)


def equalise(gm: GraphModule, extents: Mapping[str, Extent], example: Tensor) -> Done:
    """Scale every group of channels that may be scaled."""
    swish_inputs = {x.name for x, _, _ in gated(gm)}
    groups = find_groups(gm, example)
    done = 0
    for group in groups:
        scale = _scales(gm, group, extents, swish_inputs)
        if scale is not None:
            scale_channels(gm, group, scale)
            done += 1
    return Done(done)


def _scales(
    gm: GraphModule, group: Group, extents: Mapping[str, Extent], swish_inputs: set[str]
) -> Tensor | None:
    """(C,) factors of the group's channels; None where its layers do not fit together."""
    shares = []
    for node in group.tensors:
        extent = extents.get(node.name)
        if extent is not None:
            low = -extent.low
            if node.name in swish_inputs:
                low = low.clamp(0, THREE) * NEGATIVE_WEIGHT
            reach = torch.maximum(extent.high, low).clamp_min(0)
            shares.append(reach / reach.max().clamp_min(1e-12))
    widths = {len(one) for one in shares} | {len(known_weights(gm, p)[0]) for p in group.producers}
    widths |= {_inputs(gm, one) for one in group.consumers}
    if len(widths) != 1:
        return None
    activation = torch.stack(shares).amax(0)
    activation = torch.where(activation < FLOOR, 1.0, activation)
    full = [one for one in group.consumers if not is_depthwise(gm, one)]
    if not full:
        scale = 1 / activation
    else:
        columns = torch.stack([_column_shares(gm, one) for one in full]).amax(0).clamp_min(FLOOR)
        scale = columns ** (1 - ACTIVATION_SHARE) / activation**ACTIVATION_SHARE
    scale = scale / scale.log().mean().exp()
    return scale.clamp(1 / MOST, MOST)


def _inputs(gm: GraphModule, node: Node) -> int:
    weight, _ = known_weights(gm, node)
    return len(weight) if is_depthwise(gm, node) else weight.shape[1]


def _column_shares(gm: GraphModule, node: Node) -> Tensor:
    """How far the weights that read each channel reach, as a share of the layer's reach."""
    weight, _ = known_weights(gm, node)
    reach = weight.abs().flatten(2).amax(2) if weight.dim() == 4 else weight.abs()
    columns = reach.amax(0)
    return columns / columns.max().clamp_min(1e-12)


def scale_channels(gm: GraphModule, group: Group, scale: Tensor) -> None:
    """Scale channels where they are made, and back where they are read."""
    for node in group.producers:
        weight, bias = known_weights(gm, node)
        set_weights(gm, node, weight * along(scale, weight, 0), bias * scale)
    for node in group.consumers:
        weight, _ = known_weights(gm, node)
        axis = 0 if is_depthwise(gm, node) else 1
        set_weights(gm, node, weight / along(scale, weight, axis), None)
