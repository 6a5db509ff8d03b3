"""Facts about a graph are numbers one can check by hand, or against LiteRT itself."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from fiqa.errors import ArtifactError
from fiqa.records import to_plain
from quantize.delegation import NO_INTEGER_KERNEL, Delegation, OutsideOp, Step, why_outside
from quantize.graph import MANY_OUTSIDE, GraphFacts, describe, onnx_facts, tflite_facts
from tests.doubles.graph_builder import GraphBuilder
from tests.doubles.tiny_models import onnx_body, tflite_body

BINARY = {"BATCH_MATMUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"}


Facts = Callable[[bytes], GraphFacts]


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Facts:
    """tflite_facts without the process that asks LiteRT, which takes half a second."""
    unasked = Delegation(None, unchecked="not asked")
    monkeypatch.setattr("quantize.graph.delegation_of", lambda *_: unasked)
    return tflite_facts


@cache
def asked(data: bytes) -> GraphFacts:
    return tflite_facts(data)


def ones(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(shape, dtype)


def small_network() -> bytes:
    """8 x 8 picture, CONV 4 x 3 x 3 stride 2, DEPTHWISE 3 x 3, HARD_SWISH, MEAN, dense to 2."""
    b = GraphBuilder()
    picture, conv = b.tensor("picture", [1, 8, 8, 3]), b.tensor("conv", [1, 4, 4, 4])
    deep, act = b.tensor("deep", [1, 4, 4, 4]), b.tensor("act", [1, 4, 4, 4])
    mean, score = b.tensor("mean", [1, 4]), b.tensor("score", [1, 2])
    inputs = [picture, b.constant("w", ones(4, 3, 3, 3)), b.constant("b", ones(4))]
    b.op("CONV_2D", inputs, conv, table="Conv2DOptions", strideH=2, strideW=2)
    inputs = [conv, b.constant("dw", ones(1, 3, 3, 4)), b.constant("db", ones(4))]
    options = {"strideH": 1, "strideW": 1, "depthMultiplier": 1}
    b.op("DEPTHWISE_CONV_2D", inputs, deep, table="DepthwiseConv2DOptions", **options)
    b.op("HARD_SWISH", [deep], act)
    axes = b.constant("axes", np.array([1, 2], np.int32))
    b.op("MEAN", [act, axes], mean, table="ReducerOptions")
    inputs = [mean, b.constant("fw", ones(2, 4)), b.constant("fb", ones(2))]
    b.op("FULLY_CONNECTED", inputs, score, table="FullyConnectedOptions")
    return b.finish([picture], [score])


def test_multiply_adds_and_parameters_are_those_counted_by_hand(count: Facts) -> None:
    facts = count(small_network())
    assert facts.multiply_adds == 4 * 4 * 4 * 27 + 4 * 4 * 4 * 9 + 2 * 4
    assert facts.parameters == (4 * 27 + 4) + (4 * 9 + 4) + (2 * 4 + 2)  # no axes
    assert facts.size_bytes == len(small_network())


def test_operators_are_counted_by_type_and_arithmetic(count: Facts) -> None:
    facts = count(small_network())
    names = "CONV_2D DEPTHWISE_CONV_2D HARD_SWISH MEAN FULLY_CONNECTED"
    assert facts.ops == dict.fromkeys(names.split(), 1)
    assert (facts.float_ops, facts.integer_ops, facts.conversion_ops) == (5, 0, 0)


def test_a_float_network_runs_in_one_partition_with_nothing_outside() -> None:
    facts = asked(small_network())
    assert (facts.partitions, facts.outside, facts.unchecked) == (1, (), {})
    assert facts.fully_delegated is True


def test_peak_is_the_widest_moment_with_inputs_and_outputs_of_the_operator(count: Facts) -> None:
    # CONV_2D: 8*8*3 floats in, 4*4*4 floats out; later moments hold 2 x 4*4*4
    assert count(small_network()).peak_activation_bytes == 4 * (8 * 8 * 3 + 4 * 4 * 4)


def chain(dtype: str = "float32") -> GraphBuilder:
    """x, NEG, NEG, NEG, ADD of the last and x; the middle ones have 100 elements."""
    b = GraphBuilder()
    shapes = {"x": [1, 100], "a": [1, 100], "b": [1, 100], "c": [1, 100], "y": [1, 100]}
    tensors = [b.tensor(name, shape, dtype) for name, shape in shapes.items()]
    for index in range(3):
        b.op("NEG", [tensors[index]], tensors[index + 1])
    b.op("ADD", [tensors[0], tensors[3]], tensors[4], table="AddOptions")
    b.finish([tensors[0]], [tensors[4]])
    return b


def test_a_tensor_read_later_stays_in_the_peak(count: Facts) -> None:
    assert count(chain().pack()).peak_activation_bytes == 3 * 400  # x, input, output


def test_small_types_take_their_own_bytes(count: Facts) -> None:
    assert count(chain("int8").pack()).peak_activation_bytes == 3 * 100
    assert count(chain("int16").pack()).peak_activation_bytes == 3 * 200


def test_batch_matmul_and_transposed_convolution_count_by_their_shapes(count: Facts) -> None:
    b = GraphBuilder()
    left, right = b.tensor("l", [2, 5, 7]), b.tensor("r", [2, 7, 3])
    b.op("BATCH_MATMUL", [left, right], b.tensor("m", [2, 5, 3]), table="BatchMatMulOptions")
    flipped = b.tensor("f", [2, 7, 5])
    options = {"table": "BatchMatMulOptions", "adjX": True}
    b.op("BATCH_MATMUL", [flipped, right], b.tensor("n", [2, 5, 3]), **options)
    small, size = b.tensor("s", [1, 4, 4, 6]), b.constant("z", np.array([1, 8, 8, 2], np.int32))
    weights, big = b.constant("w", ones(2, 3, 3, 6)), b.tensor("big", [1, 8, 8, 2])
    options = {"table": "TransposeConvOptions", "strideH": 2, "strideW": 2}
    b.op("TRANSPOSE_CONV", [size, weights, small], big, **options)
    facts = count(b.finish([left, right, flipped, small], [2, 4, big]))
    assert facts.multiply_adds == 2 * 5 * 3 * 7 * 2 + 4 * 4 * 6 * 9 * 2
    assert facts.parameters == 2 * 3 * 3 * 6


def island(dtype: str = "int8") -> bytes:
    """LOGISTIC, HARD_SWISH, LEAKY_RELU: the middle one is left out in integers."""
    b = GraphBuilder()
    tensors = [b.tensor(name, [1, 4, 4, 8], dtype) for name in "xyzr"]
    b.graph.tensors[1].quantization.scale = [1 / 256]
    b.graph.tensors[1].quantization.zeroPoint = [-128]
    b.op("LOGISTIC", [tensors[0]], tensors[1], version=2)
    b.op("HARD_SWISH", [tensors[1]], tensors[2])
    b.op("LEAKY_RELU", [tensors[2]], tensors[3], 2, table="LeakyReluOptions", alpha=0.1)
    return b.finish([tensors[0]], [tensors[3]])


def test_int8_hard_swish_splits_the_graph_and_is_named_with_its_reason() -> None:
    facts = asked(island())
    assert facts.partitions == 2
    assert facts.outside == (OutsideOp("HARD_SWISH", 1, "HARD_SWISH int8 has no XNNPACK kernel"),)
    assert facts.fully_delegated is False
    assert (facts.float_ops, facts.integer_ops) == (0, 3)


def all_integer_outcasts() -> GraphBuilder:
    """Each operator of NO_INTEGER_KERNEL once in int8, and a LEAKY_RELU that is taken."""
    b = GraphBuilder()
    x, y, last = b.tensor("x", [1, 4, 4, 8], "int8"), b.tensor("y", [1, 4, 4, 8], "int8"), []
    for name in (*sorted(NO_INTEGER_KERNEL), "LEAKY_RELU"):
        options: dict[str, object] = {"version": 4 if name == "BATCH_MATMUL" else 2}
        if name == "BATCH_MATMUL":
            options |= {"table": "BatchMatMulOptions", "adjY": True}
        if name == "SOFTMAX":
            options |= {"table": "SoftmaxOptions", "beta": 1.0}
        if name in ("NEG", "HARD_SWISH", "SQRT"):
            options["version"] = 1
        if name == "DIV":
            options["table"] = "DivOptions"
        if name == "LEAKY_RELU":
            options |= {"table": "LeakyReluOptions", "alpha": 0.1}
        shape = [1, 4, 4, 4] if name == "BATCH_MATMUL" else [1, 4, 4, 8]
        last.append(b.tensor(name, shape, "int8", 1 / 256 if name == "SOFTMAX" else None))
        if name == "SOFTMAX":
            b.graph.tensors[last[-1]].quantization.zeroPoint = [-128]
        b.op(name, [x, y] if name in BINARY else [x], last[-1], **options)
    b.finish([x, y], last)
    return b


def test_the_table_of_reasons_holds_in_the_litert_that_is_installed() -> None:
    facts = asked(all_integer_outcasts().pack())
    assert {item.op for item in facts.outside} == NO_INTEGER_KERNEL
    assert {item.why for item in facts.outside} == {
        f"{name} int8 has no XNNPACK kernel" for name in NO_INTEGER_KERNEL
    }


@pytest.mark.parametrize(
    "data",
    [island(), small_network(), all_integer_outcasts().pack(), chain("int16").pack()],
    ids=["island", "float", "outcasts", "int16"],
)
def test_outside_operators_agree_with_one_delegate_node_per_operator(data: bytes) -> None:
    """LiteRT can be told not to fuse: then each operator taken is one delegate node."""
    options = {"num_threads": 1, "experimental_disable_delegate_node_fusion": True}
    interpreter = Interpreter(model_content=data, **options)
    interpreter.allocate_tensors()
    facts = asked(data)
    own = sum(facts.ops.values())
    taken = len(interpreter._get_ops_details()) - own
    assert sum(item.count for item in facts.outside) == own - taken


@pytest.mark.parametrize(
    ("op", "dtype", "weights", "why"),
    [
        ("HARD_SWISH", "uint8", "", "HARD_SWISH uint8 has no XNNPACK kernel"),
        ("HARD_SWISH", "float32", "", "not taken by XNNPACK"),
        ("ADD", "int16", "", "XNNPACK has no 16-bit integer kernels"),
        ("POW", "float32", "", "POW has no XNNPACK kernel"),
        ("DEPTHWISE_CONV_2D", "float32", "float32", "not taken by XNNPACK"),
        ("ADD", "int8", "", "not taken by XNNPACK"),
    ],
)
def test_reasons_are_told_as_far_as_they_are_known(
    op: str, dtype: str, weights: str, why: str
) -> None:
    assert why_outside(op, dtype, weights) == why
    assert Step(op, dtype, (), ()).weights == ""


def test_8_bit_depthwise_weights_with_float_activations_stay_outside() -> None:
    b = GraphBuilder()
    picture, out = b.tensor("picture", [1, 4, 4, 4]), b.tensor("out", [1, 4, 4, 4])
    weights = b.constant("w", ones(1, 3, 3, 4, dtype="int8"))
    b.graph.tensors[weights].quantization.scale = [0.1] * 4
    b.graph.tensors[weights].quantization.zeroPoint = [0] * 4
    b.graph.tensors[weights].quantization.quantizedDimension = 3
    options = {"strideH": 1, "strideW": 1, "depthMultiplier": 1}
    inputs = [picture, weights, b.constant("b", ones(4))]
    b.op("DEPTHWISE_CONV_2D", inputs, out, 6, table="DepthwiseConv2DOptions", **options)
    facts = asked(b.finish([picture], [out]))
    assert facts.float_ops == 1
    assert "8-bit weights and float activations" in facts.outside[0].why


def test_float16_weights_behind_a_dequantiser_count_once_and_stay_inside() -> None:
    b = GraphBuilder()
    source, score = b.tensor("source", [1, 3]), b.tensor("score", [1, 4])
    weights = b.tensor("weights", [4, 3])
    b.op("DEQUANTIZE", [b.constant("half", ones(4, 3, dtype="float16"))], weights, 3)
    inputs = [source, weights, b.constant("bias", ones(4))]
    b.op("FULLY_CONNECTED", inputs, score, table="FullyConnectedOptions")
    facts = asked(b.finish([source], [score]))
    assert facts.parameters == 4 * 3 + 4
    assert (facts.float_ops, facts.conversion_ops) == (1, 1)
    assert facts.peak_activation_bytes == 4 * (3 + 4)  # the weights made anew do not count
    assert (facts.partitions, facts.outside) == (1, ())


def test_quantisers_count_as_conversions_and_not_as_float_islands(count: Facts) -> None:
    facts = count(tflite_body("uint8"))
    assert facts.ops == {"DEQUANTIZE": 1, "MEAN": 1, "FULLY_CONNECTED": 1, "LOGISTIC": 1}
    assert (facts.float_ops, facts.integer_ops, facts.conversion_ops) == (3, 0, 1)


def test_operators_on_shapes_are_neither_float_nor_integer(count: Facts) -> None:
    b = GraphBuilder()
    picture, size = b.tensor("picture", [1, 4]), b.tensor("size", [2], "int32")
    b.op("SHAPE", [picture], size, table="ShapeOptions")
    b.op("LOGISTIC", [picture], b.tensor("score", [1, 4]))
    double = b.tensor("double", [2], "int32")
    b.op("ADD", [size, size], double, table="AddOptions")
    facts = count(b.finish([picture], [double, 2]))
    assert facts.ops == {"SHAPE": 1, "LOGISTIC": 1, "ADD": 1}
    assert (facts.float_ops, facts.integer_ops, facts.conversion_ops) == (2, 0, 0)


def test_transposes_are_counted(count: Facts) -> None:
    b = GraphBuilder()
    picture, turned = b.tensor("picture", [1, 2, 3, 4]), b.tensor("turned", [1, 4, 2, 3])
    order = b.constant("order", np.array([0, 3, 1, 2], np.int32))
    b.op("TRANSPOSE", [picture, order], turned, table="TransposeOptions")
    facts = count(b.finish([picture], [turned]))
    assert (facts.transposes, facts.parameters, facts.multiply_adds) == (1, 0, 0)


def test_a_result_nobody_reads_is_not_called_left_out() -> None:
    b = chain()
    b.op("NEG", [b.graph.inputs[0]], b.tensor("unread", [1, 100]))
    facts = asked(b.pack())
    assert facts.ops["NEG"] == 4
    assert facts.outside == ()


def stub_litert(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """The child process finds this package before the real one."""
    (folder / "ai_edge_litert").mkdir()
    (folder / "ai_edge_litert" / "__init__.py").write_text("")
    if code:
        (folder / "ai_edge_litert" / "interpreter.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "LiteRT's interpreter cannot be imported"),
        ("import os\nos.kill(os.getpid(), 11)", "LiteRT died opening the model: SIGSEGV"),
        ("raise SystemExit(3)", "LiteRT died opening the model: exit 3"),
        ("def Interpreter(**_): raise ValueError('no op\\nMINE')", "does not open.*no op MINE"),
    ],
    ids=["absent", "crash", "exit", "refusal"],
)
def test_where_litert_cannot_look_partitions_are_unchecked_and_never_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    stub_litert(tmp_path, monkeypatch, code)
    facts = tflite_facts(small_network())
    assert facts.partitions is None
    assert facts.fully_delegated is None
    assert re.search(reason, facts.unchecked["partitions"])
    assert facts.multiply_adds == 2312
    assert describe(facts)[-1].startswith("XNNPACK: unchecked, LiteRT")


def test_a_model_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_litert(tmp_path, monkeypatch, "import time\ntime.sleep(60)")
    monkeypatch.setattr("quantize.delegation.TIMEOUT_S", 0.5)
    reason = tflite_facts(small_network()).unchecked["partitions"]
    assert reason == "LiteRT did not open the model in 0.5 s"


def test_a_damaged_size_does_not_take_the_memory_of_the_machine() -> None:
    b = GraphBuilder()
    picture, score = (b.tensor(name, [1, 60000, 60000, 3]) for name in ("picture", "score"))
    b.op("RELU", [picture], score)
    facts = asked(b.finish([picture], [score]))
    assert facts.partitions is None
    assert facts.peak_activation_bytes == 2 * 60000 * 60000 * 3 * 4


def test_damaged_bytes_are_an_artifact_error(count: Facts) -> None:
    with pytest.raises(ArtifactError, match="damaged TFLite flatbuffer"):
        count(small_network()[:200])
    for data in (b"", b"\x08\x07", onnx_body()[:150], b"nonsense"):
        with pytest.raises(ArtifactError, match="damaged ONNX model"):
            onnx_facts(data)


def test_flipped_bytes_of_an_onnx_model_give_facts_or_an_artifact_error() -> None:
    data, random, readable = onnx_body(), np.random.default_rng(0), 0
    for _ in range(500):
        damaged = bytearray(data)
        damaged[random.integers(0, len(data))] = random.integers(0, 256)
        try:
            describe(onnx_facts(bytes(damaged)))
        except ArtifactError:
            continue
        readable += 1
    assert 100 < readable < 450


def test_the_same_model_in_onnx_has_the_same_parameters_and_multiply_adds(count: Facts) -> None:
    tflite, onnx = count(tflite_body()), onnx_facts(onnx_body())
    assert onnx.ops == {"ReduceMean": 1, "Gemm": 1, "Sigmoid": 1}
    assert (onnx.parameters, onnx.multiply_adds) == (3, 3)
    assert (tflite.parameters, tflite.multiply_adds) == (3, 3)
    assert onnx.peak_activation_bytes == tflite.peak_activation_bytes == 4 * (16 * 16 * 3 + 3)
    assert onnx.partitions is None
    assert onnx.unchecked == {"partitions": "XNNPACK partitions are counted in .tflite files only"}


def onnx_graph(nodes: list, size: int | str = 8, **constants: np.ndarray) -> bytes:
    """From a float `picture` (n, 4, size, size) to `score`."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 4, size, size])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def test_grouped_onnx_convolutions_count_their_own_channels_only() -> None:
    from onnx import helper

    node = helper.make_node("Conv", ["picture", "w", "b"], ["score"], group=2)
    data = onnx_graph([node], w=ones(6, 2, 3, 3), b=ones(6))
    facts = onnx_facts(data)
    assert facts.multiply_adds == 6 * 6 * 6 * (2 * 9)
    assert facts.parameters == 6 * 2 * 9 + 6
    assert facts.peak_activation_bytes == 4 * (4 * 8 * 8 + 6 * 6 * 6)


