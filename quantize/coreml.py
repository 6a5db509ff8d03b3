"""Deployable graph to a Core ML package with 8-bit weights."""

from __future__ import annotations

from pathlib import Path

from quantize.convert_coreml import save_model, to_model
from quantize.coremltools_loader import load_coremltools, quiet
from quantize.deployable import Deployable


def weights_to_int8(deployable: Deployable, folder: Path) -> Path:
    """Weights symmetric per output channel, activations and arithmetic as in the fp16 package."""
    model = to_model(
        deployable.module, deployable.spec.size, precision="fp16", batch=deployable.batch
    )
    load_coremltools()
    with quiet():
        from coremltools.optimize import coreml

        config = coreml.OptimizationConfig(
            coreml.OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_channel")
        )
        small = coreml.linear_quantize_weights(model, config)
    package = folder / "body.mlpackage"
    save_model(small, package)
    return package
