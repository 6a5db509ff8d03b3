"""Which tensors share their channels' scales, and which layers may change them.

Scaling a channel where it is made and undoing it where it is read changes nothing, as long as
what lies between scales with its input: ReLU, pooling, sums of equally scaled terms, a
squeeze-excite product, a gated hard-swish. A group is everything tied together that way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.fx import GraphModule, Node
from torch.fx.passes.shape_prop import ShapeProp

from quantize.aten import CONV, LINEAR, argument, aten, is_call, weights
from quantize.gates import gated
from quantize.integer_places import RELU, is_stored

_KEEP_CHANNELS = (
    RELU, aten.mean.dim, aten.avg_pool2d.default, aten.max_pool2d.default,
    aten.constant_pad_nd.default, aten.pad.default, aten.reshape.default,
    aten.flatten.using_ints, aten.squeeze.dims, aten.squeeze.dim,
)  # fmt: skip


@dataclass
class Group:
    """Tensors whose channels are scaled together, and the layers that pay for it."""

    tensors: list[Node] = field(default_factory=list)  # those that an integer runtime stores
    producers: list[Node] = field(default_factory=list)  # scaled with their outputs
    consumers: list[Node] = field(default_factory=list)  # scaled back with their inputs


def is_depthwise(gm: GraphModule, node: Node) -> bool:
    """One filter a channel, as many channels out as in."""
    found = weights(gm, node) if is_call(node, CONV) else None
    return found is not None and found[0].shape[1] == 1 and argument(node, 6, 1) == len(found[0])


def propagate_shapes(gm: GraphModule, example: torch.Tensor) -> None:
    """Note every node's shape in the graph."""
    ShapeProp(gm).propagate(example)


def find_groups(gm: GraphModule, example: torch.Tensor) -> list[Group]:
    """All groups that may be scaled, in the order of the graph."""
    propagate_shapes(gm, example)
    ties = _Ties(gm)
    for node in gm.graph.nodes:
        ties.visit(node)
    groups: dict[Node, Group] = {}
    for node in gm.graph.nodes:
        root = ties.root(node)
        if root in ties.pinned_roots():
            continue
        group = groups.setdefault(root, Group())
        if is_call(node, CONV, LINEAR):
            group.producers.append(node)
        if is_stored(node):
            group.tensors.append(node)
    for node in ties.layers:
        root = ties.root(cast(Node, node.args[0]))
        if root in groups:
            groups[root].consumers.append(node)
    return [one for one in groups.values() if one.producers and one.consumers and one.tensors]


class _Ties:
    """Union-find over nodes; a pinned set keeps its scale."""

    def __init__(self, gm: GraphModule) -> None:
        self.gm = gm
        self.parent: dict[Node, Node] = {}
        self.pinned: set[Node] = set()
        self.layers: list[Node] = []
        found = gated(gm)
        self.gates = {gate for _, gate, _ in found}
        self.swishes = {product: x for x, _, product in found}

    def root(self, node: Node) -> Node:
        while node in self.parent:
            node = self.parent[node]
        return node

    def pinned_roots(self) -> set[Node]:
        return {self.root(node) for node in self.pinned}

    def tie(self, *nodes: Node) -> None:
        first = self.root(nodes[0])
        for node in nodes[1:]:
            other = self.root(node)
            if other is not first:
                self.parent[other] = first

    def pin(self, *nodes: object) -> None:
        self.pinned.update(node for node in nodes if isinstance(node, Node))

    def visit(self, node: Node) -> None:
        if node.op == "get_attr":
            self.pin(node)
        elif is_call(node, CONV, LINEAR):
            self._visit_layer(node)
        elif node in self.swishes:
            self.tie(self.swishes[node], node)
            self.pin(*(one for one in node.args if one is not self.swishes[node]))
        elif is_call(node, *_KEEP_CHANNELS) and _keeps_channels(node):
            self.tie(cast(Node, node.args[0]), node)
        elif is_call(node, aten.add.Tensor) and same_shapes(node):
            self.tie(node, *node.all_input_nodes)
        elif is_call(node, aten.mul.Tensor) and (pair := _scaled_by_gate(node)):
            self.tie(pair[0], node)
            self.pin(pair[1])
        else:
            self.pin(node, *node.all_input_nodes)

    def _visit_layer(self, node: Node) -> None:
        groups = argument(node, 6, 1) if is_call(node, CONV) else 1
        is_plain = weights(self.gm, node) is not None and (
            groups == 1 or is_depthwise(self.gm, node)
        )
        x = node.args[0]
        if not is_plain or (is_call(node, LINEAR) and len(_shape(x)) != 2):
            self.pin(node, *node.all_input_nodes)
            return
        self.layers.append(node)
        if node in self.gates:
            self.pin(node)


def _keeps_channels(node: Node) -> bool:
    """Axis 1 holds the same channels before and after, one value each where it is flattened."""
    before, after = _shape(node.args[0]), _shape(node)
    if is_call(node, aten.mean.dim):
        return len(before) == 4 and sorted(axis % 4 for axis in _axes(node)) == [2, 3]
    if len(before) < 2 or len(after) < 2 or before[1] != after[1]:
        return False
    return len(before) == len(after) == 4 or math.prod(before[2:]) == math.prod(after[2:]) == 1


def _axes(node: Node) -> list[int]:
    axes: Any = node.args[1]
    return list(axes)


def same_shapes(node: Node) -> bool:
    """Whether two tensors of one shape are summed; after `propagate_shapes`."""
    shapes = [_shape(one) for one in node.args]
    return len(set(shapes)) == 1 and len(shapes[0]) >= 2


def _scaled_by_gate(node: Node) -> tuple[Node, Node] | None:
    """(what is scaled, one factor a channel) of a squeeze-excite product."""
    first, second = node.args[:2]
    for x, factor in ((first, second), (second, first)):
        if not isinstance(x, Node) or not isinstance(factor, Node):
            return None
        large, small = _shape(x), _shape(factor)
        if len(large) == len(small) == 4 and small[2:] == (1, 1) and large[:2] == small[:2]:
            return x, factor
    return None


def _shape(node: object) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta") if isinstance(node, Node) else None
    return tuple(meta.shape) if meta is not None else ()
