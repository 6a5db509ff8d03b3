"""Integers in Core ML programs: rounding of activations, and weights stored as integers.

Integer values are int64 here, whatever their type in the file: only their numbers count.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quantize.mil_arguments import Arguments, Function
from quantize.mil_program import unpack_bits


def _quantize(a: Arguments) -> Tensor:
    """Real to integer: clip(round(input / scale) + zero_point), ties to even."""
    x, scale, zero_point = _affine(a, "input")
    low, high = (-128, 127) if a.text("output_dtype") == "int8" else (0, 255)
    return (torch.round(x / scale) + zero_point).clamp(low, high).to(torch.int64)


def _dequantize(a: Arguments) -> Tensor:
    x, scale, zero_point = _affine(a, "input")
    return (x - zero_point) * scale


def _constexpr_affine_dequantize(a: Arguments) -> Tensor:
    x, scale, zero_point = _affine(a, "quantized_data")
    return (x - zero_point) * scale


def _affine(a: Arguments, data: str) -> tuple[Tensor, Tensor, Tensor]:
    """(data, scale, zero point) as reals; vectors stand along `axis`."""
    x, scale, zero_point = a.tensor(data), a.tensor("scale"), a.maybe("zero_point")
    zero_point = torch.zeros_like(scale) if zero_point is None else zero_point.float()
    along = [1] * x.ndim
    along[int(a.number("axis", 0))] = -1
    if scale.ndim:
        scale = scale.reshape(along)
    if zero_point.ndim:
        zero_point = zero_point.reshape(along)
    return x.float(), scale, zero_point


def _constexpr_blockwise_shift_scale(a: Arguments) -> Tensor:
    """scale * (data - offset), each scale for a block of the data."""
    data, scale, offset = a.tensor("data").float(), a.tensor("scale"), a.maybe("offset")
    offset = torch.zeros_like(scale) if offset is None else offset.float()
    for axis, size in enumerate(data.shape):
        times = size // scale.shape[axis]
        scale, offset = (one.repeat_interleave(times, axis) for one in (scale, offset))
    return scale * (data - offset)


def _constexpr_lut_to_dense(a: Arguments) -> Tensor:
    """Indices into a table: packed bits and one table, or (iOS 18) a table for each block."""
    indices, lut = a.tensor("indices"), a.tensor("lut").float()
    shape = a.maybe("shape")
    if shape is not None:
        sizes = a.ints("shape")
        packed = indices.to(torch.uint8).numpy()
        unpacked = unpack_bits(packed, int(math.log2(len(lut))), math.prod(sizes))
        return lut[torch.from_numpy(unpacked)].reshape(sizes)
    blocks, (palettes, vector) = lut.shape[:-2], lut.shape[-2:]
    block = torch.arange(math.prod(blocks)).reshape(blocks)
    for axis, size in enumerate(indices.shape):
        block = block.repeat_interleave(size // blocks[axis], axis)
    dense = lut.reshape(-1, palettes, vector)[block, indices]  # (*indices.shape, vector)
    if vector == 1:
        return dense.squeeze(-1)
    axis = int(a.number("vector_axis", 0)) % indices.ndim
    return dense.movedim(-1, axis + 1).flatten(axis, axis + 1)


INTEGER_OPERATIONS: dict[str, Function] = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    "constexpr_affine_dequantize": _constexpr_affine_dequantize,
    "constexpr_blockwise_shift_scale": _constexpr_blockwise_shift_scale,
    "constexpr_lut_to_dense": _constexpr_lut_to_dense,
}
