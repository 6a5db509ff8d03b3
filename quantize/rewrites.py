"""Exact rewrites of a network's graph into operations that integer runtimes have fast kernels for.

Each takes a graph of aten operations, changes it in place and says how often, and where it had to
leave things as they were. None changes what the network computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
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
    known_weights,
    replace,
    set_weights,
    weights,
)

BATCH_NORM = aten._native_batch_norm_legit_no_training.default

_DO_NOTHING = (aten.clone.default, aten.alias.default, aten.dropout.default, aten.detach.default)
_CHECKS = (aten._assert_tensor_metadata.default,)


@dataclass(frozen=True)
class Done:
    """How many places a rewrite changed, and those it could not, with the reason."""

    places: int
    left: tuple[str, ...] = ()


Rewrite = Callable[[GraphModule], Done]


def drop_idle(gm: GraphModule) -> Done:
    """Copies, dropout and checks that do nothing when the network only answers.

    Views become reshapes: they would hold only for the strides of the traced kernels.
    """
    for node in calls(gm, aten.view.default, aten._unsafe_view.default):
        node.target = aten.reshape.default
    idle = calls(gm, *_DO_NOTHING)
    idle += [node for node in calls(gm, aten._to_copy.default, aten.to.dtype) if _is_cast(node)]
    for node in idle:
        replace(node, node.args[0])  # type: ignore[arg-type]
    for node in calls(gm, *_CHECKS):
        gm.graph.erase_node(node)
    return Done(len(idle))


def _is_cast(node: Node) -> bool:
    """A cast between floating types: the deployed graph has one."""
    values = [one.meta.get("val") for one in (node, node.args[0]) if isinstance(one, Node)]
    return len(values) == 2 and all(
        isinstance(value, Tensor) and value.is_floating_point() for value in values
    )


def fold_constants(gm: GraphModule) -> Done:
    """What does not depend on the picture is computed now: positional encodings, mostly."""
    values: dict[Node, Any] = {}
    for node in gm.graph.nodes:
        if node.op == "get_attr":
            values[node] = constant(gm, node)
        elif node.op == "call_function" and all(one in values for one in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda one: values[one])
            values[node] = node.target(*args, **kwargs)
    folded = [
        node
        for node, value in values.items()
        if node.op == "call_function"
        and isinstance(value, Tensor)
        and any(user not in values for user in node.users)
    ]
    for node in folded:
        replace(node, add_constant(gm, values[node].contiguous(), node, "constant"))
    return Done(len(folded))


def fold_batch_norm(gm: GraphModule) -> Done:
    """Batch norm into the convolution before it; elsewhere into one multiplication and one sum."""
    found = calls(gm, BATCH_NORM)
    left = []
    for node in found:
        source = node.args[0]
        gain, bias, mean, variance = (constant(gm, one) for one in node.args[1:5])
        assert mean is not None  # as in every traced network
        assert variance is not None
        scale = torch.rsqrt(variance + float(argument(node, 6)))
        scale = scale if gain is None else scale * gain
        shift = (torch.zeros_like(mean) if bias is None else bias) - mean * scale
        own = weights(gm, source) if is_call(source, CONV) else None
        if own is not None and len(source.users) == 1:  # type: ignore[union-attr]
            weight = own[0] * scale.reshape(-1, 1, 1, 1)
            set_weights(gm, source, weight, own[1] * scale + shift)  # type: ignore[arg-type]
            by = source
        else:
            by = _affine(gm, node, scale, shift)
            left.append(f"{node.name}: no convolution of its own before it")
        first = next(iter(node.users))  # the output among (output, mean, deviation)
        replace(first, by)  # type: ignore[arg-type]
    return Done(len(found) - len(left), tuple(left))


def _affine(gm: GraphModule, node: Node, scale: Tensor, shift: Tensor) -> Node:
    shape = (1, -1, *[1] * (node.args[0].meta["val"].dim() - 2))  # type: ignore[union-attr]
    gain = add_constant(gm, scale.reshape(shape), node, "gain")
    offset = add_constant(gm, shift.reshape(shape), node, "offset")
    scaled = call(gm, node, aten.mul.Tensor, node.args[0], gain)
    return call(gm, node, aten.add.Tensor, scaled, offset)


def fold_normalisation(gm: GraphModule) -> Done:
    """(r - shift) * scale into the first convolutions.

    A shift stays one subtraction where zeros are padded: there it would have to be padded too.
    """
    shift_node, scale_node = _normalisation(gm)
    convolutions = [_behind_pad(user) for user in scale_node.users]
    others = [node for node in convolutions if not is_call(node, CONV)]
    if others:
        return Done(0, (f"{others[0].name} comes before the first convolution",))
    scale, shift = (_vector(gm, node) for node in (scale_node, shift_node))
    is_padded = any(
        conv not in scale_node.users or any(_pair(argument(conv, 4, 0))) for conv in convolutions
    )
    keeps_shift = is_padded and bool(shift.any())
    for conv in convolutions:
        weight, bias = known_weights(gm, conv)
        weight = weight * scale.reshape(1, -1, 1, 1)
        if not keeps_shift:
            bias = bias - (weight * shift.reshape(1, -1, 1, 1)).sum((1, 2, 3))
        set_weights(gm, conv, weight, bias)
    replace(scale_node, shift_node if keeps_shift else _first_input(shift_node))
    left = ("the mean stays a subtraction: the first convolution pads zeros",)
    return Done(len(convolutions), left if keeps_shift else ())


def _normalisation(gm: GraphModule) -> tuple[Node, Node]:
    """(the subtraction, the multiplication) that `_Deployed` puts first."""
    picture = next(node for node in gm.graph.nodes if node.op == "placeholder")
    shift = next(iter(next(iter(picture.users)).users))
    return shift, next(iter(shift.users))


def _behind_pad(node: Node) -> Node:
    while is_call(node, aten.pad.default, aten.constant_pad_nd.default) and len(node.users) == 1:
        node = next(iter(node.users))
    return node


def _vector(gm: GraphModule, node: Node) -> Tensor:
    value = constant(gm, argument(node, 1))
    assert value is not None  # built as one
    return value.flatten()


def _first_input(node: Node) -> Node:
    first = node.args[0]
    assert isinstance(first, Node)
    return first


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def rewrite_global_pool(gm: GraphModule) -> Done:
    """Adaptive pooling to one pixel as the mean it is: exporters leave a strided view else."""
    found = [
        node
        for node in calls(gm, aten.adaptive_avg_pool2d.default)
        if tuple(_pair(node.args[1])) in ((1,), (1, 1))
    ]
    for node in found:
        replace(node, call(gm, node, aten.mean.dim, node.args[0], [2, 3], True))
    return Done(len(found))


def rewrite_normalize(gm: GraphModule) -> Done:
    """x / max(|x|, eps) as x * rsqrt(max(sum of squares, eps squared)), the same for zero too."""
    places, left = 0, []
    for norm in calls(gm, aten.linalg_vector_norm.default):
        bound = next(iter(norm.users))
        users = [_behind_expand(user) for user in bound.users]
        is_plain = len(norm.users) == 1 and is_call(bound, aten.clamp_min.default)
        x, order, dims, keeps = (argument(norm, place) for place in range(4))
        fits = is_plain and order in (None, 2, 2.0) and dims and keeps
        if not fits or not all(is_call(u, aten.div.Tensor) and u.args[0] is x for u in users):
            left.append(f"{norm.name}: not the shape of F.normalize")
            continue
        squares = call(gm, norm, aten.mul.Tensor, x, x)
        total = call(gm, norm, aten.sum.dim_IntList, squares, dims, True)
        floor = float(argument(bound, 1)) ** 2
        root = call(
            gm, norm, aten.rsqrt.default, call(gm, norm, aten.clamp_min.default, total, floor)
        )
        for user in users:
            replace(user, call(gm, user, aten.mul.Tensor, x, root))
        places += 1
    return Done(places, tuple(left))


def _behind_expand(node: Node) -> Node:
    return next(iter(node.users)) if is_call(node, aten.expand.default) else node
