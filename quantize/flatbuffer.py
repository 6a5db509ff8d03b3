"""Read .tflite flatbuffers as objects, mend what converters leave behind, and write them again.

What is written here has every constant inside the flatbuffer. ai-edge-quantizer puts constants
behind it (`Buffer.offset`), where some TFLite runtimes do not look: they run all the same and
give a constant score.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from fiqa.errors import ArtifactError, MissingDependencyError, ToolkitError
from fiqa.manifest import TFLITE_IDENTIFIER

ALIGNMENT = 16  # bytes: `Buffer.data` is declared force_align 16, kernels load whole vectors
BUILDER_MARGIN = 65536  # bytes beside the constants; the builder grows when that is too little
FULLY_CONNECTED_BIAS = 2  # its place among the operator's inputs


def schema() -> Any:
    """The generated classes of TFLite's schema."""
    return _module("ai_edge_litert.schema_py_generated")


def read_model(data: bytes) -> Any:
    """A .tflite as a `ModelT` that may be changed; damaged bytes give an ArtifactError.

    Constants are views into `data`, wherever they lay. What follows the flatbuffer, such as an
    embedded manifest, is left behind.
    """
    utils = _module("ai_edge_litert.tools.flatbuffer_utils")
    with _damage_told():
        _check_structure(_root(data), len(data))
        model = utils.read_model_from_bytearray(data)
        for buffer in model.buffers:
            if buffer.data is not None:
                buffer.data = np.frombuffer(buffer.data, np.uint8)
        model.metadataBuffer = None  # deprecated, and numbered before buffers were compacted
        _check_indices(model)
    return model


def to_bytes(model: Any) -> bytes:
    """The model as a flatbuffer with all constants inside, aligned as the schema asks."""
    packed = copy.copy(model)
    packed.buffers = [_InlineBuffer(buffer.data) for buffer in model.buffers]
    size = sum(len(buffer.data) for buffer in packed.buffers if buffer.data is not None)
    builder = _module("flatbuffers").Builder(size + BUILDER_MARGIN)
    with _damage_told():
        builder.Finish(packed.Pack(builder), file_identifier=TFLITE_IDENTIFIER)
    return bytes(builder.Output())


def has_outside_buffers(data: bytes) -> bool:
    """Whether constants (or large options of custom operators) lie behind the flatbuffer."""
    with _damage_told():
        model = _root(data)
        _check_structure(model, len(data))
        if any(model.Buffers(index).Offset() for index in range(model.BuffersLength())):
            return True
        return any(
            graph.Operators(index).LargeCustomOptionsOffset()
            for graph in map(model.Subgraphs, range(model.SubgraphsLength()))
            for index in range(graph.OperatorsLength())
        )


def flatten_biases(model: Any) -> int:
    """Give constant FULLY_CONNECTED biases of shape (1, 1, 1, C) the shape (C,); how many had it.

    litert-torch writes them so. Quantised per channel along the first axis, which has one
    element, they make a model that no interpreter opens.
    """
    changed = 0
    for graph in model.subgraphs:
        for operator in graph.operators:
            if op_name(model, operator) != "FULLY_CONNECTED":
                continue
            for index in operator.inputs[FULLY_CONNECTED_BIAS:][:1]:
                bias = graph.tensors[index]
                if index < 0 or model.buffers[bias.buffer].data is None or len(bias.shape) < 2:
                    continue
                bias.shape, bias.shapeSignature = [math.prod(bias.shape)], None
                changed += 1
    return changed


def input_and_output(model: Any) -> tuple[int, int]:
    """Numbers of the only input tensor and the only output tensor of the main graph."""
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ArtifactError(
            f"the graph has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs",
            expected="one picture in, one score out",
            fix="export a model that takes one picture and gives one score",
        )
    return graph.inputs[0], graph.outputs[0]


def rename_io(model: Any, input_name: str, output_name: str) -> None:
    """Name the only input and the only output, in the graph and in its signatures."""
    source, score = input_and_output(model)
    graph, names = model.subgraphs[0], {source: input_name, score: output_name}
    for index, tensor in enumerate(graph.tensors):
        if index in names:
            tensor.name = names[index]
        elif tensor_name(tensor) in names.values():  # ranges are kept by name: none twice
            tensor.name = f"{tensor_name(tensor)}_{index}"
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
                entry.name = names.get(entry.tensorIndex, entry.name)


def op_name(model: Any, operator: Any) -> str:
    """CONV_2D, ...; CUSTOM:name for operators that TFLite does not have."""
    kind = model.operatorCodes[operator.opcodeIndex]
    code = max(kind.builtinCode, kind.deprecatedBuiltinCode)
    name = _names("BuiltinOperator").get(code, f"UNKNOWN_{code}")
    return f"{name}:{_text(kind.customCode)}" if name == "CUSTOM" else name


def tensor_name(tensor: Any) -> str:
    return _text(tensor.name)


