"""Integer files: what the simulation says is what the runtimes give."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("litert_torch", reason="needs the extra `export`")

from fiqa.engines import open_engine  # noqa: E402
from fiqa.errors import MissingDependencyError  # noqa: E402
from fiqa.metrics import srcc  # noqa: E402
from quantize import tflite  # noqa: E402
from quantize.ai_edge import quantise_all  # noqa: E402
from quantize.convert import to_tflite  # noqa: E402
from quantize.deployable import BYTE_CENTRE, Deployable  # noqa: E402
from quantize.flatbuffer import has_outside_buffers, op_name, read_model  # noqa: E402
from quantize.graph import tflite_facts  # noqa: E402
from quantize.integer_places import Range  # noqa: E402
from quantize.recipes import Quantised, faithful, quantise  # noqa: E402
from quantize.simulation import scores_of  # noqa: E402
from quantize.tflite import tensor_ranges, tensors_of  # noqa: E402
from quantize.ties import NEAR_TIE, nearest_tie, products  # noqa: E402
from tests.doubles.planted import calm, pictures, plant_outliers  # noqa: E402


@pytest.fixture(scope="module")
def network() -> Deployable:
    found = calm()
    plant_outliers(found)
    return found


@pytest.fixture(scope="module")
def quantised(network: Deployable) -> Quantised:
    return quantise(network.module, network.example, pictures(), faithful())


@pytest.fixture(scope="module")
def float_file(network: Deployable, quantised: Quantised) -> bytes:
    return to_tflite(dataclasses.replace(network, module=quantised.module))


@pytest.fixture(scope="module")
def integer_file(float_file: bytes, quantised: Quantised) -> bytes:
    return quantise_all(float_file, tensor_ranges(float_file, quantised, pictures()), "uint8")


def run(data: bytes) -> np.ndarray:
    engine = open_engine(data, "tflite", "auto", 1, "test")
    picture, score = tensors_of(data)
    found = []
    for one in pictures().numpy():
        shown = one if picture.dtype == "int8" else one + BYTE_CENTRE
        found.append(engine.run(shown.astype(picture.dtype)[None]).ravel()[0])
    return score.scale * (np.array(found, float) - score.zero_point)


def test_every_tensor_of_the_file_is_recognised_in_the_graph(
    float_file: bytes, quantised: Quantised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "_measured", lambda *_: pytest.fail("a tensor was not found"))
    found = tensor_ranges(float_file, quantised, pictures())
    assert len(found) > 50
    assert {one.scale for one in found.values()} <= {one.scale for one in quantised.ranges.values()}


def test_a_tensor_that_only_the_converter_knows_is_measured(
    float_file: bytes, quantised: Quantised
) -> None:
    """With half the ranges forgotten, the file's own values give the same ones or narrower."""
    whole = tensor_ranges(float_file, quantised, pictures())
    half = dict(list(quantised.ranges.items())[::2])
    found = tensor_ranges(float_file, dataclasses.replace(quantised, ranges=half), pictures())
    assert set(found) == set(whole)
    for name, covered in found.items():
        assert covered.high >= 0.6 * whole[name].high


def test_simulated_and_real_scores_agree(quantised: Quantised, integer_file: bytes) -> None:
    simulated = scores_of(quantised.module, pictures(), quantised.walk).numpy()
    real = run(integer_file)
    assert simulated.std() > 0.02
    # Random weights magnify single steps; a trained student reaches .999.
    assert srcc(simulated.astype(float), real) >= 0.96
    assert np.abs(simulated - real).mean() < 4 * tensors_of(integer_file)[1].scale


def test_the_file_is_integer_throughout_and_keeps_constants_inside(integer_file: bytes) -> None:
    facts = tflite_facts(integer_file)
    assert facts.float_ops == facts.transposes == 0
    assert facts.partitions == 1
    assert {one.op for one in facts.outside} <= {"QUANTIZE"}  # of the camera's bytes
    assert not has_outside_buffers(integer_file)
    picture, score = tensors_of(integer_file)
    assert (picture.dtype, picture.scale, picture.zero_point) == ("uint8", 1.0, 128)
    assert score.dtype == "int8"


def test_the_ranges_in_the_file_are_ours(
    float_file: bytes, integer_file: bytes, quantised: Quantised
) -> None:
    ranges = tensor_ranges(float_file, quantised, pictures())
    checked = 0
    for tensor in read_model(integer_file).subgraphs[0].tensors:
        covered = ranges.get(tensor.name.decode())
        if covered is None or tensor.quantization is None or tensor.quantization.scale is None:
            continue
        assert tensor.quantization.scale[0] == pytest.approx(covered.scale, rel=1e-5)
        checked += 1
    assert checked > 50


