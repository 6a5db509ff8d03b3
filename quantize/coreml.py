"""Quantised graph to a Core ML package: 8-bit weights alone, or activations too."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

from torch.fx import GraphModule

from quantize.aten import call, tidy
from quantize.convert_coreml import save_model, to_model
from quantize.coremltools_loader import load_coremltools, quiet
from quantize.deployable import Deployable
from quantize.integer_places import HIGH, LOW, stored_nodes
from quantize.recipes import Quantised


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


def everything_to_int8(deployable: Deployable, quantised: Quantised, folder: Path) -> Path:
    """Weights so, and activations rounded at the same places and by the same ranges as in the
    integer .tflite; Core ML decides which of its kernels compute in integers."""
    rounding = dataclasses.replace(deployable, module=_with_rounding(quantised))
    return weights_to_int8(rounding, folder)


def _with_rounding(quantised: Quantised) -> GraphModule:
    """The graph with a quantise and a dequantise operator behind every stored value."""
    import torch.ao.quantization.fx._decomposed

    operators = torch.ops.quantized_decomposed
    graph = copy.deepcopy(quantised.module)
    for node in stored_nodes(graph):
        covered = quantised.ranges[node.name]
        readers = list(node.users)
        how = (covered.scale, covered.zero_point, LOW, HIGH, torch.int8)
        small = call(graph, node.next, operators.quantize_per_tensor.default, node, *how)
        wide = call(graph, small.next, operators.dequantize_per_tensor.default, small, *how)
        for reader in readers:
            reader.replace_input_with(node, wide)
    tidy(graph)
    return graph
