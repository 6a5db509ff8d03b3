"""Hard-swish whose channels may be scaled: its gate becomes a 1x1 depthwise convolution.

x * relu6(x + 3) changes its shape when x is scaled. x * relu6(x / s + 3), with one s a channel,
does not: what s does to x leaves through the weights behind. That is what lets equalisation pass
through hard-swish; the price is one cheap operator, integer like the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from torch import Tensor
from torch.fx import GraphModule, Node

from quantize.aten import (
    CONV,
    add_constant,
    argument,
    aten,
    call,
    calls,
    constant,
    is_call,
    replace,
)
from quantize.hard_activations import THREE
from quantize.integer_places import CLAMP, is_activation


def swishes(gm: GraphModule) -> list[tuple[Node, Node, Node]]:
    """(x, what relu6 clamps, the product) of every x * relu6(...) in the graph, in order."""
    found = []
    for product in calls(gm, aten.mul.Tensor):
        first, second = product.args[:2]
        for x, gate in ((first, second), (second, first)):
            moved = gate.args[0] if is_call(gate, CLAMP) and is_activation(gate) else None
            is_moved = is_call(moved, aten.add.Tensor, CONV) and moved.args[0] is x
            if isinstance(x, Node) and is_moved:
                found.append((x, cast(Node, moved), product))
                break
    return found


def gated(gm: GraphModule) -> list[tuple[Node, Node, Node]]:
    """Those whose gate is a convolution already."""
    return [one for one in swishes(gm) if is_call(one[1], CONV)]


def insert_gates(gm: GraphModule, places: Collection[int]) -> tuple[int, ...]:
    """Give hard-swishes a gate of their own, by their places in `swishes`; which took one."""
    done, found = [], swishes(gm)
    for place in places:
        x, moved, _ = found[place]
        width = _channels(gm, x)
        if width is None or is_call(moved, CONV) or argument(moved, 1) != THREE:
            continue
        weight = add_constant(gm, width.new_ones(len(width), 1, 1, 1), moved, "gate_weight")
        bias = add_constant(gm, width.new_full((len(width),), THREE), moved, "gate_bias")
        gate = call(
            gm, moved, CONV, x, weight, bias, [1, 1], [0, 0], [1, 1], len(width)
        )  # fmt: skip
        replace(moved, gate)
        done.append(place)
    return tuple(done)


def _channels(gm: GraphModule, x: Node) -> Tensor | None:
    """The bias of the convolution that makes x: one number a channel."""
    return constant(gm, argument(x, 2)) if is_call(x, CONV) and argument(x, 2) else None