def test_no_product_in_the_file_comes_near_a_tie(
    network: Deployable, float_file: bytes, quantised: Quantised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "to_tflite", lambda _: float_file)
    model = read_model(tflite.to_integer_tflite(network, quantised, pictures(), "int8"))
    tensors, apart = model.subgraphs[0].tensors, []
    for operator in model.subgraphs[0].operators:
        if op_name(model, operator) == "MUL":
            first, second, out = (
                covered(tensors[index]) for index in (*operator.inputs, *operator.outputs)
            )
            apart.append(nearest_tie(out, products(first, second)))
    assert len(apart) > 10
    assert min(apart) > NEAR_TIE / 2  # scales are float32 there


def covered(tensor: Any) -> Range:
    """What the tensor's scale and zero point say it covers."""
    scale, zero = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    return Range((-128 - zero) * scale, (127 - zero) * scale)


def test_int8_input_takes_shifted_bytes_and_scores_the_same(
    float_file: bytes, integer_file: bytes, quantised: Quantised
) -> None:
    signed = quantise_all(float_file, tensor_ranges(float_file, quantised, pictures()), "int8")
    picture, _ = tensors_of(signed)
    assert (picture.dtype, picture.scale, picture.zero_point) == ("int8", 1.0, 0)
    np.testing.assert_array_equal(run(signed), run(integer_file))


def test_qdq_onnx_follows_the_simulation(network: Deployable, quantised: Quantised) -> None:
    from quantize.onnx import to_qdq_onnx

    data = to_qdq_onnx(network, quantised, pictures())
    engine = open_engine(data, "onnx", "auto", 1, "test")
    found = [engine.run(one.astype(np.float32)[None]).ravel()[0] for one in pictures().numpy()]
    simulated = scores_of(quantised.module, pictures(), quantised.walk).numpy()
    wanted = scores_of(network.module, pictures()).numpy()
    assert len(data) < 0.5 * sum(one.numel() * 4 for one in network.module.parameters())
    assert np.abs(np.array(found) - wanted).mean() < 0.25 * wanted.std()
    assert srcc(simulated.astype(float), np.array(found, float)) >= 0.96


def test_qdq_onnx_has_the_ranges_of_the_simulation(
    network: Deployable, quantised: Quantised
) -> None:
    import onnx
    from onnx import numpy_helper

    from quantize.onnx import to_qdq_onnx

    graph = onnx.load_from_string(to_qdq_onnx(network, quantised, pictures())).graph
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    scales = {
        float(held[node.input[1]])
        for node in graph.node
        if node.op_type == "QuantizeLinear" and held[node.input[1]].ndim == 0
    }
    ours = np.array([one.scale for one in quantised.ranges.values()], np.float32)
    known = [scale for scale in scales if np.isclose(ours, scale, rtol=1e-5).any()]
    assert len(known) > 0.9 * len(scales) > 20


def test_core_ml_weights_in_8_bits_move_scores_little(tmp_path: Path) -> None:
    pytest.importorskip("coremltools", reason="needs coremltools")
    from quantize.coreml import weights_to_int8
    from quantize.mil_executor import MilProgram

    plain = calm()
    package = weights_to_int8(plain, tmp_path)
    shown = pictures(8)
    found = MilProgram.load(package).run((shown + BYTE_CENTRE).numpy().astype(np.uint8))
    wanted = scores_of(plain.module, shown).numpy()
    assert 0 < np.abs(found - wanted).mean() < 0.01


def test_core_ml_rounds_activations_as_the_simulation_does(
    network: Deployable, quantised: Quantised, tmp_path: Path
) -> None:
    """Its arithmetic between the roundings is half precision, so that a step may differ."""
    pytest.importorskip("coremltools", reason="needs coremltools")
    from quantize.coreml import everything_to_int8
    from quantize.mil_executor import MilProgram
    from quantize.mil_program import program_facts

    package = everything_to_int8(network, quantised, tmp_path)
    found = MilProgram.load(package).run((pictures() + BYTE_CENTRE).numpy().astype(np.uint8))
    simulated = scores_of(quantised.module, pictures(), quantised.walk).numpy()
    assert np.abs(found - simulated).mean() < 0.25 * simulated.std()
    assert program_facts(package).operations["quantize"] >= len(quantised.ranges)


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from quantize.onnx import load_onnxruntime

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"fiqa-edge\[export\]"):
        load_onnxruntime()
