"""Metadata says to foreign tools what the manifest says to ours, and changes no score."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as fb
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import number_types
from flatbuffers.table import Table

from export.tflite_metadata import with_metadata
from fiqa.contract import PreprocessSpec
from fiqa.errors import ArtifactError
from fiqa.manifest import Manifest, ScoreSpec, read_manifest, write_artifact
from quantize.flatbuffer import has_outside_buffers, read_model, to_bytes
from tests.doubles.graph_builder import GraphBuilder
from tests.doubles.tiny_models import SIZE, SPEC, manifest, tflite_body

PARENT = "0123456789abcdef" * 4
SCORE = ScoreSpec(low=0.0, high=1.0, meaning="quality of the picture", threshold=0.4)


def described(**changes: Any) -> Manifest:
    fields = {"score": SCORE, "parent_sha256": PARENT, "tools": {"fiqa-edge": "1.2.3"}}
    return manifest("tflite", **(fields | changes))


class Reader:
    """A table of a flatbuffer, its fields by number. Knows nothing of the writer under test."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @staticmethod
    def of(data: bytes) -> Reader:
        assert data[4:8] == b"M001"
        return Reader(Table(data, int.from_bytes(data[:4], "little")))

    def _at(self, number: int) -> int:
        offset = self.table.Offset(4 + 2 * number)
        assert offset, f"field {number} is absent"
        return offset

    def has(self, number: int) -> bool:
        return bool(self.table.Offset(4 + 2 * number))

    def text(self, number: int) -> str:
        return self.table.String(self._at(number) + self.table.Pos).decode()

    def byte(self, number: int) -> int:
        at = self._at(number) + self.table.Pos
        return self.table.Get(number_types.Int8Flags, at)

    def child(self, number: int) -> Reader:
        at = self.table.Indirect(self._at(number) + self.table.Pos)
        return Reader(Table(self.table.Bytes, at))

    def children(self, number: int) -> list[Reader]:
        start, bytes_ = self.table.Vector(self._at(number)), self.table.Bytes
        places = [start + 4 * i for i in range(self.table.VectorLen(self._at(number)))]
        return [Reader(Table(bytes_, self.table.Indirect(place))) for place in places]

    def texts(self, number: int) -> list[str]:
        start = self.table.Vector(self._at(number))
        places = [start + 4 * i for i in range(self.table.VectorLen(self._at(number)))]
        return [self.table.String(place).decode() for place in places]

    def reals(self, number: int) -> list[float]:
        at = self._at(number)
        values = self.table.GetVectorAsNumpy(number_types.Float32Flags, at)
        return [float(value) for value in values]


def contents(data: bytes) -> list[bytes]:
    """Every TFLITE_METADATA in the model."""
    model = fb.Model.GetRootAs(data, 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    buffers = [
        model.Buffers(entry.Buffer()) for entry in entries if entry.Name() == b"TFLITE_METADATA"
    ]
    return [buffer.DataAsNumpy().tobytes() for buffer in buffers]


def metadata(dtype: str = "float32", **changes: Any) -> Reader:
    found = contents(with_metadata(tflite_body(dtype), described(**changes)))
    assert len(found) == 1
    return Reader.of(found[0])


def input_of(root: Reader) -> Reader:
    (tensor,) = root.children(3)[0].children(2)
    return tensor


def output_of(root: Reader) -> Reader:
    (tensor,) = root.children(3)[0].children(3)
    return tensor


def test_the_model_is_named_described_and_licensed() -> None:
    root = metadata(licence="CC-BY-4.0")
    assert root.text(0) == "tiny"
    assert root.text(1) == (
        "Scores the picture of a face. Quality of the picture; from 0 to 1. "
        "A picture is accepted from 0.4 on."
    )
    assert root.text(2) == "fiqa-edge 1.2.3, checkpoint 0123456789ab"
    assert not root.has(4)  # no author
    assert root.text(5) == "CC-BY-4.0"
    assert root.text(7) == "1.0.0"


def test_an_unknown_version_is_left_out() -> None:
    assert not metadata(parent_sha256=None, tools={}).has(2)
    assert metadata(parent_sha256=None).text(2) == "fiqa-edge 1.2.3"


def test_the_input_is_an_rgb_picture_with_the_contract_in_words() -> None:
    tensor = input_of(metadata())
    assert tensor.text(0) == "picture"
    assert f"{SIZE} x {SIZE} pixels around one face, RGB" in tensor.text(1)
    assert "1.45 times the longer side" in tensor.text(1)
    assert tensor.texts(2) == ["batch", "height", "width", "channel"]
    assert tensor.child(3).byte(0) == 2  # ContentProperties.ImageProperties
    assert tensor.child(3).child(1).byte(0) == 1  # ColorSpaceType.RGB


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", -128, 127), ("int8", -128, 127), ("uint8", 0, 255)],
)
def test_normalisation_is_of_real_numbers_and_stats_are_of_tensor_values(
    dtype: str, low: float, high: float
) -> None:
    tensor = input_of(metadata(dtype))
    (unit,) = tensor.children(4)
    assert unit.byte(0) == 1  # ProcessUnitOptions.NormalizationOptions
    assert (unit.child(1).reals(0), unit.child(1).reals(1)) == ([128.0], [1.0])
    assert (tensor.child(5).reals(1), tensor.child(5).reals(0)) == ([low], [high])


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_normalising_then_quantising_gives_the_byte_the_contract_feeds(dtype: str) -> None:
    """What a foreign reader does with the metadata, against what our runtime feeds."""
    data = with_metadata(tflite_body(dtype), described())
    (unit,) = input_of(Reader.of(contents(data)[0])).children(4)
    mean, std = unit.child(1).reals(0)[0], unit.child(1).reals(1)[0]
    details = Interpreter(model_content=data).get_input_details()[0]
    scale, zero_point = details["quantization"]
    values = (np.arange(256) - mean) / std / scale + zero_point
    expected = np.arange(256) if dtype == "uint8" else np.arange(256) - 128
    assert np.array_equal(values, expected)


