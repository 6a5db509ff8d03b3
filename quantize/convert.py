"""Deployable graph to float .tflite: the one module that knows litert-torch."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fiqa.errors import ArtifactError, MissingDependencyError
from quantize.deployable import INPUT, OUTPUT, Deployable
from quantize.flatbuffer import flatten_biases, read_model, rename_io, to_bytes
from quantize.muted import muted


class ConversionError(ArtifactError):
    """A graph that a converter does not take."""


def to_tflite(deployable: Deployable) -> bytes:
    """The graph as a float32 flatbuffer, its input named image and its output score."""
    with muted():
        try:
            import litert_torch
        except ImportError as error:
            raise MissingDependencyError.of(
                "litert-torch", error, "the converter to TFLite"
            ) from error
        try:
            converted = litert_torch.convert(deployable.module, (deployable.example,))
        except Exception as error:  # the converter raises whatever its parts raise
            raise conversion_error("litert-torch", error) from error
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            converted.export(str(path))
            data = path.read_bytes()
    model = read_model(data)
    flatten_biases(model)
    rename_io(model, INPUT, OUTPUT)
    return to_bytes(model)


def conversion_error(converter: str, error: Exception) -> ConversionError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    return ConversionError(
        f"{converter} does not convert this network: {reason[:300]}",
        expected="operations that the converter knows",
        fix="choose a registered student (python -m train.fit_student --help)",
    )
