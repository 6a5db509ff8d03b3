"""Quantised graph to an .onnx with QDQ pairs: the one module that knows onnxruntime's quantiser.

Its own calibration takes true ranges over the same pictures, as ours does; weights are symmetric
per output channel, biases int32.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from quantize.convert_onnx import to_onnx
from quantize.deployable import INPUT, Deployable
from quantize.muted import muted
from quantize.recipes import Quantised


def to_qdq_onnx(deployable: Deployable, quantised: Quantised, pictures: Tensor) -> bytes:
    """8-bit activations and weights between quantisers; the picture stays float."""
    data = to_onnx(dataclasses.replace(deployable, module=quantised.module))
    with tempfile.TemporaryDirectory() as name, muted():
        from onnxruntime import quantization

        source, out = Path(name) / "float.onnx", Path(name) / "qdq.onnx"
        source.write_bytes(data)
        quantization.quantize_static(
            source, out, _Reader(pictures, deployable.batch),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )  # fmt: skip
        return out.read_bytes()


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
