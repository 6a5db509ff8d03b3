"""INT8 artifacts for tests of what runs them; quantize/ makes those that are meant to be good."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from fiqa.engines import open_engine
from fiqa.manifest import manifest_in, read_artifact, split_artifact, write_artifact
from quantize.ai_edge import all_in_integers, quantise_by_use
from quantize.flatbuffer import op_name, read_model, schema, to_bytes


def write_int8(path: Path, source: Path, pictures: np.ndarray, *, keep_means: bool = False) -> Path:
    """A float .tflite with 8-bit weights and activations, calibrated on contract bytes."""
    data = read_artifact(source)
    manifest, (body, _) = manifest_in(data, source), split_artifact(data, source.name)
    body = body if keep_means else pooling_as_convolutions(body)
    reals = [manifest.preprocess.normalise(one[None]) for one in pictures]
    inline = quantise_by_use(body, all_in_integers(), reals)
    engine = open_engine(inline, "tflite", "auto", 1, path.name)
    tensors = {"inputs": (engine.input,), "outputs": (engine.output,)}
    changed = dataclasses.replace(manifest, recipe={"precision": "int8"}, **tensors)
    write_artifact(path, inline, changed)
    return path


def pooling_as_convolutions(body: bytes) -> bytes:
    """Means over the picture as depthwise convolutions with 1 / (height * width) everywhere.

    XNNPACK's integer means round ties otherwise in TensorFlow Lite 2.16 than in LiteRT 2.3, its
    convolutions alike: without means the two give the same bits.
    """
    model, fb = read_model(body), schema()
    graph = model.subgraphs[0]
    code = fb.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = fb.BuiltinOperator.DEPTHWISE_CONV_2D
    code.version = 3
    model.operatorCodes.append(code)
    for number, operator in enumerate(graph.operators):
        if op_name(model, operator) != "MEAN":
            continue
        _, height, width, channels = graph.tensors[operator.inputs[0]].shape
        weights = np.full((1, height, width, channels), 1 / (height * width), np.float32)
        bias = np.zeros(channels, np.float32)
        places = [_constant(model, f"pool_{number}_{one.ndim}", one) for one in (weights, bias)]
        options = fb.DepthwiseConv2DOptionsT()
        options.padding = fb.Padding.VALID
        options.strideH = options.strideW = options.depthMultiplier = 1
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs = [operator.inputs[0], *places]
        operator.builtinOptionsType = fb.BuiltinOptions.DepthwiseConv2DOptions
        operator.builtinOptions = options
    return to_bytes(model)


def _constant(model: Any, name: str, values: np.ndarray) -> int:
    tensor, buffer = schema().TensorT(), schema().BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.name, tensor.shape, tensor.buffer = name, list(values.shape), len(model.buffers) - 1
    tensor.type = schema().TensorType.FLOAT32
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1
