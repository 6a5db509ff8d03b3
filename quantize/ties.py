"""Scales under which no product and no mean lies halfway between two steps of its 8-bit tensor.

XNNPACK multiplies in float32 on x86 and in fixed point on ARM, and computes means otherwise in
each of its versions. All of them round what lies between two steps alike, unless it lies within
their own errors of the middle. Of the few thousand products that two 8-bit tensors can have, one
often does, and then scores differ between phone and desktop. A range that is wider by some
hundred-thousandths has steps in other places: the first without such a product is taken.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule, Node

from quantize.aten import aten, calls, is_call
from quantize.integer_places import HIGH, LOW, Range, Ranges, is_fused, range_of
from quantize.simulation import Walk

NEAR_TIE = 1e-6  # distance to the middle as a share of the value: twice what kernels were seen off
NUDGE, NUDGES = 1e-5, 300  # of a range: each try, and how many of them
MOST_SUMS = 100_000  # a mean of more pixels has some sum near every middle, whatever the scale


def avoid_ties(gm: GraphModule, ranges: Ranges) -> dict[str, Range]:
    """The ranges, those of products and means wider by up to three thousandths.

    Behind a wider range come other products, so the graph is gone through in order.
    """
    shapes = _shapes(gm)
    found = dict(ranges)
    for node in calls(gm, aten.mul.Tensor, aten.mean.dim):
        stored = next(iter(node.users)) if is_fused(node) else node
        factors = [one for one in node.args[:2] if isinstance(one, Node)]
        taken = [one for one in (range_of(factor, found) for factor in factors) if one]
        if stored.name not in found or len(taken) != (1 if is_call(node, aten.mean.dim) else 2):
            continue  # a product with a constant, or a value that stays float
        if len(taken) == 2:
            sums, unit = products(*taken)
        else:
            count = math.prod(shapes[factors[0].name]) // math.prod(shapes[node.name])
            sums, unit = totals(taken[0], count)
        found[stored.name] = cleared(found[stored.name], sums, unit)
    return found


def _shapes(gm: GraphModule) -> dict[str, torch.Size]:
    picture = next(node for node in gm.graph.nodes if node.op == "placeholder")
    found: dict[str, torch.Size] = {}
    look = Walk(everything=lambda name, value: found.update({name: value.shape}))
    with torch.no_grad():
        look.run(gm, torch.zeros(picture.meta["val"].shape))
    return found


def products(first: Range, second: Range) -> tuple[NDArray[np.int64], float]:
    """All products of the two tensors' integers, and what one is worth."""
    table = np.multiply.outer(_integers(first), _integers(second))
    return np.unique(table), float(np.float32(first.scale)) * float(np.float32(second.scale))


def totals(taken: Range, count: int) -> tuple[NDArray[np.int64], float]:
    """All sums of `count` integers of the tensor, and what one adds to their mean; none if many."""
    ends = _integers(taken)[[0, -1]] * count
    many = ends[1] - ends[0] > MOST_SUMS
    sums = np.arange(0 if many else ends[0], 1 if many else ends[1] + 1)
    return sums, float(np.float32(taken.scale)) / count


def _integers(covered: Range) -> NDArray[np.int64]:
    """What kernels count with: the distances to the zero point."""
    return np.arange(LOW, HIGH + 1) - covered.zero_point


def cleared(covered: Range, sums: NDArray[np.int64], unit: float) -> Range:
    """The narrowest range from this one up whose steps have no sum halfway; else this one."""
    for number in range(NUDGES):
        wider = 1 + number * NUDGE
        tried = Range(covered.low * wider, covered.high * wider)
        if nearest_tie(tried, sums, unit) > NEAR_TIE:
            return tried
    return covered


def nearest_tie(covered: Range, sums: NDArray[np.int64], unit: float) -> float:
    """How near any sum that does not saturate comes to a middle, as a share of its value."""
    steps = sums * (unit / float(np.float32(covered.scale)))
    held = steps[(steps > LOW - 1 - covered.zero_point) & (steps < HIGH + 1 - covered.zero_point)]
    apart = np.abs(held - np.floor(held) - 0.5) / np.maximum(np.abs(held), 1)
    return float(apart.min(initial=1.0))
