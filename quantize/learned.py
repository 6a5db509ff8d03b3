"""A quantised graph that learns: weights, biases and the ends of every range, by gradient.

Everything is learned relative to what quantisation after training found, so that one learning
rate suits all and weight decay pulls back to there. The simulation rounds as the kernels do;
gradients pass through the rounding.
"""

from __future__ import annotations

import copy
import dataclasses
import operator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from quantize.aten import CONV, LINEAR, argument, calls, constant, tidy
from quantize.corrections import fit_channels
from quantize.integer_places import PICTURE, Range, range_of
from quantize.recipes import Quantised
from quantize.simulation import Walk, round_to

ENDS_SEE = 4  # one picture in so many
BIAS_SHARE = 1 / 8  # of the output's range that a bias moves by when its number moves by one


class LearnedIntegers(nn.Module):
    """(N, S, S, 3) bytes - 128 to (N,) scores as the integer file will compute them."""

    ends: Tensor

    def __init__(self, quantised: Quantised) -> None:
        super().__init__()
        self.start = quantised
        self.graph = copy.deepcopy(quantised.module)
        self.graph.requires_grad_(False)
        units = _units(quantised)
        self.units = nn.ParameterList(nn.Parameter(one, False) for one in units.values())
        self.moves = nn.ParameterList(
            torch.zeros_like(unit.expand_as(value_of(self.graph, name)))
            for name, unit in units.items()
        )
        self.places = {name: at for at, name in enumerate(units)}
        learned = {
            name: one for name, one in quantised.ranges.items() if (one.low, one.high) != PICTURE
        }
        self.fixed = {n: one for n, one in quantised.ranges.items() if n not in learned}
        self.tensors = {name: at for at, name in enumerate(learned)}
        self.register_buffer(
            "ends",
            torch.tensor([(one.low, one.high) for one in learned.values()], dtype=torch.float64),
        )
        self.stretch = nn.Parameter(torch.zeros_like(self.ends))  # logarithms

    def forward(self, pictures: Tensor) -> Tensor:
        ends = self.ends * self.stretch.exp()

        def rounded(node: Node, value: Tensor) -> Tensor | None:
            at = self.tensors.get(node.name)
            return None if at is None else round_between(value, ends[at])

        walk = Walk(rounds_weights=True, stored=rounded, constants=self._constant)
        return walk.run(self.graph, pictures)

    @torch.no_grad()
    def quantised(self) -> Quantised:
        """What was learned, as quantisation after training gives it."""
        graph = copy.deepcopy(self.graph)
        for name in self.places:
            value_of(graph, name).copy_(self._constant(name))
        ends = (self.ends * self.stretch.exp()).tolist()
        ranges = self.fixed | {name: Range(*ends[at]) for name, at in self.tensors.items()}
        mended = self.start.mended_channels + fit_channels(graph, ranges)
        tidy(graph)
        return dataclasses.replace(self.start, module=graph, ranges=ranges, mended_channels=mended)

    def _constant(self, name: str) -> Tensor:
        """A weight or bias as it is now; what does not learn, as it is in the graph."""
        value, at = value_of(self.graph, name), self.places.get(name)
        return value if at is None else value + self.units[at] * self.moves[at]


def target_of(node: Any) -> str:
    """The name of the constant that a node reads."""
    return str(node.target)


def value_of(graph: GraphModule, name: str) -> Tensor:
    value: Tensor = operator.attrgetter(name)(graph)
    return value.detach()


def _units(quantised: Quantised) -> dict[str, Tensor]:
    """What a learned number of one is worth for each weight and bias, by its name."""
    graph, found = quantised.module, {}
    for node in calls(graph, CONV, LINEAR):
        weight = constant(graph, argument(node, 1))
        given = range_of(node, quantised.ranges)
        if weight is None or given is None:
            continue
        size = weight.flatten(1).square().mean(1).sqrt()
        found[target_of(node.args[1])] = size.reshape(-1, *[1] * (weight.dim() - 1))
        bias = argument(node, 2)
        if constant(graph, bias) is not None:
            worth = (given.high - given.low) * BIAS_SHARE
            found[target_of(bias)] = torch.tensor([worth])
    return found


def round_between(value: Tensor, ends: Tensor) -> Tensor:
    """Round to the 8-bit grid of the range `ends` = (low, high), which learns too."""
    return _RoundBetween.apply(value, ends)


class _RoundBetween(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, ends: Tensor) -> Tensor:
        covered = Range(*ends.tolist())
        out = round_to(value, covered)
        ctx.save_for_backward(value, out)
        ctx.covered = covered
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Straight through inside; a step's error stretches with the range, an end moves what
        lies beyond it. The ends see enough in the first pictures of a batch."""
        (gradient,) = gradients
        value, out = ctx.saved_tensors
        covered: Range = ctx.covered
        error = out - value
        gradient = _in_order_of(error, gradient)
        through = torch.where(error.abs() > covered.scale / 2, 0.0, gradient)
        some = -(-len(value) // ENDS_SEE)
        error, inside = error[:some], through[:some]
        stretched = torch.dot(_flat(inside), _flat(error)) / (covered.high - covered.low)
        beyond = gradient[:some] - inside
        above = torch.where(error > 0, 0.0, beyond).sum()
        below = beyond.sum() - above
        return through, torch.stack((below - stretched, above + stretched)).double()


def _in_order_of(other: Tensor, tensor: Tensor) -> Tensor:
    """The tensor with its values laid out in memory as the other's are."""
    same = tensor.stride() == other.stride()
    return tensor if same else torch.empty_like(other).copy_(tensor)


def _flat(dense: Tensor) -> Tensor:
    """All values in the order of memory: of two tensors laid out alike, in one order."""
    return dense.as_strided((dense.numel(),), (1,))