def type_name(tensor: Any) -> str:
    """float32, int8, ..."""
    return _names("TensorType").get(tensor.type, f"unknown_{tensor.type}").lower()


@cache
def _names(enumeration: str) -> dict[int, str]:
    values = vars(getattr(schema(), enumeration))
    return {value: name for name, value in values.items() if isinstance(value, int)}


class _InlineBuffer:
    """Packs like `BufferT`, whose own Pack aligns to 4 bytes and loops over plain bytes."""

    def __init__(self, data: Any) -> None:
        self.data = None if data is None else bytes(data)

    def Pack(self, builder: Any) -> int:
        generated = schema()
        if self.data is not None:
            builder.StartVector(1, len(self.data), ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            data = builder.EndVector()
        generated.BufferStart(builder)
        if self.data is not None:
            generated.BufferAddData(builder, data)
        return int(generated.BufferEnd(builder))


def _root(data: bytes) -> Any:
    if data[4:8] != TFLITE_IDENTIFIER:
        raise _damaged(f"{len(data)} bytes without TFLite's identifier")
    return schema().Model.GetRootAs(data, 0)


def _check_structure(model: Any, size: int) -> None:
    """Entries cannot outnumber bytes, and constants lie inside the file.

    Without this a damaged length sends the generated classes into loops of hours, and a
    damaged offset cuts a constant short without a word.
    """
    count = 0
    for length in _lengths(model):
        count += length
        if count > size:
            raise _damaged(f"{count} entries declared in {size} bytes")
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        end = buffer.Offset() + buffer.Size() if buffer.Offset() else buffer.DataLength()
        if end > size:
            raise _damaged(f"constant {index} ends at byte {end} of {size}")


def _lengths(model: Any) -> Iterator[int]:
    """Lengths of the vectors that are about to be read, each before its entries are visited."""
    yield model.BuffersLength()
    yield model.OperatorCodesLength()
    yield model.MetadataLength()
    yield model.SignatureDefsLength()
    for signature in map(model.SignatureDefs, range(model.SignatureDefsLength())):
        yield signature.InputsLength() + signature.OutputsLength()
    yield model.SubgraphsLength()
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        yield graph.InputsLength() + graph.OutputsLength()
        yield graph.TensorsLength()
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            yield tensor.ShapeLength() + tensor.ShapeSignatureLength()
            quantization = tensor.Quantization()
            if quantization is not None:
                yield quantization.ScaleLength() + quantization.ZeroPointLength()
        yield graph.OperatorsLength()
        for operator in map(graph.Operators, range(graph.OperatorsLength())):
            yield operator.InputsLength() + operator.OutputsLength()
            yield operator.IntermediatesLength() + operator.MutatingVariableInputsLength()


def _check_indices(model: Any) -> None:
    """Every number that refers to something refers to something that is there."""
    if not model.subgraphs or not model.operatorCodes:
        raise _damaged("a model without graph or operators")
    for graph in model.subgraphs:
        graph.tensors = graph.tensors or []
        graph.operators = graph.operators or []
        for place in ("inputs", "outputs"):
            setattr(graph, place, _plain(getattr(graph, place)))
            _check_range(getattr(graph, place), 0, len(graph.tensors), f"the graph's {place}")
        for tensor in graph.tensors:
            tensor.shape = _plain(tensor.shape)
            _check_range(tensor.shape, 0, math.inf, "a shape")
            _check_range([tensor.buffer], 0, len(model.buffers), "a tensor's buffer")
        for operator in graph.operators:
            operator.inputs, operator.outputs = _plain(operator.inputs), _plain(operator.outputs)
            _check_range([operator.opcodeIndex], 0, len(model.operatorCodes), "an operator's code")
            _check_range(operator.inputs, -1, len(graph.tensors), "an operator's inputs")
            _check_range(operator.outputs, -1, len(graph.tensors), "an operator's outputs")


def _check_range(values: list[int], low: int, end: float, what: str) -> None:
    for value in values:
        if not low <= value < end:
            raise _damaged(f"{what} name {value}, outside {low} to {end - 1:g}")


def _plain(values: Any) -> list[int]:
    """Vectors are arrays, lists, or None (or 0) where the file has none."""
    return [int(value) for value in values] if np.ndim(values) else []


def _text(name: bytes | str | None) -> str:
    """Flatbuffers give bytes, the object API text."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError.of(
            name, error, "ai-edge-litert and flatbuffers, which read and write .tflite files"
        ) from error


@contextmanager
def _damage_told() -> Iterator[None]:
    """Damaged bytes make the generated classes raise all kinds of errors."""
    try:
        yield
    except ToolkitError:
        raise
    except Exception as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error


def _damaged(found: str) -> ArtifactError:
    return ArtifactError(
        f"a damaged TFLite flatbuffer: {found}",
        expected="a whole .tflite file",
        fix="export it again: python -m export.tflite --help",
    )
