"""The operations of Core ML programs in torch: one small function each.

Their meaning is that of coremltools' documentation of each operation (converters/mil/mil/ops).
What a function does not cover raises NotImplementedError with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from quantize.mil_arguments import Arguments, Function, Result
from quantize.mil_integers import INTEGER_OPERATIONS

OPERATIONS: dict[str, Function] = dict(INTEGER_OPERATIONS)


def operation(kind: str) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        OPERATIONS[kind] = function
        return function

    return register


def _elementwise() -> dict[str, Function]:
    one: dict[str, Callable[[Tensor], Tensor]] = {
        "abs": torch.abs,
        "erf": torch.erf,
        "exp": torch.exp,
        "identity": lambda x: x,
        "relu": F.relu,
        "relu6": F.relu6,
        "sigmoid": torch.sigmoid,
        "silu": F.silu,
        "sqrt": torch.sqrt,
        "square": torch.square,
        "tanh": torch.tanh,
    }
    two: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "add": torch.add,
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "mul": torch.mul,
        "pow": torch.pow,
        "real_div": torch.div,
        "sub": torch.sub,
    }
    return {
        **{kind: _of_one(function) for kind, function in one.items()},
        **{kind: _of_two(function) for kind, function in two.items()},
    }


def _of_one(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda a: function(a.tensor("x"))


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda a: function(a.tensor("x"), a.tensor("y"))


def _reductions() -> dict[str, Function]:
    kinds: dict[str, Callable[..., Tensor]] = {
        "reduce_l2_norm": torch.linalg.vector_norm,
        "reduce_max": torch.amax,
        "reduce_mean": torch.mean,
        "reduce_min": torch.amin,
        "reduce_sum": torch.sum,
        "reduce_sum_square": lambda x, dim, keepdim: x.square().sum(dim=dim, keepdim=keepdim),
    }

    return {kind: _over_axes(function) for kind, function in kinds.items()}


def _over_axes(function: Callable[..., Tensor]) -> Function:
    def reduce(a: Arguments) -> Tensor:
        x = a.tensor("x")
        axes = a.maybe_ints("axes", list(range(x.ndim)))
        return function(x, dim=axes, keepdim=a.flag("keep_dims"))

    return reduce


OPERATIONS |= _elementwise() | _reductions()


@operation("cast")
def _cast(a: Arguments) -> Tensor:
    """To fp16 and fp32 alike reals stay float32: see mil_executor on what is proved."""
    dtype = a.text("dtype")
    return a.tensor("x").to(
        {"fp16": torch.float32, "fp32": torch.float32, "bool": torch.bool}.get(dtype, torch.int64)
    )


@operation("clip")
def _clip(a: Arguments) -> Tensor:
    return a.tensor("x").clamp(a.number("alpha", -math.inf), a.number("beta", math.inf))


@operation("thresholded_relu")
def _thresholded_relu(a: Arguments) -> Tensor:
    x = a.tensor("x")
    return torch.where(x >= a.number("alpha", 1.0), x, torch.zeros_like(x))


@operation("sigmoid_hard")
def _sigmoid_hard(a: Arguments) -> Tensor:
    return (a.tensor("x") * a.number("alpha", 0.2) + a.number("beta", 0.5)).clamp(0, 1)


@operation("leaky_relu")
def _leaky_relu(a: Arguments) -> Tensor:
    return F.leaky_relu(a.tensor("x"), a.number("alpha", 0.01))


@operation("gelu")
def _gelu(a: Arguments) -> Tensor:
    x, mode = a.tensor("x"), a.text("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


@operation("rsqrt")
def _rsqrt(a: Arguments) -> Tensor:
    return (a.tensor("x") + a.number("epsilon", 1e-12)).rsqrt()


@operation("softmax")
def _softmax(a: Arguments) -> Tensor:
    return a.tensor("x").softmax(int(a.number("axis", -1)))


@operation("conv")
def _conv(a: Arguments) -> Tensor:
    x, weight = a.tensor("x"), a.tensor("weight")
    ones = [1] * (weight.ndim - 2)
    convolve = {3: F.conv1d, 4: F.conv2d}[weight.ndim]
    return convolve(
        F.pad(x, _padding(a, len(ones))),
        weight,
        a.maybe("bias"),
        a.maybe_ints("strides", ones),
        0,
        a.maybe_ints("dilations", ones),
        int(a.number("groups", 1)),
    )


@operation("avg_pool")
def _avg_pool(a: Arguments) -> Tensor:
    sizes, pad = a.ints("kernel_sizes"), _padding(a, 2)
    if a.flag("ceil_mode") or (any(pad) and a.flag("exclude_padding_from_average")):
        raise NotImplementedError("ceil_mode and exclude_padding_from_average")
    return F.avg_pool2d(F.pad(a.tensor("x"), pad), sizes, a.maybe_ints("strides", [1, 1]))


@operation("max_pool")
def _max_pool(a: Arguments) -> Tensor:
    if a.flag("ceil_mode"):
        raise NotImplementedError("ceil_mode")
    x = F.pad(a.tensor("x"), _padding(a, 2), value=-math.inf)
    return F.max_pool2d(x, a.ints("kernel_sizes"), a.maybe_ints("strides", [1, 1]))


def _padding(a: Arguments, dimensions: int) -> list[int]:
    """Core ML's (before, after) from the first spatial dimension on, as F.pad counts them."""
    kind = a.text("pad_type", "valid")
    if kind == "valid":
        return [0, 0] * dimensions
    if kind != "custom":
        raise NotImplementedError(f"pad_type {kind!r}")
    return _from_the_last(a.ints("pad"))


