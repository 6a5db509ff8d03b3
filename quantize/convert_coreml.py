"""Deployable module -> Core ML package: the one place that asks coremltools to convert.

The package takes a picture (Core ML's image type, RGB) and gives one score. Its target is
iOS 17 / macOS 14: the first with integer activations, so that the float package and the INT8
one run on the same phones. The module is taken by torch.export: tracing fails on EdgeNeXt and on
TensorFlow-style padding with current numpy.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import fiqa
from fiqa.errors import ArtifactError, InputError
from fiqa.files import writing_folder
from fiqa.manifest import TensorSpec
from fiqa.mlpackage import model_file
from quantize.coremltools_loader import load_coremltools, quiet
from quantize.deployable import BYTE_CENTRE, INPUT, OUTPUT

Precision = Literal["fp32", "fp16"]

DESCRIPTION = "Face image quality: one score for a square face picture, higher is better"


def to_mlpackage(
    module: nn.Module,
    size: int,
    path: Path,
    *,
    precision: Precision = "fp32",
    batch: int = 1,
) -> None:
    """Convert and save a package without manifest and licence.

    module: in evaluation mode; (B, S, S, 3) float r = byte - 128 to (B,) or (B, 1) scores.
    precision: of weights and arithmetic; input and output stay as they are.
    """
    save_model(to_model(module, size, precision=precision, batch=batch), path)


def to_model(module: nn.Module, size: int, *, precision: Precision = "fp32", batch: int = 1) -> Any:
    """The same as a coremltools model in memory, as its weight quantisers take it."""
    if batch != 1:
        raise InputError(
            f"a Core ML package for {batch} pictures at once",
            expected="batch 1: Core ML's image inputs hold one picture",
            fix="pass several pictures to MLModel's own batch prediction",
        )
    coremltools = load_coremltools()
    shape = (1, 3, size, size)
    with quiet() as logged:
        try:
            return coremltools.convert(
                _export(module, torch.zeros(shape)),
                convert_to="mlprogram",
                inputs=[
                    coremltools.ImageType(
                        INPUT,
                        shape=shape,
                        bias=[-float(BYTE_CENTRE)] * 3,
                        color_layout=coremltools.colorlayout.RGB,
                    )
                ],
                outputs=[coremltools.TensorType(OUTPUT, dtype=np.float32)],
                compute_precision=_precision(coremltools, precision),
                minimum_deployment_target=coremltools.target.iOS17,
                skip_model_load=True,
            )
        except Exception as error:  # torch.export and coremltools raise many kinds
            raise _not_converted(error, logged) from error


def save_model(model: Any, path: Path) -> None:
    """Save a coremltools model as a package that names no clock and no person."""
    model.short_description = DESCRIPTION
    model.version = fiqa.__version__
    # The same module is to give the same package tomorrow.
    model.user_defined_metadata.pop("com.github.apple.coremltools.conversion_date", None)
    with writing_folder(path) as temporary, quiet():
        package = temporary / "model.mlpackage"
        model.save(str(package))
        for item in ("Manifest.json", "Data"):
            (package / item).rename(temporary / item)
        for leftover in package.iterdir():  # a map for ExecuTorch's debugger
            leftover.unlink()
        package.rmdir()


def set_licence(package: Path, licence: str) -> None:
    """Name the licence of the weights where Xcode shows it."""
    path = model_file(package)
    model = load_coremltools("coremltools.proto.Model_pb2").Model()
    model.ParseFromString(path.read_bytes())
    model.description.metadata.license = licence
    path.write_bytes(model.SerializeToString(deterministic=True))


def tensors(size: int) -> tuple[TensorSpec, TensorSpec]:
    """Input and output of such a package, as its manifest tells them."""
    picture = TensorSpec(INPUT, (1, size, size, 3), "image", "NHWC")
    return picture, TensorSpec(OUTPUT, (1, 1), "float32", "N1")


class _FromPicture(nn.Module):
    """(1, 3, S, S) as Core ML hands pictures over to what the deployable module takes.

    The module's own way back to channels first cancels this one in the converter.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, picture: Tensor) -> Tensor:
        return self.module(picture.permute(0, 2, 3, 1)).reshape(1, 1)


def _export(module: nn.Module, picture: Tensor) -> ExportedProgram:
    program = torch.export.export(_FromPicture(module), (picture,))
    return program.run_decompositions({torch.ops.aten.gelu.default: _gelu})


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """GELU by tanh, spelt out: coremltools 9 would silently write the exact one in its place.

    It looks for the kind among positional arguments, where torch.export does not put it.
    """
    if approximate == "none":
        return NotImplemented  # as it is
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1 + torch.tanh(inner))


def _precision(coremltools: Any, precision: Precision) -> Any:
    return {
        "fp32": coremltools.precision.FLOAT32,
        "fp16": coremltools.precision.FLOAT16,
    }[precision]


def _not_converted(error: Exception, logged: list[str]) -> ArtifactError:
    reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
    found = re.search(r"converting '([^']+)' op \(located at: '([^']*)'", " ".join(logged))
    where = f" at operation {found[1]!r}" if found else ""
    place = f" in {found[2]}" if found and found[2] else ""
    return ArtifactError(
        f"the network cannot be converted to Core ML: it fails{where}{place}: {reason}",
        expected="operations that torch.export and coremltools both know",
        fix="rewrite that layer, or export .tflite or .onnx instead",
    )
