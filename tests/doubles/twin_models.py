"""A small convolutional network in float and, with the same weights, in INT8: real kernels, quick.

Its scores depend on the picture and say nothing about it: for tests of equality and of counting.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fiqa.contract import PreprocessSpec
from fiqa.manifest import Manifest, write_artifact
from tests.doubles.graph_builder import GraphBuilder

SIZE, CHANNELS = 32, 16
WEIGHT_SCALES = {"first": 0.01, "deep": 0.01, "last": 0.01, "score": 8e-6}
# Of the activations, wide enough that few of them saturate; see `activation` for the types.
SCALES = {"image": 1.0, "first": 6.0, "deep": 12.0, "last": 20.0, "mean": 8.0, "score": 0.004}
SPEC = PreprocessSpec(size=SIZE, std=(1.0, 1.0, 1.0))


def write_twins(folder: Path, channels: int = CHANNELS) -> list[Path]:
    """float.tflite and int8.tflite."""
    paths = []
    for name, dtype in (("float", "float32"), ("int8", "int8")):
        manifest = Manifest(kind="tflite", model="twin", sha256="", preprocess=SPEC)
        write_artifact(folder / f"{name}.tflite", twin(dtype, channels), manifest)
        paths.append(folder / f"{name}.tflite")
    return paths


def twin(dtype: str, channels: int = CHANNELS) -> bytes:
    """CONV_2D, DEPTHWISE_CONV_2D, CONV_2D, MEAN, FULLY_CONNECTED."""
    b, rng, integer = GraphBuilder(), np.random.default_rng(0), dtype == "int8"
    half, relu = SIZE // 2, {"fusedActivationFunction": 1}

    def activation(name: str, shape: list[int]) -> int:
        index = b.tensor(name, shape, dtype, SCALES[name])
        if integer and name not in (
            "image",
            "score",
        ):  # after a ReLU all of the range is for positive values
            b.graph.tensors[index].quantization.zeroPoint = [-128]
        return index

    def weights(name: str, *shape: int, source: str) -> list[int]:
        values = rng.integers(-127, 128, shape).astype(np.int8)
        bias = rng.integers(-50, 50, shape[-1 if name == "deep" else 0]).astype(np.int32)
        scale = WEIGHT_SCALES[name] * SCALES[source]
        if integer:
            kernel = b.constant(f"{name}_w", values, WEIGHT_SCALES[name])
            return [kernel, b.constant(f"{name}_b", bias, scale)]
        real = values.astype(np.float32) * np.float32(WEIGHT_SCALES[name])
        offsets = bias.astype(np.float32) * np.float32(scale)
        return [b.constant(f"{name}_w", real), b.constant(f"{name}_b", offsets)]

    image = activation("image", [1, SIZE, SIZE, 3])
    first, deep = (activation(name, [1, half, half, channels]) for name in ("first", "deep"))
    last = activation("last", [1, half, half, channels])
    mean, score = activation("mean", [1, channels]), activation("score", [1, 1])
    strides = {"strideH": 1, "strideW": 1}
    b.op(
        "CONV_2D",
        [image, *weights("first", channels, 3, 3, 3, source="image")],
        first,
        3,
        table="Conv2DOptions",
        strideH=2,
        strideW=2,
        **relu,
    )
    b.op(
        "DEPTHWISE_CONV_2D",
        [first, *weights("deep", 1, 3, 3, channels, source="first")],
        deep,
        3,
        table="DepthwiseConv2DOptions",
        depthMultiplier=1,
        **strides,
        **relu,
    )
    b.op(
        "CONV_2D",
        [deep, *weights("last", channels, 1, 1, channels, source="deep")],
        last,
        3,
        table="Conv2DOptions",
        **strides,
        **relu,
    )
    axes = b.constant("axes", np.array([1, 2], np.int32))
    b.op("MEAN", [last, axes], mean, 2, table="ReducerOptions")
    b.op(
        "FULLY_CONNECTED",
        [mean, *weights("score", 1, channels, source="mean")],
        score,
        4,
        table="FullyConnectedOptions",
    )
    b.graph.inputs, b.graph.outputs = [image], [score]
    b.signature("image", "score")
    return b.pack()  # fmt: skip
