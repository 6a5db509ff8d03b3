"""Hard-swish and hard-sigmoid without their division by six.

Integer runtimes have no fast kernel for HARD_SWISH; x * relu6(x + 3) runs in one delegate instead
of twenty. Both functions then come out six times too large, and the weights behind them are
divided by what has gathered until there. The factor passes through whatever scales with its
input: pooling, ReLU, the product with a squeeze-excite gate, a sum of equally scaled terms.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch.fx import GraphModule, Node

from quantize.aten import (
    CONV,
    LINEAR,
    aten,
    call,
    calls,
    constant,
    is_call,
    known_weights,
    replace,
    set_weights,
    weights,
)
from quantize.rewrites import Done

HARD_SWISH, HARD_SIGMOID = aten.hardswish.default, aten.hardsigmoid.default
SIX, THREE = 6.0, 3.0  # hard-swish is x * relu6(x + 3) / 6, and zero below -3

_SCALES_WITH_INPUT = (
    aten.relu.default, aten.mean.dim, aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default,
    aten.max_pool2d.default, aten.reshape.default, aten.flatten.using_ints,
    aten.permute.default, aten.transpose.int, aten.slice.Tensor, aten.expand.default,
    aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims,
)  # fmt: skip
_SUMS = (aten.add.Tensor, aten.cat.default)


def rewrite_hard_activations(gm: GraphModule) -> Done:
    """All of them whose factor some weights take; the others stay as they are."""
    found = calls(gm, HARD_SWISH, HARD_SIGMOID)
    left: dict[Node, str] = {}
    while True:
        chosen = [node for node in found if node not in left]
        scaling = _follow(gm, set(chosen))
        if not scaling.blocked:
            break
        left |= scaling.blocked
    for node, factor in scaling.absorbed.items():
        weight, _ = known_weights(gm, node)  # _follow absorbs into constants only
        set_weights(gm, node, weight / factor, None)
    for node in chosen:
        _rewrite(gm, node)
    return Done(len(chosen), tuple(f"{node.name}: {reason}" for node, reason in left.items()))


@dataclass
class _Scaling:
    """By what the rewritten activations make each value larger, and where that ends."""

    factors: dict[Node, float] = field(default_factory=dict)  # 1 where absent
    sources: dict[Node, set[Node]] = field(default_factory=dict)  # whose factor it carries
    absorbed: dict[Node, float] = field(default_factory=dict)  # layers whose weights shrink
    blocked: dict[Node, str] = field(default_factory=dict)  # activations that cannot be chosen

    def factor(self, node: object) -> float:
        return self.factors.get(node, 1.0) if isinstance(node, Node) else 1.0

    def carry(self, node: Node, factor: float) -> None:
        self.factors[node] = factor
        self.sources[node] = set().union(*(self.sources.get(i, ()) for i in node.all_input_nodes))

    def block(self, node: Node) -> None:
        """`node` cannot take a factor: nor then those it comes from."""
        for one in node.all_input_nodes:
            for source in self.sources.get(one, ()):
                self.blocked[source] = f"its factor of six meets {node.name}"


def _follow(gm: GraphModule, chosen: set[Node]) -> _Scaling:
    scaling = _Scaling()
    for node in gm.graph.nodes:
        arriving = [scaling.factor(one) for one in node.all_input_nodes]
        if node in chosen:
            if set(arriving) != {1.0}:
                scaling.block(node)
            scaling.factors[node], scaling.sources[node] = SIX, {node}
        elif all(factor == 1 for factor in arriving):
            continue
        elif is_call(node, CONV, LINEAR) and constant(gm, node.args[1]) is not None:
            scaling.absorbed[node] = scaling.factor(node.args[0])
        elif is_call(node, *_SCALES_WITH_INPUT):
            scaling.carry(node, scaling.factor(node.args[0]))
        elif is_call(node, aten.mul.Tensor):
            scaling.carry(node, scaling.factor(node.args[0]) * scaling.factor(node.args[1]))
        elif is_call(node, *_SUMS) and len(set(arriving)) == 1 and _adds_values_only(node):
            scaling.carry(node, arriving[0])
        else:
            scaling.block(node)
    return scaling


def _adds_values_only(node: Node) -> bool:
    """A sum with a plain number would have to scale that number too."""
    return is_call(node, aten.cat.default) or all(isinstance(one, Node) for one in node.args)


def _rewrite(gm: GraphModule, node: Node) -> None:
    x = node.args[0]
    assert isinstance(x, Node)
    is_gate = is_call(node, HARD_SIGMOID)
    own = weights(gm, x) if is_call(x, CONV, LINEAR) else None
    if is_gate and own is not None and len(x.users) == 1:
        set_weights(gm, x, own[0], own[1] + THREE)  # relu6 then joins the convolution
        moved = x
    else:
        moved = call(gm, node, aten.add.Tensor, x, THREE)
    gate = call(gm, node, aten.hardtanh.default, moved, 0.0, SIX)
    replace(node, gate if is_gate else call(gm, node, aten.mul.Tensor, x, gate))
