"""Channels moved to the middle of their tensor's range, exactly.

What a convolution without activation stores lies anywhere: one channel from -17 to 177, another
from -116 to 55. Their tensor then covers -156 to 181, and neither has half of its 256 steps. An
offset a channel leaves through the biases of the layers that read it, where nothing but sums lies
between and no border of zeros is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor
from torch.fx import GraphModule, Node

from quantize.aten import (
    CONV,
    LINEAR,
    argument,
    aten,
    calls,
    is_call,
    known_weights,
    set_weights,
    weights,
)
from quantize.channel_groups import propagate_shapes, same_shapes
from quantize.equalisation import Extent
from quantize.rewrites import Done


def centre(gm: GraphModule, extents: Mapping[str, Extent], example: Tensor) -> Done:
    """Move the channels of every stored tensor that may be moved; `extents` are those before."""
    propagate_shapes(gm, example)
    done = 0
    for node in calls(gm, CONV, LINEAR):
        extent = extents.get(node.name)
        readers = _readers(gm, node)
        if extent is None or not readers:
            continue
        middle = (extent.low + extent.high) / 2
        weight, bias = known_weights(gm, node)
        set_weights(gm, node, weight, bias - middle)
        for reader, times in readers.items():
            weight, bias = known_weights(gm, reader)
            set_weights(gm, reader, weight, bias + weight.flatten(2).sum(2) @ (times * middle))
        done += 1
    return Done(done)


def _readers(gm: GraphModule, node: Node) -> dict[Node, int]:
    """The convolutions that read it, through sums too, and how many times it is in what each
    reads; none where anything else reads it."""
    found: dict[Node, int] = {}
    times = {node: 1}
    for user in gm.graph.nodes:
        if not times.keys() & set(user.all_input_nodes):
            continue
        if _takes_offsets(gm, user):
            found[user] = times[cast(Node, user.args[0])]
        elif is_call(user, aten.add.Tensor) and same_shapes(user) and not user.kwargs:
            terms = [one for one in user.args if isinstance(one, Node)]
            times[user] = sum(times.get(one, 0) for one in terms)
        else:
            return {}
    return found


def _takes_offsets(gm: GraphModule, node: Node) -> bool:
    """A convolution without padding and without groups: its bias holds any offset of its input."""
    if not is_call(node, CONV) or weights(gm, node) is None:
        return False
    is_padded = any(argument(node, 4, [0]))
    return argument(node, 6, 1) == 1 and not is_padded
