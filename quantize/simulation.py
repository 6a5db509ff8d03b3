"""The graph as integer kernels compute it: values rounded where they become 8-bit tensors.

Weights are symmetric per output channel, activations asymmetric per tensor, as in TFLite.
Calibration, corrections, sensitivity and training that knows about the rounding all run the same
simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx import GraphModule, Node

from quantize.aten import CONV, LINEAR, aten
from quantize.integer_places import HIGH, LOW, Range, Ranges, is_stored

AT_ONCE = 32  # pictures
TINY = 1e-12  # a channel of zeros has a scale too
Hook = Callable[[Node, Tensor], Tensor | None]  # sees a value, and may replace it


@dataclass
class Walk:
    """How to run a graph: what is rounded, and who looks on. Nothing set: the float graph."""

    ranges: Ranges = field(default_factory=dict)  # of the activations that are rounded
    rounds_weights: bool = False
    spared: frozenset[str] = frozenset()  # layers whose weights stay float
    before_activation: Hook | None = None  # sees outputs of convolutions and linear layers
    stored: Hook | None = None  # sees stored values before they are rounded
    everything: Callable[[str, Tensor], None] | None = None  # sees every value, by name
    constants: Callable[[str], Tensor | None] | None = None  # other values for weights

    def run(self, gm: GraphModule, pictures: Tensor) -> Tensor:
        """(N, S, S, 3) r = byte - 128 to (N,) scores, any N."""
        scores: Tensor = _Runner(gm, self).run(pictures)
        return scores.flatten()


def batches(pictures: Tensor, size: int = AT_ONCE) -> Iterator[Tensor]:
    """Some (N, S, S, 3) bytes - 128 at a time, as reals."""
    for at in range(0, len(pictures), size):
        yield pictures[at : at + size].float()


def few(pictures: Tensor, count: int) -> Tensor:
    """At most `count` of the pictures, from all over."""
    return pictures[:: max(len(pictures) // count, 1)][:count]


def scores_of(gm: GraphModule, pictures: Tensor, walk: Walk | None = None) -> Tensor:
    """(N,) scores without gradients."""
    with torch.no_grad():
        return torch.cat([(walk or Walk()).run(gm, part) for part in batches(pictures)])


def round_to(value: Tensor, covered: Range) -> Tensor:
    """The nearest of the range's 256 numbers. Passes of torch's vector loops on purpose: its own
    fake quantisation of a whole tensor takes five times as long."""
    scale, zero = covered.scale, covered.zero_point
    return torch.mul(value, 1 / scale).round_().clamp_(LOW - zero, HIGH - zero).mul_(scale)


def round_weight(weight: Tensor) -> Tensor:
    """Per output channel to -127..127, gradients passing straight through."""
    scale = (weight.detach().flatten(1).abs().amax(1) / HIGH).clamp_min(TINY)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -HIGH, HIGH)


class _Runner(fx.Interpreter):
    """A graph traced for one picture, run on many."""

    def __init__(self, gm: GraphModule, walk: Walk) -> None:
        super().__init__(gm, garbage_collect_values=True)
        self.walk = walk
        self.node: Node | None = None
        self.traced = self.count = 1  # pictures the graph was traced with, and is run on

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().placeholder(target, args, kwargs)
        assert self.node is not None
        self.traced, self.count = self.node.meta["val"].shape[0], len(value)
        return value

    def run_node(self, n: Node) -> Any:
        self.node = n
        value = super().run_node(n)
        if self.walk.everything is not None and isinstance(value, Tensor):
            self.walk.everything(n.name, value)
        if not isinstance(value, Tensor) or not is_stored(n):
            return value
        if self.walk.stored is not None:
            seen = self.walk.stored(n, value)
            value = value if seen is None else seen
        covered = self.walk.ranges.get(n.name)
        if covered is None:
            return value
        return round_to(value, covered)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        other = self.walk.constants and self.walk.constants(str(target))
        return super().get_attr(target, args, kwargs) if other is None else other

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target in (aten.reshape.default, aten.expand.default) and args[1][0] == self.traced:
            args = (args[0], [self.count, *args[1][1:]])
        if target not in (CONV, LINEAR):
            return super().call_function(target, args, kwargs)
        assert self.node is not None
        if self.walk.rounds_weights and self.node.name not in self.walk.spared:
            args = (args[0], round_weight(args[1]), *args[2:])
        value = super().call_function(target, args, kwargs)
        if self.walk.before_activation is not None:
            seen = self.walk.before_activation(self.node, value)
            value = value if seen is None else seen
        return value