def qdq_nodes() -> tuple[list, dict[str, np.ndarray]]:
    from onnx import helper

    nodes = [
        helper.make_node("QuantizeLinear", ["picture", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "ws"], ["db"], axis=0),
        helper.make_node("Conv", ["d", "dw", "db"], ["c"]),
        helper.make_node("Transpose", ["c"], ["score"], perm=[0, 2, 3, 1]),
    ]
    constants = {
        "s": np.float32(0.1),
        "z": np.int8(0),
        "w": ones(6, 4, 3, 3, dtype="int8"),
        "ws": ones(6),
        "wz": np.zeros(6, np.int8),
        "b": ones(6, dtype="int32"),
    }
    return nodes, {name: np.asarray(values) for name, values in constants.items()}


def test_onnx_weights_behind_dequantisers_count_without_their_scales() -> None:
    nodes, constants = qdq_nodes()
    facts = onnx_facts(onnx_graph(nodes, **constants))
    assert facts.parameters == 6 * 4 * 9 + 6
    assert facts.multiply_adds == 6 * 6 * 6 * 36
    assert (facts.float_ops, facts.integer_ops, facts.conversion_ops) == (2, 0, 4)
    assert facts.transposes == 1


def test_open_sizes_leave_multiply_adds_and_peak_unknown_with_a_reason() -> None:
    from onnx import helper

    node = helper.make_node("Conv", ["picture", "w"], ["score"])
    facts = onnx_facts(onnx_graph([node], size="side", w=ones(6, 4, 3, 3)))
    assert (facts.multiply_adds, facts.peak_activation_bytes) == (None, None)
    assert facts.unchecked["multiply_adds"] == "some shapes are not known before the run"
    assert facts.unchecked["peak_activation_bytes"] == "some shapes are not known before the run"
    assert facts.parameters == 6 * 4 * 9
    assert "unknown multiply-adds" in describe(facts)[0]


