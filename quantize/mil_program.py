"""A saved Core ML program as plain values: its operations, their arguments and constants.

The package's protobuf is parsed with the message classes that coremltools ships; weights are
read from the blob file here. Core ML itself, and its Mac, are not needed.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fiqa.errors import ArtifactError
from fiqa.mlpackage import model_file
from quantize.coremltools_loader import load_coremltools

BLOB_SENTINEL = 0xDEADBEEF
BLOB_HEADER = "<IIQQ"  # sentinel, type, size in bytes, offset of the data
RGB = 20  # ImageFeatureType.ColorSpace


class Constant(NamedTuple):
    """A value that stands in the file. Real numbers are float32 here, whole ones int64."""

    value: Tensor | str
    dtype: str  # as stored: "float16", "int8", "string", ...
    size_bytes: int = 0  # in the blob file; 0 where it stands in the protobuf


@dataclass(frozen=True)
class Operation:
    """One step. An argument is a list: of names of earlier outputs, or constants."""

    kind: str
    arguments: dict[str, tuple[str | Constant, ...]]
    outputs: tuple[str, ...]
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """The main function: one RGB picture of size x size in, one output."""

    name: str
    picture: str
    size: int
    output: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class ProgramFacts:
    """What a program is made of, constants apart: operations, types of results, weights."""

    operations: dict[str, int]  # kind: count; constexpr_* are weights decompressed at load
    results: dict[str, int]  # dtype: count of results of operations, constexpr_* left out
    weight_bytes: dict[str, int]  # dtype as stored: bytes in the blob file


def read_program(package: Path) -> Program:
    """Read the package's program, or say why it cannot be run."""
    model = load_coremltools("coremltools.proto.Model_pb2").Model()
    path = model_file(package)
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError, of whichever protobuf is installed
        raise _damaged(package, "its protobuf cannot be parsed") from error
    picture, size = _picture_input(model, package)
    functions = model.mlProgram.functions
    if "main" not in functions:
        raise _damaged(package, f"holds {model.WhichOneof('Type')} and no program 'main'")
    function = functions["main"]
    block = function.block_specializations[function.opset]
    reader = _Reader(package, path.parent)
    operations = tuple(reader.operation(item) for item in block.operations)
    return Program(str(package), picture, size, block.outputs[0], operations)


def program_facts(package: Path) -> ProgramFacts:
    """For the report that tells how much of a graph is integer."""
    operations = read_program(package).operations
    steps = [item for item in operations if item.kind != "const"]
    run = [item for item in steps if not item.kind.startswith("constexpr_")]
    constants = [value for item in operations for value in _constants(item)]
    weights: Counter[str] = Counter()
    for constant in constants:
        weights[constant.dtype] += constant.size_bytes
    return ProgramFacts(
        _sorted(Counter(item.kind for item in steps)),
        _sorted(Counter(dtype for item in run for dtype in item.dtypes)),
        _sorted(+weights),
    )


def unpack_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """`count` unsigned numbers of `bits` bits each, the least significant bits first."""
    stream = np.unpackbits(packed, bitorder="little")[: count * bits].reshape(count, bits)
    return stream.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))


def stored_tensor(data: bytes, dtype: str, shape: Sequence[int]) -> Tensor:
    """Bytes of the file as a tensor; TypeError or ValueError where they do not fit."""
    count = math.prod(shape)
    packed = re.fullmatch(r"(u?)int([12346])", dtype)
    if packed is None:
        stored = np.dtype(dtype)
        if stored.kind not in "fiub":  # ml_dtypes, once anybody imports it, adds others
            raise TypeError(f"numbers of type {dtype}")
        return _plain(np.frombuffer(data, stored.newbyteorder("<")).reshape(shape))
    bits = int(packed[2])
    if len(data) != math.ceil(count * bits / 8):
        raise ValueError("more or fewer bytes than numbers")
    values = unpack_bits(np.frombuffer(data, np.uint8), bits, count)
    if not packed[1]:
        values = np.where(values < 1 << (bits - 1), values, values - (1 << bits))
    return _plain(values.reshape(shape))


