"""A .tflite or .onnx as a plain list of steps over numbered tensors, all that is counted upon.

Sizes that are left open, such as the batch, count as 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fiqa.errors import ArtifactError, MissingDependencyError
from quantize.delegation import Step
from quantize.flatbuffer import op_name, read_model, type_name

Shape = tuple[int, ...]

FLOATS = {"float": 32, "float32": 32, "float16": 16, "bfloat16": 16, "float64": 64, "double": 64}
INTEGERS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int4": 4, "uint4": 4, "int2": 2}
OTHERS = {"int32": 32, "uint32": 32, "int64": 64, "uint64": 64, "bool": 8}
BITS = FLOATS | INTEGERS | OTHERS

# Where weights stand among the inputs (scales and sizes beside them); other types: anywhere.
WEIGHT_PLACES = {
    "QuantizeLinear": (0,),
    "DequantizeLinear": (0,),
    "QLinearConv": (0, 3, 8),
    "QLinearMatMul": (0, 3),
    "Resize": (0,),
}
# 32-bit integers are sizes, axes and indices, but for quantised biases.
BIAS_PLACES = {
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "TRANSPOSE_CONV": 3,
    "DequantizeLinear": 0,
    "QLinearConv": 8,
}


@dataclass(frozen=True)
class Value:
    """A tensor. `storage` tells where a constant's bytes are: two tensors may share them."""

    shape: Shape | None
    dtype: str
    storage: int | None = None  # None for what is computed, or fed

    @property
    def elements(self) -> int | None:
        return None if self.shape is None else math.prod(self.shape)

    @property
    def size_bytes(self) -> int | None:
        bits = BITS.get(self.dtype)
        return None if self.elements is None or bits is None else -(-self.elements * bits // 8)


@dataclass(frozen=True)
class Graph:
    """`multiply_adds` has one number for each step, or None where a shape is not known."""

    steps: tuple[Step, ...]
    values: tuple[Value, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    multiply_adds: tuple[int | None, ...]


def read_tflite(data: bytes) -> Graph:
    """The main graph. Damaged bytes give an ArtifactError."""
    model = read_model(data)
    graph = model.subgraphs[0]
    values = tuple(_tflite_value(model, tensor) for tensor in graph.tensors)
    steps = []
    for operator in graph.operators:
        inputs = tuple(operator.inputs)  # -1: an optional one that is absent
        outputs = tuple(index for index in operator.outputs if index >= 0)
        dtype, weights = _step_type(values, inputs, outputs), _weight_type(values, inputs)
        steps.append(Step(op_name(model, operator), dtype, inputs, outputs, weights))
    adds = tuple(
        _counted(_tflite_adds, step, values, getattr(operator, "builtinOptions", None))
        for step, operator in zip(steps, graph.operators, strict=True)
    )
    return Graph(tuple(steps), values, tuple(graph.inputs), tuple(graph.outputs), adds)


def _tflite_value(model: Any, tensor: Any) -> Value:
    constant = model.buffers[tensor.buffer].data is not None
    return Value(tuple(tensor.shape), type_name(tensor), tensor.buffer if constant else None)


def _tflite_adds(step: Step, shapes: list[Shape], options: Any) -> int:
    out = math.prod(shapes[-1])
    if step.op in ("CONV_2D", "FULLY_CONNECTED"):  # (O, kh, kw, I) or (O, I)
        return out * math.prod(shapes[1][1:])
    if step.op == "DEPTHWISE_CONV_2D":  # (1, kh, kw, O)
        return out * math.prod(shapes[1][1:-1])
    if step.op == "TRANSPOSE_CONV":  # size, weights (O, kh, kw, I), picture
        return math.prod(shapes[2]) * math.prod(shapes[1][:-1])
    if step.op == "BATCH_MATMUL":
        return out * shapes[0][-2 if getattr(options, "adjX", False) else -1]
    return 0


def read_onnx(data: bytes) -> Graph:
    """The main graph, its functions written out. Damaged bytes give an ArtifactError."""
    model = _load_onnx(data)
    graph = model.graph
    known = _onnx_values(model)
    constants = {item.name for item in graph.initializer}
    numbers: dict[str, int] = {"": -1}
    steps, attributes = [], []
    for node in graph.node:
        for name in (*node.input, *node.output):
            numbers.setdefault(name, len(numbers) - 1)
        inputs = tuple(numbers[name] for name in node.input)
        outputs = tuple(numbers[name] for name in node.output if name)
        steps.append((node.op_type, inputs, outputs))
        attributes.append({item.name: item.i for item in node.attribute})
        if node.op_type == "Constant":
            constants.update(node.output)
    ends = [
        tuple(numbers.setdefault(item.name, len(numbers) - 1) for item in items)
        for items in ([i for i in graph.input if i.name not in constants], graph.output)
    ]
    values = tuple(
        Value(*known.get(name, (None, "unknown")), number if name in constants else None)
        for name, number in numbers.items()
        if number >= 0
    )
    typed = tuple(
        Step(op, _step_type(values, inputs, outputs), inputs, outputs)
        for op, inputs, outputs in steps
    )
    adds = (
        _counted(_onnx_adds, step, values, options)
        for step, options in zip(typed, attributes, strict=True)
    )
    return Graph(typed, values, ends[0], ends[1], tuple(adds))


def _load_onnx(data: bytes) -> Any:
    """The model with every open batch set to 1, functions inlined and shapes inferred."""
    try:
        import onnx
        from onnx import inliner, shape_inference
    except ImportError as error:
        raise MissingDependencyError.of("onnx", error, "onnx, which reads .onnx files") from error
    try:
        model = onnx.load_model_from_string(data)
        if model.functions:
            model = inliner.inline_local_functions(model)
        for item in model.graph.input:
            dimensions = item.type.tensor_type.shape.dim
            if len(dimensions) and not dimensions[0].HasField("dim_value"):
                dimensions[0].dim_value = 1
        del model.graph.value_info[:]  # they may name the open batch
        for item in model.graph.output:
            item.type.tensor_type.ClearField("shape")
        model = shape_inference.infer_shapes(model, data_prop=True)
        if not model.graph.node:
            raise ValueError("no nodes")
        return model
    except Exception as error:  # protobuf's and onnx's errors have no common base
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(
            f"a damaged ONNX model: {reason}",
            expected="a whole .onnx file",
            fix="export it again: python -m export.onnx --help",
        ) from error


def _onnx_values(model: Any) -> dict[str, tuple[Shape | None, str]]:
    import onnx

    def type_of(number: int) -> str:
        kinds = onnx.TensorProto.DataType
        return kinds.Name(number).lower() if number in kinds.values() else "unknown"

    known: dict[str, tuple[Shape | None, str]] = {}
    for item in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        tensor = item.type.tensor_type
        sizes = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
        whole = tensor.HasField("shape") and all(size >= 0 for size in sizes)
        known[item.name] = (tuple(sizes) if whole else None, type_of(tensor.elem_type))
    for item in model.graph.initializer:
        known[item.name] = (tuple(item.dims), type_of(item.data_type))
    return known


def _onnx_adds(step: Step, shapes: list[Shape], options: Any) -> int:
    out = math.prod(shapes[-1])
    if step.op in ("Conv", "ConvInteger"):  # (O, I / groups, kh, kw)
        return out * math.prod(shapes[1][1:])
    if step.op == "QLinearConv":
        return out * math.prod(shapes[3][1:])
    if step.op == "ConvTranspose":  # (I, O / groups, kh, kw)
        return math.prod(shapes[0]) * math.prod(shapes[1][1:])
    if step.op == "Gemm":
        return out * shapes[0][0 if options.get("transA") else 1]
    if step.op in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return out * shapes[0][-1]
    return 0


MULTIPLYING = frozenset(
    {
        *("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL"),
        *("Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "Gemm"),
        *("MatMul", "MatMulInteger", "QLinearMatMul"),
    }
)


def _counted(
    rule: Callable[[Step, list[Shape], Any], int],
    step: Step,
    values: tuple[Value, ...],
    options: Any,
) -> int | None:
    """The rule's count over the shapes of all inputs and the first output; None if unknown."""
    if step.op not in MULTIPLYING:
        return 0
    shapes = []
    for index in (*step.inputs, *step.outputs[:1]):
        shape = values[index].shape if index >= 0 else ()
        if shape is None:
            return None
        shapes.append(shape)
    try:
        return rule(step, shapes, options)
    except IndexError:  # fewer inputs or dimensions than the operator has
        return None


def _step_type(values: tuple[Value, ...], inputs: Shape, outputs: Shape) -> str:
    """float32 where any computed value is a float, else the first small integer, else "other"."""
    types = [
        values[index].dtype
        for index in (*inputs, *outputs)
        if index >= 0 and values[index].storage is None
    ]
    for family in (FLOATS, INTEGERS):
        for dtype in types:
            if dtype in family:
                return dtype
    return "other"


def _weight_type(values: tuple[Value, ...], inputs: Shape) -> str:
    """Of the second input, where it is a constant."""
    weights = values[inputs[1]] if len(inputs) > 1 and inputs[1] >= 0 else None
    return weights.dtype if weights is not None and weights.storage is not None else ""
