"""Quantised graph to an all-integer .tflite, with our own ranges in it.

litert-torch writes the float file, ai-edge-quantizer the integer one. In between, every tensor of
the file is recognised by its values in the graph, and gets the range that the graph was
calibrated, corrected or trained with.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fiqa.manifest import TensorSpec
from quantize.ai_edge import quantise_all
from quantize.convert import to_tflite
from quantize.deployable import INPUT, OUTPUT, Deployable
from quantize.flatbuffer import input_and_output, op_name, read_model, tensor_name, type_name
from quantize.integer_places import Range
from quantize.muted import muted
from quantize.recipes import Quantised
from quantize.recognition import LOOKS, Values, recognise
from quantize.simulation import few
from quantize.ties import avoid_ties

InputType = Literal["uint8", "int8", "float"]
MOVING = frozenset({"PAD", "PADV2", "RESHAPE", "TRANSPOSE", "MAX_POOL_2D", "SLICE", "SQUEEZE"})


def to_integer_tflite(
    deployable: Deployable, quantised: Quantised, pictures: Tensor, takes: InputType
) -> bytes:
    """All activations and weights in 8 bits; `pictures` are calibration pictures."""
    float_file = to_tflite(dataclasses.replace(deployable, module=quantised.module))
    clear = avoid_ties(quantised.module, quantised.ranges)
    ranges = tensor_ranges(float_file, dataclasses.replace(quantised, ranges=clear), pictures)
    return quantise_all(float_file, ranges, takes)


def tensor_ranges(float_file: bytes, quantised: Quantised, pictures: Tensor) -> dict[str, Range]:
    """The range of every float tensor that is computed, by its name in the file."""
    shown = few(pictures, LOOKS).float()
    found = recognise(
        _tensor_values(float_file, shown.numpy()), quantised, shown, _moved(float_file)
    )
    lost = sorted(_computed(float_file) - found.keys())
    if lost:
        return found | _measured(float_file, lost, pictures.numpy())
    return found


def tensors_of(data: bytes) -> tuple[TensorSpec, TensorSpec]:
    """Input and output of the file as it was written."""
    model = read_model(data)
    source, score = (model.subgraphs[0].tensors[index] for index in input_and_output(model))
    return _spec(source, INPUT, "NHWC"), _spec(score, OUTPUT, "N1")


def _spec(tensor: Any, name: str, layout: str) -> TensorSpec:
    shape, dtype = tuple(tensor.shape), type_name(tensor)
    if dtype == "float32":
        return TensorSpec(name, shape, dtype, layout)
    scale, zero = tensor.quantization.scale[0], tensor.quantization.zeroPoint[0]
    return TensorSpec(name, shape, dtype, layout, float(scale), int(zero))


# ---------------------------------------------------------------- values in the file


def _tensor_values(float_file: bytes, shown: NDArray[np.float32]) -> dict[str, Values]:
    """Values of the tensors that operators compute, in plain kernels without delegate."""
    found: dict[str, Values] = {}
    for name, value in _runs(float_file, shown):
        found.setdefault(name, []).append(value)
    return found


def _measured(float_file: bytes, names: list[str], pictures: NDArray[Any]) -> dict[str, Range]:
    """True ranges of tensors that only the converter knows."""
    extent = dict.fromkeys(names, (0.0, 0.0))
    for name, value in _runs(float_file, pictures.astype(np.float32)):
        if name in extent:
            low, high = extent[name]
            extent[name] = min(low, float(value.min())), max(high, float(value.max()))
    return {name: Range.holding(*one) for name, one in extent.items()}


def _runs(float_file: bytes, pictures: NDArray[np.float32]) -> Any:
    """(tensor, value) of every picture and every computed float tensor."""
    with muted():
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        interpreter = Interpreter(
            model_content=float_file,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
    computed = _computed(float_file)
    details = [one for one in interpreter.get_tensor_details() if one["name"] in computed]
    source = interpreter.get_input_details()[0]
    for picture in pictures:
        batch = np.repeat(picture[None], source["shape"][0], 0)
        interpreter.set_tensor(source["index"], batch)
        interpreter.invoke()
        for one in details:
            yield one["name"], interpreter.get_tensor(one["index"])[: 1 if len(batch) > 1 else None]


def _computed(float_file: bytes) -> set[str]:
    """Names of the float tensors that are the picture or come out of an operator."""
    model = read_model(float_file)
    graph = model.subgraphs[0]
    indices = {index for operator in graph.operators for index in operator.outputs}
    indices.update(graph.inputs)
    tensors = [graph.tensors[index] for index in sorted(indices)]
    return {tensor_name(one) for one in tensors if type_name(one) == "float32"}


def _moved(float_file: bytes) -> dict[str, str]:
    """What operators only move, by the name it gets: it keeps its integers."""
    model = read_model(float_file)
    graph = model.subgraphs[0]
    return {
        tensor_name(graph.tensors[operator.outputs[0]]): tensor_name(
            graph.tensors[operator.inputs[0]]
        )
        for operator in graph.operators
        if op_name(model, operator) in MOVING
    }
