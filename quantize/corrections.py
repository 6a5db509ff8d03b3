"""Mending what rounding does to a graph: ranges, biases that overflow, outputs that drifted."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from quantize.aten import CONV, LINEAR, along, calls, is_call, known_weights, set_weights
from quantize.gates import gated
from quantize.hard_activations import THREE
from quantize.integer_places import HIGH, PICTURE, Range, Ranges, is_activation, range_of
from quantize.simulation import TINY, Walk, batches, scores_of

BIAS_BITS = 30  # a bias is an int32 in steps of input scale x weight scale
STEEPEST = 200.0  # output steps a step of a convolution's sum: XNNPACK takes less than 256
GAIN_LIMITS = (0.8, 1.25)  # of a channel's correction


def observe(gm: GraphModule, pictures: Tensor) -> dict[str, Range]:
    """The true range of every stored value over the pictures; no tail is cut.

    What hard-swish clamps to zero anyway needs no steps: its input is cut there.
    """
    extent: dict[str, tuple[float, float]] = {}

    def look(node: Node, value: Tensor) -> None:
        low, high = extent.get(node.name, (0.0, 0.0))
        extent[node.name] = (min(low, float(value.min())), max(high, float(value.max())))

    with torch.no_grad():
        for part in batches(pictures):
            Walk(stored=look).run(gm, part)
    for x, gate, _ in gated(gm):
        weight, _ = known_weights(gm, gate)
        low, high = extent[x.name]
        extent[x.name] = (max(low, -THREE / float(weight.min())), high)
    picture = next(node.name for node in gm.graph.nodes if node.op == "placeholder")
    extent[picture] = PICTURE
    return {name: Range.holding(*one) for name, one in extent.items()}


def fit_channels(gm: GraphModule, ranges: Ranges) -> int:
    """Keep every channel inside what the kernels can count with; how many needed it.

    A dead channel has weights near zero, and so a weight scale in which its bias is larger than
    any int32: it saturates, and the channel comes alive. Its weights become zero; one tiny
    weight gives a scale that holds the bias, and a ReLU that is never open gets no bias at all.
    A channel so steep that one step of its input leaves the output's range is scaled down until
    the kernel's multiplier can say it: it stays shut, or saturates, as before.
    """
    mended = 0
    for node in calls(gm, CONV, LINEAR):
        taken, given = (range_of(one, ranges) for one in (cast(Node, node.args[0]), node))
        if taken is None or given is None:
            continue
        weight, bias = (one.clone() for one in known_weights(gm, node))
        step = weight.flatten(1).abs().amax(1).clamp_min(1e-30) / HIGH * taken.scale
        is_shut = is_activation(next(iter(node.users)))
        for channel in torch.nonzero(bias.abs() / step > 2**BIAS_BITS).flatten().tolist():
            weight[channel] = 0
            if bias[channel] <= 0 and is_shut:
                bias[channel] = 0
            else:
                needed = float(bias[channel].abs()) * HIGH / (taken.scale * 2**BIAS_BITS)
                weight[channel].view(-1)[0] = needed
            mended += 1
        for channel in torch.nonzero(step / given.scale > STEEPEST).flatten().tolist():
            gentle = STEEPEST * given.scale / float(step[channel])
            weight[channel] *= gentle
            bias[channel] *= gentle
            mended += 1
        set_weights(gm, node, weight, bias)
    return mended


def correct_outputs(
    gm: GraphModule, reference: GraphModule, ranges: Ranges, pictures: Tensor
) -> None:
    """Bring each layer's rounded outputs back to the reference's, channel by channel.

    One pass in the order of the graph: gain and offset that fit best go into weights and bias,
    and the layers behind see the corrected values. Gates of hard-swish are left alone: their
    input was cut where they clamp, so that their mean there says nothing.
    """
    gates = {gate.name for _, gate, _ in gated(gm)}
    wanted: dict[str, Tensor] = {}
    corrected: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(node: Node, value: Tensor) -> None:
        wanted[node.name] = value.clone()

    def correct(node: Node, value: Tensor) -> Tensor | None:
        if node.name in gates:
            return None
        axis = 1 if is_call(node, CONV) else -1
        gain, offset = _affine(value, wanted.pop(node.name), axis)
        corrected[node.name] = gain, offset
        return value * along(gain, value, axis) + along(offset, value, axis)

    x = pictures.float()
    with torch.no_grad():
        Walk(before_activation=keep).run(reference, x)
        Walk(dict(ranges), rounds_weights=True, before_activation=correct).run(gm, x)
    for node in calls(gm, CONV, LINEAR):
        if node.name not in corrected:
            continue
        gain, offset = corrected[node.name]
        weight, bias = known_weights(gm, node)
        set_weights(gm, node, weight * along(gain, weight, 0), bias * gain + offset)
    gm.recompile()


def correct_scores(gm: GraphModule, ranges: Ranges, pictures: Tensor, wanted: Tensor) -> None:
    """Gain and offset of the final score, over all pictures, into the last layer."""
    walk = Walk(dict(ranges), rounds_weights=True)
    found = scores_of(gm, pictures, walk)
    gain, offset = _affine(found[:, None], wanted[:, None], 1)
    last = calls(gm, CONV, LINEAR)[-1]
    weight, bias = known_weights(gm, last)
    set_weights(gm, last, weight * gain, bias * gain + offset)
    gm.recompile()


def _affine(found: Tensor, wanted: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """(gain, offset) a channel of the least squares fit, the gain near one."""
    axes = [one for one in range(found.dim()) if one != axis % found.dim()]
    mean, target = found.mean(axes, keepdim=True), wanted.mean(axes, keepdim=True)
    variance = ((found - mean) ** 2).mean(axes)
    covariance = ((found - mean) * (wanted - target)).mean(axes)
    gain = torch.where(
        variance > TINY, covariance / variance.clamp_min(TINY), torch.ones_like(variance)
    ).clamp(*GAIN_LIMITS)
    return gain, target.flatten() - gain * mean.flatten()
