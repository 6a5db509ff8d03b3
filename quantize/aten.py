"""Small tools for graphs of aten operations, as torch.export writes them."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

aten: Any = torch.ops.aten

CONV, LINEAR = aten.conv2d.default, aten.linear.default


def is_call(node: object, *targets: Any) -> TypeGuard[Node]:
    return isinstance(node, Node) and node.op == "call_function" and node.target in targets


def calls(gm: GraphModule, *targets: Any) -> list[Node]:
    """The nodes that call one of the targets, in order; safe to change the graph meanwhile."""
    return [node for node in gm.graph.nodes if is_call(node, *targets)]


def argument(node: Node, place: int, default: Any = None) -> Any:
    """A positional argument, which torch.export leaves out where it is the default."""
    return node.args[place] if len(node.args) > place else default


def constant(gm: GraphModule, node: object) -> Tensor | None:
    """The value of a weight or buffer; None for what is computed from the picture."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    value = operator.attrgetter(str(node.target))(gm)
    return value.detach() if isinstance(value, Tensor) else None


def add_constant(gm: GraphModule, value: Tensor, before: Node, hint: str) -> Node:
    """A new weight in the graph. Weights may be shared: an old one is never changed."""
    number = 0
    while hasattr(gm, name := f"{hint}_{number}"):
        number += 1
    gm.register_parameter(name, nn.Parameter(value, requires_grad=False))
    with gm.graph.inserting_before(before):
        return gm.graph.get_attr(name)


def call(gm: GraphModule, before: Node, target: Any, *args: Any) -> Node:
    with gm.graph.inserting_before(before):
        return gm.graph.call_function(target, args)


def replace(node: Node, by: Node) -> None:
    """Everybody who used `node` uses `by`."""
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def set_weights(gm: GraphModule, node: Node, weight: Tensor, bias: Tensor | None) -> None:
    """Give a convolution or linear layer other weights."""
    hint = node.name
    node.update_arg(1, add_constant(gm, weight, node, f"{hint}_weight"))
    if bias is None:
        return
    found = add_constant(gm, bias, node, f"{hint}_bias")
    node.args = (*node.args[:2], found, *node.args[3:])


def weights(gm: GraphModule, node: Node) -> tuple[Tensor, Tensor] | None:
    """(weight, bias or zeros) of a convolution or linear layer, where both are constants."""
    weight = constant(gm, argument(node, 1))
    bias_node = argument(node, 2)
    if weight is None:
        return None
    if bias_node is None:
        return weight, weight.new_zeros(weight.shape[0])
    bias = constant(gm, bias_node)
    return None if bias is None else (weight, bias)


def along(values: Tensor, like: Tensor, axis: int) -> Tensor:
    """One value a channel, shaped to multiply or add to `like` along an axis."""
    shape = [1] * like.dim()
    shape[axis] = -1
    return values.to(like.dtype).reshape(shape)


def known_weights(gm: GraphModule, node: Node) -> tuple[Tensor, Tensor]:
    """The same where the caller knows them to be constants."""
    found = weights(gm, node)
    assert found is not None  # a timm network computes no weights
    return found


def tidy(gm: GraphModule) -> None:
    """Drop what nobody uses, and make the module run its changed graph."""
    gm.graph.eliminate_dead_code()
    gm.graph.lint()
    used = {str(node.target) for node in gm.graph.nodes if node.op == "get_attr"}
    _drop_unused(gm, used)
    gm.recompile()


def _drop_unused(gm: GraphModule, used: Iterable[str]) -> None:
    kept = set(used)
    for name in [*dict(gm.named_parameters()), *dict(gm.named_buffers())]:
        if name not in kept:
            owner, _, leaf = name.rpartition(".")
            delattr(gm.get_submodule(owner), leaf)