def test_descriptions_name_counts_and_what_stays_outside() -> None:
    lines = describe(asked(island()))
    assert lines[1] == "3 operators: 0 float, 3 integer, 0 conversions, 0 transposes"
    assert lines[2] == "by type: LOGISTIC 1, HARD_SWISH 1, LEAKY_RELU 1"
    assert lines[3:] == [
        "XNNPACK: 2 partitions, 1 operators outside",
        "  outside: 1 HARD_SWISH: HARD_SWISH int8 has no XNNPACK kernel",
    ]
    whole = describe(asked(small_network()))
    assert whole[-1] == "XNNPACK takes the whole graph, in one partition"


def test_integers_that_mostly_run_outside_xnnpack_are_warned_of() -> None:
    facts = asked(island())
    many = dataclasses.replace(facts.outside[0], count=MANY_OUTSIDE)
    slow = dataclasses.replace(facts, outside=(many,))
    assert "--precision dynamic" in describe(slow)[-1]
    floats = dataclasses.replace(slow, float_ops=99)
    assert "warning" not in "".join(describe(floats))


def test_facts_are_plain_json() -> None:
    facts = asked(island())
    document = json.loads(json.dumps(to_plain(facts)))
    assert document["outside"][0]["count"] == 1
    assert set(document) == {field.name for field in dataclasses.fields(GraphFacts)}


@pytest.mark.slow
def test_a_converted_network_costs_what_torch_counts(tmp_path: Path) -> None:
    import torch
    from torch import Tensor, nn

    from train.network import QualityNet, cost_of

    litert_torch = pytest.importorskip("litert_torch", reason="needs litert-torch to convert")

    class ChannelsLast(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x.permute(0, 3, 1, 2))[:, None]

    network = QualityNet("mobilenetv3_small_100", 224).eval()
    path = tmp_path / "float.tflite"
    litert_torch.convert(ChannelsLast(network).eval(), (torch.zeros(1, 224, 224, 3),)).export(
        str(path)
    )
    facts, cost = tflite_facts(path.read_bytes()), cost_of(network, 224)
    assert facts.multiply_adds == cost.multiply_adds
    # Batch norms are folded, and equal constants are stored once.
    assert 0.98 * cost.parameters < facts.parameters < cost.parameters
    assert (facts.partitions, facts.transposes, facts.outside) == (1, 0, ())
