"""Float .tflite to smaller ones: the one module that knows ai-edge-quantizer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fiqa.errors import MissingDependencyError
from quantize.flatbuffer import read_model, to_bytes
from quantize.integer_places import Range
from quantize.muted import muted

EVERYTHING = ".*"  # regular expression over tensor names
Recipe = list[dict[str, Any]]


def cast_to_fp16(data: bytes) -> bytes:
    """Weights stored as float16 and widened when the model is loaded: half the size."""
    return _quantized(data, _fp16_recipe())


def weights_to_int8(data: bytes) -> bytes:
    """Weights in 8 bits, activations float and rounded as they come: TFLite's dynamic range."""
    return _quantized(data, load_quantiser().recipe.dynamic_wi8_afp32())


def quantise_all(data: bytes, ranges: Mapping[str, Range], takes: str) -> bytes:
    """Everything in 8 bits, activations by `ranges`; the picture as uint8, int8 or float."""
    aeq = load_quantiser()
    manager = aeq.recipe_manager.RecipeManager()
    manager.add_static_config(
        regex=EVERYTHING,
        operation_name=aeq.qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    rules = manager.get_quantization_recipe()
    picture = copy.deepcopy(rules[0]) | {"operation": "INPUT"}
    if takes == "uint8":
        picture["op_config"]["activation_tensor_config"]["dtype"] = "UINT"
        rules.append(picture)
    elif takes == "float":
        picture["algorithm_key"] = aeq.algorithm_manager.AlgorithmName.NO_QUANTIZE
        rules.append(picture)
    return _quantized(data, rules, {name: _as_statistics(one) for name, one in ranges.items()})


def all_in_integers() -> Recipe:
    """Weights and activations in 8 bits, wherever the quantiser knows how."""
    load_quantiser()
    from ai_edge_quantizer import recipe

    return list(recipe.static_wi8_ai8())


def quantise_by_use(body: bytes, recipe: Recipe, pictures: Sequence[np.ndarray]) -> bytes:
    """By a recipe, ranges as wide as these inputs make them; the input is called "image"."""
    with muted():
        quantizer = load_quantiser().quantizer.Quantizer(bytearray(body))
        quantizer.load_quantization_recipe(recipe)
        found = [quantizer.calibrate({"serving_default": [{"image": one}]}) for one in pictures]
    return _quantized(
        body, recipe, {name: _widest([one[name] for one in found]) for name in found[0]}
    )


def _widest(ranges: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all pictures; the quantiser's own average cuts off what is rare."""
    if "min" not in ranges[0]:
        return ranges[0]
    ends = {"min": np.minimum.reduce, "max": np.maximum.reduce}
    return ranges[0] | {end: pick([one[end] for one in ranges]) for end, pick in ends.items()}


def _as_statistics(covered: Range) -> dict[str, Any]:
    return {
        name: np.full((1, 1, 1, 1), value, np.float32)
        for name, value in (("min", covered.low), ("max", covered.high))
    }


def _fp16_recipe() -> Recipe:
    aeq = load_quantiser()
    manager = aeq.recipe_manager.RecipeManager()
    manager.add_quantization_config(
        regex=EVERYTHING,
        operation_name=aeq.qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=aeq.qtyping.OpQuantizationConfig(
            weight_tensor_config=aeq.qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=aeq.qtyping.TensorDataType.FLOAT
            ),
            compute_precision=aeq.qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=aeq.algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    recipe: Recipe = manager.get_quantization_recipe()
    return recipe


def _quantized(data: bytes, recipe: Recipe, ranges: dict[str, Any] | None = None) -> bytes:
    aeq = load_quantiser()
    with muted():
        quantizer = aeq.quantizer.Quantizer(bytearray(data))
        quantizer.load_quantization_recipe(recipe)
        result = quantizer.quantize(ranges, enable_progress_report=False)
    return to_bytes(read_model(bytes(result.quantized_model)))  # constants inside again


def load_quantiser() -> Any:
    """ai-edge-quantizer, or an error that tells how to get it."""
    try:
        with muted():
            import ai_edge_quantizer
            import ai_edge_quantizer.algorithm_manager
            import ai_edge_quantizer.quantizer
            import ai_edge_quantizer.recipe
            import ai_edge_quantizer.recipe_manager
    except ImportError as error:
        raise MissingDependencyError.of(
            "ai-edge-quantizer", error, "the quantiser of TFLite models"
        ) from error
    return ai_edge_quantizer