def _constants(operation: Operation) -> list[Constant]:
    values = (value for values in operation.arguments.values() for value in values)
    return [value for value in values if isinstance(value, Constant)]


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _picture_input(model: Any, package: Path) -> tuple[str, int]:
    inputs, outputs = model.description.input, model.description.output
    found = [item.type.WhichOneof("Type") for item in inputs]
    if found != ["imageType"] or len(outputs) != 1:
        raise _damaged(package, f"has {len(outputs)} outputs and inputs of type {found}")
    image = inputs[0].type.imageType
    if image.colorSpace != RGB or image.width != image.height:
        raise _damaged(package, f"takes no square RGB picture but {image.width}x{image.height}")
    return inputs[0].name, int(image.width)


class _Reader:
    """Turns protobuf messages into Operations; keeps blob files it has read."""

    def __init__(self, package: Path, folder: Path) -> None:
        self._types = load_coremltools("coremltools.proto.MIL_pb2").DataType
        self._package, self._folder = package, folder
        self._blobs: dict[str, bytes] = {}

    def operation(self, item: Any) -> Operation:
        arguments: dict[str, tuple[str | Constant, ...]] = {}
        for key, argument in item.inputs.items():
            arguments[key] = tuple(self._binding(one) for one in argument.arguments)
        for key, value in item.attributes.items():  # constants and constexpr_* have these
            if key != "name":
                arguments[key] = (self._constant(value),)
        dtypes = [self._dtype(one.type.tensorType) for one in item.outputs]
        names = [one.name for one in item.outputs]
        return Operation(item.type, arguments, tuple(names), tuple(dtypes))

    def _binding(self, binding: Any) -> str | Constant:
        if binding.WhichOneof("binding") == "name":
            return str(binding.name)
        return self._constant(binding.value)

    def _dtype(self, tensor: Any) -> str:
        return str(self._types.Name(tensor.dataType)).lower()

    def _constant(self, value: Any) -> Constant:
        kind = value.type.tensorType
        dtype = self._dtype(kind)
        shape = [int(one.constant.size) for one in kind.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            data = self._blob(value.blobFileValue.fileName, value.blobFileValue.offset)
            return Constant(self._tensor(data, dtype, shape), dtype, len(data))
        tensor = value.immediateValue.tensor
        content = getattr(tensor, tensor.WhichOneof("value") or "floats").values
        if dtype == "string":
            return Constant(str(content[0]), dtype)
        if isinstance(content, bytes):
            return Constant(self._tensor(content, dtype, shape), dtype)
        return Constant(_plain(np.array(content).reshape(shape)), dtype)

    def _blob(self, name: str, offset: int) -> bytes:
        """The bytes that a blob's 64-byte header at `offset` points to."""
        if name not in self._blobs:
            path = self._folder / name.removeprefix("@model_path/")
            inside = path.resolve().is_relative_to(self._package.resolve())
            if not inside or not path.is_file():
                raise _damaged(self._package, f"its weights {name} are missing")
            self._blobs[name] = path.read_bytes()
        data = self._blobs[name]
        if offset + struct.calcsize(BLOB_HEADER) <= len(data):
            sentinel, _, size, start = struct.unpack_from(BLOB_HEADER, data, offset)
            if sentinel == BLOB_SENTINEL and start + size <= len(data):
                return data[start : start + size]
        raise _damaged(self._package, f"{name} is cut short or damaged at byte {offset}")

    def _tensor(self, data: bytes, dtype: str, shape: list[int]) -> Tensor:
        try:
            return stored_tensor(data, dtype, shape)
        except (TypeError, ValueError) as error:
            reason = f"{len(data)} bytes are no {dtype} of shape {shape}"
            raise _damaged(self._package, reason) from error


def _plain(values: np.ndarray) -> Tensor:
    """bool as it is, reals as float32, integers as int64."""
    wide = {"f": np.float32, "b": np.bool_}.get(values.dtype.kind, np.int64)
    return torch.from_numpy(np.array(values, wide))


def _damaged(package: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{package} cannot be run: {reason}",
        expected="a whole Core ML program that takes one RGB picture and gives one output",
        fix="export it again: python -m export.coreml --help",
    )