def _from_the_last(pad: list[int]) -> list[int]:
    return [size for at in range(len(pad) - 2, -1, -2) for size in pad[at : at + 2]]


@operation("pad")
def _pad(a: Arguments) -> Tensor:
    mode = a.text("mode", "constant")
    pad = _from_the_last(a.ints("pad"))
    if mode == "constant":
        return F.pad(a.tensor("x"), pad, value=a.number("constant_val", 0.0))
    while pad[-2:] == [0, 0]:  # torch takes other modes for the last dimensions only
        del pad[-2:]
    return F.pad(a.tensor("x"), pad, mode=mode)


@operation("linear")
def _linear(a: Arguments) -> Tensor:
    return F.linear(a.tensor("x"), a.tensor("weight"), a.maybe("bias"))


@operation("matmul")
def _matmul(a: Arguments) -> Tensor:
    x, y = a.tensor("x"), a.tensor("y")
    x = x.transpose(-1, -2) if a.flag("transpose_x") else x
    return x @ (y.transpose(-1, -2) if a.flag("transpose_y") else y)


@operation("batch_norm")
def _batch_norm(a: Arguments) -> Tensor:
    mean, variance = a.tensor("mean"), a.tensor("variance")
    epsilon = a.number("epsilon", 1e-5)
    return F.batch_norm(
        a.tensor("x"), mean, variance, a.maybe("gamma"), a.maybe("beta"), eps=epsilon
    )


@operation("layer_norm")
def _layer_norm(a: Arguments) -> Tensor:
    x = a.tensor("x")
    axes = sorted(axis % x.ndim for axis in a.maybe_ints("axes", list(range(x.ndim))))
    centred = x - x.mean(axes, keepdim=True)
    variance = centred.square().mean(axes, keepdim=True)
    y = centred / torch.sqrt(variance + a.number("epsilon", 1e-5))
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    gamma, beta = a.maybe("gamma"), a.maybe("beta")
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


@operation("reshape")
def _reshape(a: Arguments) -> Tensor:
    x, shape = a.tensor("x"), a.ints("shape")
    return x.reshape([x.shape[at] if size == 0 else size for at, size in enumerate(shape)])


@operation("transpose")
def _transpose(a: Arguments) -> Tensor:
    return a.tensor("x").permute(a.ints("perm"))


@operation("expand_dims")
def _expand_dims(a: Arguments) -> Tensor:
    x, axes = a.tensor("x"), a.ints("axes")
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operation("squeeze")
def _squeeze(a: Arguments) -> Tensor:
    x = a.tensor("x")
    return x.squeeze(tuple(a.maybe_ints("axes", list(range(x.ndim)))))


@operation("tile")
def _tile(a: Arguments) -> Tensor:
    return a.tensor("x").repeat(a.ints("reps"))


@operation("concat")
def _concat(a: Arguments) -> Tensor:
    if a.flag("interleave"):
        raise NotImplementedError("interleave")
    return torch.cat(a.tensors("values"), int(a.number("axis", 0)))


@operation("stack")
def _stack(a: Arguments) -> Tensor:
    return torch.stack(a.tensors("values"), int(a.number("axis", 0)))


@operation("split")
def _split(a: Arguments) -> Result:
    x, axis = a.tensor("x"), int(a.number("axis", 0))
    equal = [x.shape[axis] // int(a.number("num_splits", 1))] * int(a.number("num_splits", 1))
    return x.split(a.maybe_ints("split_sizes", equal), axis)


@operation("slice_by_index")
def _slice_by_index(a: Arguments) -> Tensor:
    """begin and end count from the start or, negative, from the end; masks mean 'all of it'."""
    x = a.tensor("x")
    no = [0] * x.ndim
    begin, end = a.ints("begin"), a.ints("end")
    stride = a.maybe_ints("stride", [1] * x.ndim)
    from_start, to_end = a.maybe_ints("begin_mask", no), a.maybe_ints("end_mask", no)
    squeezed = a.maybe_ints("squeeze_mask", no)
    if min(stride) < 1:
        raise NotImplementedError("negative stride")
    for axis in range(x.ndim):
        first = None if from_start[axis] else begin[axis]
        past = None if to_end[axis] else end[axis]
        if squeezed[axis]:
            first, past = begin[axis], begin[axis] + 1 or None
        keep = range(x.shape[axis])[slice(first, past, stride[axis])]
        x = x.index_select(axis, torch.tensor(list(keep)))
    return x.squeeze(tuple(axis for axis, drop in enumerate(squeezed) if drop))