def test_channels_of_their_own_are_written_one_by_one() -> None:
    spec = PreprocessSpec(size=SIZE, mean=(100.0, 110.0, 120.0), std=(50.0, 55.0, 60.0))
    tensor = input_of(metadata(preprocess=spec))
    options = tensor.children(4)[0].child(1)
    assert (options.reals(0), options.reals(1)) == ([100.0, 110.0, 120.0], [50.0, 55.0, 60.0])
    assert tensor.child(5).reals(1) == [-2.0]  # one number for all three
    assert tensor.child(5).reals(0) == pytest.approx([3.1, 145 / 55, 2.25])


def test_bgr_is_not_called_rgb() -> None:
    tensor = input_of(metadata(preprocess=dataclasses.replace(SPEC, color_order="BGR")))
    assert not tensor.child(3).child(1).has(0)  # ColorSpaceType.UNKNOWN, the default
    assert "around one face, BGR" in tensor.text(1)


def test_the_output_is_one_score_with_the_range_of_the_manifest() -> None:
    tensor = output_of(metadata(score=ScoreSpec(low=10.0, high=90.0, meaning="worth")))
    assert tensor.text(0) == "score"
    assert tensor.text(1) == "Worth; from 10 to 90."
    assert tensor.texts(2) == ["batch", "score"]
    assert tensor.child(3).byte(0) == 1  # ContentProperties.FeatureProperties
    assert (tensor.child(5).reals(1), tensor.child(5).reals(0)) == ([10.0], [90.0])


def quantised_output(zero_point: int | None) -> bytes:
    b = GraphBuilder()
    picture = b.tensor("picture", [1, 1], "int8", 1 / 64)
    score = b.tensor("score", [1, 1], "int8", 1 / 256)
    b.graph.tensors[score].quantization.zeroPoint = None if zero_point is None else [zero_point]
    b.op("LOGISTIC", [picture], score, 2)
    return b.finish([picture], [score])


@pytest.mark.parametrize(("zero_point", "low", "high"), [(-128, -128, 127), (None, 0, 127)])
def test_stats_of_a_quantised_score_are_clipped_to_its_type(
    zero_point: int | None, low: float, high: float
) -> None:
    found = contents(with_metadata(quantised_output(zero_point), described()))
    stats = output_of(Reader.of(found[0])).child(5)
    assert (stats.reals(1), stats.reals(0)) == ([low], [high])


def test_scores_stay_the_same_to_the_bit() -> None:
    data = tflite_body("uint8")
    picture = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.uint8)
    results = []
    for model in (data, with_metadata(data, described())):
        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert np.array_equal(*results)


