"""Flatbuffers are read, mended and written so that every TFLite runtime finds the constants."""

from __future__ import annotations

import sys
import time

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as fb
from ai_edge_litert.interpreter import Interpreter

from fiqa.errors import ArtifactError, MissingDependencyError
from fiqa.manifest import embed
from quantize.flatbuffer import (
    flatten_biases,
    has_outside_buffers,
    op_name,
    read_model,
    rename_io,
    to_bytes,
)
from tests.doubles.graph_builder import GraphBuilder
from tests.doubles.tiny_models import SIZE, WEIGHTS, expected_score, manifest, tflite_body

PICTURES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


def scores(data: bytes, pictures: np.ndarray = PICTURES - 128) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    results = []
    for picture in pictures:
        interpreter.set_tensor(source, picture[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return results


def with_outside_buffers(data: bytes) -> bytes:
    """As ai-edge-quantizer writes: constants behind the flatbuffer, 16-aligned."""
    model = fb.ModelT.InitFromPackedBuf(data, 0)
    contents = [None if item.data is None else bytes(item.data) for item in model.buffers]

    def pack(start: int) -> bytes:
        at = start
        for buffer, content in zip(model.buffers, contents, strict=True):
            if content is not None:
                buffer.data, buffer.offset, buffer.size = None, at, len(content)
                at += -(-len(content) // 16) * 16
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    start = -(-len(pack(1 << 20)) // 16) * 16
    behind = b"".join(item + bytes(-len(item) % 16) for item in contents if item is not None)
    return pack(start).ljust(start, b"\0") + behind


def constant_of(model: object, name: bytes) -> np.ndarray:
    tensor = next(item for item in model.subgraphs[0].tensors if item.name == name)
    return model.buffers[tensor.buffer].data


def test_a_model_written_again_gives_the_same_scores() -> None:
    data = tflite_body()
    again = to_bytes(read_model(data))
    for before, after, picture in zip(scores(data), scores(again), PICTURES, strict=True):
        assert np.array_equal(before, after)
        assert after[0, 0] == pytest.approx(expected_score(picture[None])[0], abs=1e-5)


def test_writing_twice_gives_the_same_bytes() -> None:
    once = to_bytes(read_model(tflite_body("uint8")))
    assert to_bytes(read_model(once)) == once


def test_constants_behind_the_flatbuffer_come_inside() -> None:
    outside = with_outside_buffers(tflite_body())
    assert has_outside_buffers(outside)
    inside = to_bytes(read_model(outside))
    assert not has_outside_buffers(inside)
    raw = fb.Model.GetRootAs(inside, 0)
    assert {raw.Buffers(i).Offset() for i in range(raw.BuffersLength())} == {0}
    assert {raw.Buffers(i).Size() for i in range(raw.BuffersLength())} == {0}
    assert constant_of(read_model(outside), b"weights").tobytes() == WEIGHTS.tobytes()
    for before, after in zip(scores(outside), scores(inside), strict=True):
        assert np.array_equal(before, after)


def test_inline_files_are_told_from_those_with_outside_constants() -> None:
    assert not has_outside_buffers(tflite_body())
    assert not has_outside_buffers(tflite_body("int8"))


def test_constants_lie_on_16_byte_borders_as_the_schema_asks() -> None:
    builder = GraphBuilder()
    picture = builder.tensor("picture", [1, 4])
    for size in (1, 3, 7, 20):
        builder.constant(f"c{size}", np.arange(size, dtype=np.float32))
    builder.op("LOGISTIC", [picture], builder.tensor("score", [1, 4]))
    raw = fb.Model.GetRootAs(to_bytes(read_model(builder.finish([0], [5]))), 0)
    buffers = [raw.Buffers(i) for i in range(raw.BuffersLength()) if raw.Buffers(i).DataLength()]
    assert [buffer.DataLength() for buffer in buffers] == [4, 12, 28, 80]
    assert [buffer._tab.Vector(buffer._tab.Offset(4)) % 16 for buffer in buffers] == [0] * 4


def test_an_embedded_manifest_is_left_behind() -> None:
    data = tflite_body()
    assert to_bytes(read_model(embed(data, manifest("tflite")))) == to_bytes(read_model(data))


def test_writing_leaves_the_model_as_it_was() -> None:
    model = read_model(tflite_body())
    assert to_bytes(model) == to_bytes(model)


def dense(bias_shape: list[int], constant: bool = True, op: str = "FULLY_CONNECTED") -> bytes:
    """3 inputs to 4 outputs with a bias of the given shape."""
    builder = GraphBuilder()
    source = builder.tensor("source", [1, 3])
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    values = np.arange(4, dtype=np.float32).reshape(bias_shape)
    inputs = [source, builder.constant("weights", weights)]
    inputs.append(builder.constant("bias", values) if constant else builder.tensor("bias", [4]))
    if not constant:
        builder.graph.tensors[inputs[2]].shape = bias_shape
    result = builder.tensor("result", [1, 4])
    builder.op(op, inputs, result, table="FullyConnectedOptions")
    return builder.finish([source] if constant else [source, inputs[2]], [result])


def test_biases_of_rank_4_become_vectors_and_count_the_same() -> None:
    data = dense([1, 1, 1, 4])
    model = read_model(data)
    assert flatten_biases(model) == 1
    assert list(model.subgraphs[0].tensors[2].shape) == [4]
    mended = to_bytes(model)
    assert scores(mended, np.ones((1, 3), np.float32))[0].tolist() == [[3.0, 13.0, 23.0, 33.0]]
    assert flatten_biases(read_model(mended)) == 0


@pytest.mark.parametrize(
    "data",
    [
        dense([4]),
        dense([1, 1, 1, 4], constant=False),
        dense([1, 1, 1, 4], op="SELECT_V2"),
        tflite_body(),
    ],
    ids=["a vector", "not a constant", "another operator", "tiny"],
)
def test_other_biases_are_left_alone(data: bytes) -> None:
    model = read_model(data)
    shapes = [list(tensor.shape) for tensor in model.subgraphs[0].tensors]
    assert flatten_biases(model) == 0
    assert [list(tensor.shape) for tensor in model.subgraphs[0].tensors] == shapes


def renamed() -> bytes:
    """litert-torch's names and signature, and an inner tensor called `score`."""
    builder = GraphBuilder()
    source = builder.tensor("serving_default_args_0", [1, 4])
    inner, result = builder.tensor("score", [1, 4]), builder.tensor("output_0", [1, 4])
    builder.op("LOGISTIC", [source], inner)
    builder.op("NEG", [inner], result)
    builder.finish([source], [result])
    builder.signature("args_0", "output_0")
    model = read_model(builder.pack())
    rename_io(model, "image", "score")
    return to_bytes(model)


def test_input_and_output_take_the_names_given_in_graph_and_signature() -> None:
    interpreter = Interpreter(model_content=renamed())
    assert interpreter.get_input_details()[0]["name"] == "image"
    assert interpreter.get_output_details()[0]["name"] == "score"
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["score"]}
    }
    run = interpreter.get_signature_runner()
    assert run(image=np.zeros((1, 4), np.float32))["score"].tolist() == [[-0.5] * 4]


def test_an_inner_namesake_of_the_output_steps_aside() -> None:
    names = [tensor.name for tensor in read_model(renamed()).subgraphs[0].tensors]
    assert names == [b"image", b"score_1", b"score"]


def test_a_model_without_signature_is_renamed_too() -> None:
    model = read_model(tflite_body())
    rename_io(model, "image", "quality")
    assert read_model(to_bytes(model)).subgraphs[0].tensors[0].name == b"image"


def test_two_inputs_are_not_a_picture() -> None:
    with pytest.raises(ArtifactError, match="2 inputs and 1 outputs"):
        rename_io(read_model(dense([4], constant=False)), "image", "score")


def test_operators_are_named_as_tflite_names_them() -> None:
    model = read_model(tflite_body("uint8"))
    names = [op_name(model, operator) for operator in model.subgraphs[0].operators]
    assert names == ["DEQUANTIZE", "MEAN", "FULLY_CONNECTED", "LOGISTIC"]
    model.operatorCodes[0].builtinCode = fb.BuiltinOperator.CUSTOM
    model.operatorCodes[0].customCode = b"Mine"
    assert op_name(model, model.subgraphs[0].operators[0]) == "CUSTOM:Mine"


def survives(data: bytes) -> bool:
    """Whether the bytes still are a model; anything but an ArtifactError fails the test."""
    try:
        model = read_model(data)
        flatten_biases(model)
        has_outside_buffers(data)
        to_bytes(model)
    except ArtifactError:
        return False
    return True


def test_a_file_cut_anywhere_is_an_artifact_error() -> None:
    data = tflite_body("uint8")
    whole = [length for length in range(len(data)) if survives(data[:length])]
    assert whole == [] or min(whole) > len(data) - 16  # only padding was lost


def test_flipped_bytes_never_give_another_error_or_a_hang() -> None:
    data, random = with_outside_buffers(tflite_body("uint8")), np.random.default_rng(0)
    started, readable = time.monotonic(), 0
    for _ in range(1500):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            damaged[place] = random.integers(0, 256)
        readable += survives(bytes(damaged))
    assert 100 < readable < 1400
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x1c\0\0\0TFL3", b"\0" * 100, b"PK\3\4" * 50])
def test_foreign_bytes_are_an_artifact_error(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="damaged TFLite flatbuffer"):
        read_model(data)


def test_more_entries_than_bytes_are_refused_before_they_are_read() -> None:
    data = bytearray(tflite_body())
    graph = fb.Model.GetRootAs(data, 0).Subgraphs(0)
    operators = graph._tab.Vector(graph._tab.Offset(10)) - 4
    data[operators : operators + 4] = (2**31 - 1).to_bytes(4, "little")
    with pytest.raises(ArtifactError, match="entries declared in"):
        read_model(bytes(data))


def test_a_constant_cut_short_behind_the_flatbuffer_is_refused() -> None:
    outside = with_outside_buffers(tflite_body())
    with pytest.raises(ArtifactError, match="constant 3 ends at byte"):
        read_model(outside[:-16])
    with pytest.raises(ArtifactError, match="constant 3 ends at byte"):
        has_outside_buffers(outside[:-16])


@pytest.mark.parametrize(
    ("place", "value"), [("inputs", 99), ("inputs", -2), ("outputs", 7), ("opcodeIndex", 9)]
)
def test_numbers_that_refer_to_nothing_are_refused(place: str, value: int) -> None:
    model = read_model(tflite_body())
    operator = model.subgraphs[0].operators[0]
    setattr(operator, place, value if place == "opcodeIndex" else [value])
    with pytest.raises(ArtifactError, match=f"name {value}, outside"):
        read_model(to_bytes(model))


def test_without_litert_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.tools.flatbuffer_utils", None)
    with pytest.raises(MissingDependencyError, match="fiqa-edge\\[export\\]"):
        read_model(tflite_body())
