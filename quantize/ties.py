"""Scales under which no product and no mean lies halfway between two steps of its 8-bit tensor.

XNNPACK multiplies in float32 on x86 and in fixed point on ARM, and computes means otherwise in
each of its versions. All of them round what lies between two steps alike, unless it lies within
their own errors of the middle. Of the few thousand products that two 8-bit tensors can have, one
often does, and then scores differ between phone and desktop. A range that is wider by some
hundred-thousandths has steps in other places: the first without such a product is taken.
A mean's error is one of what its kernel adds up: on x86 the zero point leaves after the scaling,
and the stored values of a tensor far from zero sum up to many times what is left.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule, Node

from quantize.aten import aten, calls, is_call
from quantize.integer_places import HIGH, LOW, Range, Ranges, is_fused, range_of
from quantize.simulation import Walk

NEAR_TIE = 2.5e-7  # distance to the middle as a share of the magnitude: four roundings of a float32
NUDGE, NUDGES = 3e-6, 1000  # of a range: each try, and how many of them
MOST_SUMS = 100_000  # a mean of more pixels has some sum near every middle, whatever the scale


class Results(NamedTuple):
    """What an operator can give, before it is rounded."""

    values: NDArray[np.float64]
    magnitudes: NDArray[np.float64]  # the largest number on each one's way


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
            results = products(*taken)
        else:
            count = math.prod(shapes[factors[0].name]) // math.prod(shapes[node.name])
            results = means(taken[0], count)
        found[stored.name] = cleared(found[stored.name], results)
    return found


def _shapes(gm: GraphModule) -> dict[str, torch.Size]:
    picture = next(node for node in gm.graph.nodes if node.op == "placeholder")
    found: dict[str, torch.Size] = {}
    look = Walk(everything=lambda name, value: found.update({name: value.shape}))
    with torch.no_grad():
        look.run(gm, torch.zeros(picture.meta["val"].shape))
    return found


def products(first: Range, second: Range) -> Results:
    """All products of the two tensors' integers."""
    table = np.unique(np.multiply.outer(_integers(first), _integers(second)))
    values = table * np.float64(_scale(first) * _scale(second))
    return Results(values, np.abs(values))


def means(taken: Range, count: int) -> Results:
    """All means of `count` integers of the tensor; none if there are too many."""
    many = (HIGH - LOW) * count > MOST_SUMS
    stored = np.arange(0 if many else LOW * count, 0 if many else HIGH * count + 1)
    unit = np.float64(_scale(taken) / count)
    values = (stored - taken.zero_point * count) * unit
    return Results(values, np.maximum(np.abs(values), np.abs(stored) * unit))


def _integers(covered: Range) -> NDArray[np.int64]:
    """What kernels count with: the distances to the zero point."""
    return np.arange(LOW, HIGH + 1) - covered.zero_point


def _scale(covered: Range) -> float:
    return float(np.float32(covered.scale))


def cleared(covered: Range, results: Results) -> Range:
    """The narrowest range from this one up whose steps have no result halfway; else this one."""
    for number in range(NUDGES):
        wider = 1 + number * NUDGE
        tried = Range(covered.low * wider, covered.high * wider)
        if nearest_tie(tried, results) > NEAR_TIE:
            return tried
    return covered


def nearest_tie(covered: Range, results: Results) -> float:
    """How near any result that does not saturate comes to a middle, as a share of its magnitude."""
    scale, zero = _scale(covered), covered.zero_point
    low, high = (LOW - 1 - zero) * scale, (HIGH + 1 - zero) * scale
    held = (results.values > low) & (results.values < high)
    steps = results.values[held] / scale
    apart = np.abs(steps - np.floor(steps) - 0.5) * scale
    return float((apart / np.maximum(results.magnitudes[held], scale)).min(initial=1.0))
