"""Weights rounded together instead of one by one.

Nearest rounding treats each weight alone, and the errors of a filter add up wherever its inputs
move together: a 3x3 filter whose taps nearly cancel gets a mean it never had. Here the weights
of a filter are rounded in turn, and those still to come take up the error, as the inputs'
covariance says (optimal brain quantisation, as in GPTQ). Means are left to the biases.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Node

from quantize.aten import CONV, LINEAR, argument, calls, is_call, known_weights, set_weights
from quantize.channel_groups import is_depthwise
from quantize.integer_places import HIGH
from quantize.simulation import TINY, Walk, batches

DAMPING = 0.01  # of the mean variance: covariances of few pictures are nearly singular
SAMPLES = 16  # places seen for each weight of a filter, or the layer is rounded to nearest
MOST_INPUTS = 2048  # weights a filter may have: its covariance is that large squared


def round_together(gm: GraphModule, pictures: Tensor) -> int:
    """Put all weights onto their 8-bit grids; how many layers it could do jointly."""
    layers = [node for node in calls(gm, CONV, LINEAR) if _fits(gm, node)]
    found = _covariances(gm, layers, pictures)
    for node, covariance in found.items():
        weight, _ = known_weights(gm, node)
        rows = weight.reshape(len(covariance), -1, covariance.shape[-1])
        rounded = _round_rows(rows.double(), covariance)
        set_weights(gm, node, rounded.to(weight.dtype).reshape(weight.shape), None)
    gm.recompile()
    return len(found)


def _fits(gm: GraphModule, node: Node) -> bool:
    weight, _ = known_weights(gm, node)
    groups = argument(node, 6, 1) if is_call(node, CONV) else 1
    size = weight[0].numel()
    return 1 < size <= MOST_INPUTS and (groups == 1 or is_depthwise(gm, node))


def _covariances(gm: GraphModule, layers: list[Node], pictures: Tensor) -> dict[Node, Tensor]:
    """(groups, weights, weights) of what each layer's filters look at, one group a channel of a
    depthwise convolution."""
    moments: dict[Node, tuple[Tensor, Tensor, int]] = {}
    readers: dict[str, list[Node]] = {}
    for node in layers:
        readers.setdefault(str(node.args[0]), []).append(node)

    def look(name: str, value: Tensor) -> None:
        for node in readers.get(name, ()):
            seen = _patches(gm, node, value)  # (groups, places, weights)
            square, total, count = moments.get(node, (0.0, 0.0, 0))
            moments[node] = (
                square + (seen.transpose(1, 2) @ seen).double(),
                total + seen.sum(1).double(),
                count + seen.shape[1],
            )

    with torch.no_grad():
        for part in batches(pictures):
            Walk(everything=look).run(gm, part)
    found = {}
    for node, (square, total, count) in moments.items():
        if count < SAMPLES * square.shape[-1]:
            continue
        mean = total / count
        found[node] = square / count - mean[:, :, None] * mean[:, None, :]
    return found


def _patches(gm: GraphModule, node: Node, value: Tensor) -> Tensor:
    """(groups, places, weights) inputs of each filter."""
    if is_call(node, LINEAR):
        return value.reshape(1, -1, value.shape[-1])
    weight, _ = known_weights(gm, node)
    stride, padding, dilation = (argument(node, at, default) for at, default in _PLACES)
    seen = F.unfold(value, weight.shape[2:], _two(dilation), _two(padding), _two(stride))
    if is_depthwise(gm, node):  # (N, C * k, L)
        parts = seen.reshape(len(seen), len(weight), -1, seen.shape[-1])
        return parts.permute(1, 0, 3, 2).reshape(len(weight), -1, parts.shape[2])
    return seen.transpose(1, 2).reshape(1, -1, seen.shape[1])


_PLACES = ((3, 1), (4, 0), (5, 1))  # where a convolution's stride, padding, dilation stand


def _two(value: int | list[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _round_rows(rows: Tensor, covariance: Tensor) -> Tensor:
    """(groups, rows, weights) on their grids, -127..127 steps of each row's largest weight.

    The largest weight keeps its place: it is what the grid is read from later.
    """
    step = rows.abs().amax(2, keepdim=True).clamp_min(TINY) / HIGH
    is_largest = rows.abs() >= rows.abs().amax(2, keepdim=True)
    fixed = torch.where(is_largest, rows, torch.nan)
    size = rows.shape[2]
    variance = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp_min(TINY)
    damped = covariance + DAMPING * variance[:, None, None] * torch.eye(size, dtype=rows.dtype)
    upper = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    left, out = rows.clone(), torch.empty_like(rows)
    for at in range(size):
        value = left[:, :, at]
        nearest = (value / step[..., 0]).round().clamp(-HIGH, HIGH) * step[..., 0]
        out[:, :, at] = torch.where(is_largest[:, :, at], fixed[:, :, at], nearest)
        error = (value - out[:, :, at]) / upper[:, at, at][:, None]
        left[:, :, at + 1 :] -= error[..., None] * upper[:, at, at + 1 :][:, None, :]
    return out