def test_all_constants_stay_inside_and_other_metadata_stays_too() -> None:
    model = read_model(tflite_body())
    entry, buffer = fb.MetadataT(), fb.BufferT()
    buffer.data = np.frombuffer(b"1.5.0", np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = "min_runtime_version", len(model.buffers) - 1
    model.metadata = [entry]
    data = with_metadata(to_bytes(model), described())
    assert not has_outside_buffers(data)
    kept = {entry.name: entry.buffer for entry in read_model(data).metadata}
    assert list(kept) == [b"min_runtime_version", b"TFLITE_METADATA"]
    assert bytes(read_model(data).buffers[kept[b"min_runtime_version"]].data) == b"1.5.0"


def test_metadata_made_again_replaces_what_was_there() -> None:
    once = with_metadata(tflite_body(), described())
    assert with_metadata(once, described()) == once
    other = with_metadata(once, described(model="other"))
    assert [Reader.of(found).text(0) for found in contents(other)] == ["other"]
    assert len(read_model(other).buffers) == len(read_model(once).buffers)
    assert b"tiny\0" not in contents(other)[0]


def test_doubled_entries_of_a_foreign_file_become_one() -> None:
    model = read_model(with_metadata(tflite_body(), described()))
    double, buffer = fb.MetadataT(), fb.BufferT()
    buffer.data = np.frombuffer(b"foreign content", np.uint8)
    model.buffers.append(buffer)
    double.name, double.buffer = "TFLITE_METADATA", len(model.buffers) - 1
    model.metadata.append(double)
    data = with_metadata(to_bytes(model), described())
    assert [Reader.of(found).text(0) for found in contents(data)] == ["tiny"]
    assert b"foreign content" not in data


def test_the_listed_file_is_the_one_the_manifest_travels_in(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    write_artifact(path, with_metadata(tflite_body(), described()), described())
    (listed,) = metadata().children(6)
    assert zipfile.ZipFile(path).namelist() == [listed.text(0)] == ["fiqa_manifest.json"]
    assert listed.byte(2) == 1  # AssociatedFileType.DESCRIPTIONS
    assert read_manifest(path).score == SCORE


def test_a_model_with_two_inputs_is_refused() -> None:
    b = GraphBuilder()
    inputs = [b.tensor("left", [1, 2]), b.tensor("right", [1, 2])]
    b.op("ADD", inputs, b.tensor("sum", [1, 2]), table="AddOptions")
    with pytest.raises(ArtifactError, match="2 inputs"):
        with_metadata(b.finish(inputs, [2]), described())


def test_damaged_bytes_are_an_artifact_error() -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        with_metadata(tflite_body()[:100], described())


READ_WITH_TFLITE_SUPPORT = """
import ctypes, json, pathlib, sys
import libusb_package
# tflite-support's native modules ask for libusb, which minimal systems lack
library = pathlib.Path(libusb_package.__file__).parent / "libusb-1.0.so"
ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
from tensorflow_lite_support.metadata.cc.python import _pywrap_metadata_version as versions
from tflite_support import metadata
shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
print(json.dumps({
    "metadata": json.loads(shown.get_metadata_json()),
    "files": shown.get_packed_associated_file_list(),
    "parser": versions.GetMinimumMetadataParserVersion(shown.get_metadata_buffer()),
}))
"""


def foreign_python(folder: Path) -> Path:
    """A virtual environment with tflite-support, whose protobuf fits no other package of ours."""
    packages = ["tflite-support==0.4.4", "numpy<2", "libusb-package"]
    uv, python = [sys.executable, "-m", "uv"], folder / "bin" / "python"
    for command in (
        [*uv, "venv", "-q", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "-q", "--python", str(python), *packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"tflite-support cannot be installed: {done.stderr.strip()[-200:]}")
    return python


@pytest.mark.slow
def test_tflite_support_reads_what_was_written(tmp_path: Path) -> None:
    path, python = tmp_path / "tiny.tflite", foreign_python(tmp_path / "foreign")
    write_artifact(path, with_metadata(tflite_body("uint8"), described()), described())
    command = [str(python), "-c", READ_WITH_TFLITE_SUPPORT, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["files"] == ["fiqa_manifest.json"]
    assert found["parser"] == found["metadata"]["min_parser_version"] == "1.0.0"
    assert found["metadata"]["name"] == "tiny"
    assert found["metadata"]["associated_files"][0]["type"] == "DESCRIPTIONS"
    graph = found["metadata"]["subgraph_metadata"][0]
    (picture,), (score,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert picture["content"]["content_properties"] == {"color_space": "RGB"}
    assert picture["process_units"][0] == {
        "options_type": "NormalizationOptions",
        "options": {"mean": [128.0], "std": [1.0]},
    }
    assert picture["stats"] == {"max": [255.0], "min": [0.0]}
    assert score["content"]["content_properties_type"] == "FeatureProperties"
    assert score["stats"] == {"max": [1.0], "min": [0.0]}
