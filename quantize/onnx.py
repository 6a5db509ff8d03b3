"""Quantised graph to an .onnx with QDQ pairs: the one module that knows onnxruntime's quantiser.

Each tensor of the file is recognised by its values in the graph, and gets the range that the graph
was calibrated, corrected or trained with; what only the converter knows gets its true range over
the pictures. Weights are symmetric per output channel, biases int32.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fiqa.errors import MissingDependencyError
from quantize.convert_onnx import to_onnx
from quantize.deployable import INPUT, Deployable
from quantize.integer_places import LOW
from quantize.muted import muted
from quantize.recipes import Quantised
from quantize.recognition import LOOKS, Values, recognise
from quantize.simulation import few


def to_qdq_onnx(deployable: Deployable, quantised: Quantised, pictures: Tensor) -> bytes:
    """8-bit activations and weights between quantisers; the picture stays float."""
    data = to_onnx(dataclasses.replace(deployable, module=quantised.module))
    quantization = load_onnxruntime("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as name, muted():
        source, out = Path(name) / "float.onnx", Path(name) / "qdq.onnx"
        source.write_bytes(data)
        quantization.quantize_static(
            source, out, _Reader(pictures, deployable.batch),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": _overrides(data, quantised, pictures)},
        )  # fmt: skip
        return out.read_bytes()


def _overrides(data: bytes, quantised: Quantised, pictures: Tensor) -> dict[str, Any]:
    """Our ranges, in the words of onnxruntime's quantiser."""
    quantization = load_onnxruntime("onnxruntime.quantization")
    shown = few(pictures, LOOKS).float()
    ranges = recognise(_tensor_values(data, shown.numpy()), quantised, shown, {})
    return {
        name: [
            {
                "quant_type": quantization.QuantType.QUInt8,
                "scale": np.array(one.scale, np.float32),
                "zero_point": np.array(one.zero_point - LOW, np.uint8),
            }
        ]
        for name, one in ranges.items()
    }


def _tensor_values(data: bytes, shown: np.ndarray) -> dict[str, Values]:
    """Values of everything that the file's operators compute."""
    import onnx

    onnxruntime = load_onnxruntime()
    model = onnx.load_from_string(data)
    names = [name for node in model.graph.node for name in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    batch = session.get_inputs()[0].shape[0]
    found: dict[str, Values] = {}
    for picture in shown:
        values = session.run(None, {INPUT: np.repeat(picture[None], batch, 0)})
        for name, value in zip(names, values, strict=True):
            if value.dtype == np.float32:
                found.setdefault(name, []).append(value[:1])
    return found


def load_onnxruntime(module: str = "onnxruntime") -> Any:
    """onnxruntime, or a module inside it."""
    try:
        with muted():
            return import_module(module)
    except ImportError as error:
        raise MissingDependencyError.of(
            "onnxruntime", error, "the runtime and quantiser of ONNX models"
        ) from error


class _Reader:
    """Calibration pictures as onnxruntime's quantiser asks for them."""

    def __init__(self, pictures: Tensor, batch: int) -> None:
        self._next = self._feeds(pictures.numpy(), batch)

    @staticmethod
    def _feeds(pictures: Any, batch: int) -> Iterator[dict[str, Any]]:
        for picture in pictures:
            yield {INPUT: np.repeat(picture[None].astype(np.float32), batch, 0)}

    def get_next(self) -> dict[str, Any] | None:
        return next(self._next, None)
