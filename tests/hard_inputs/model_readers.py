"""Manifests, and artifacts of every format: ours, foreign, and as graphs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np

from fiqa import Scorer
from fiqa.contract import PreprocessSpec
from fiqa.files import write_json
from fiqa.manifest import Manifest, read_manifest, write_artifact
from tests.doubles import tiny_models
from tests.hard_inputs import damage, fields
from tests.hard_inputs.reader import Reader, rewrite, write


def make_manifest(folder: Path) -> list[Path]:
    """A checkpoint folder whose weights nobody looks into here."""
    from safetensors.numpy import save

    from fiqa.files import sha256_bytes
    from fiqa.manifest import SIDECAR, WEIGHTS

    data = save({"head.weight": np.ones((1, 4), np.float32)})
    (folder / WEIGHTS).write_bytes(data)
    full = json.loads(_full_manifest().to_json()) | {"sha256": sha256_bytes(data)}
    write_json(folder / SIDECAR, full)
    return [folder / SIDECAR]


def _full_manifest() -> Manifest:
    from fiqa.manifest import Check, DataRecord, Measurement, ScoreScale, TensorSpec

    tensor = TensorSpec("picture", (1, 16, 16, 3), "float32", "NHWC")
    return tiny_models.manifest(
        "checkpoint", inputs=(tensor,), outputs=(tensor,), recipe={"a": [1, {"b": None}]},
        datasets=(DataRecord("d", "1" * 64, "train", 9, 3, {"train": 9}, 1,
                             ScoreScale(0, 1, True)),),
        metrics=(Measurement("srcc", 0.5, "d", "val", 9, 0.4, 0.6),),
        checks=(Check("c", "passed", "", 0.1, 0.2),), tools={"python": "3.11"},
    )  # fmt: skip


def read_manifest_text(path: Path) -> object:
    manifest = read_manifest(path.parent)
    return Manifest.from_json(manifest.to_json(), "again") == manifest


PICTURE = np.full((20, 20, 3), 100, np.uint8)


def make_ours(folder: Path) -> list[Path]:
    return [
        tiny_models.write_tflite(folder / "float.tflite"),
        tiny_models.write_tflite(folder / "uint8.tflite", "uint8"),
        tiny_models.write_onnx(folder / "a.onnx"),
    ]


def change_ours(path: Path, rng: Random) -> None:
    """The embedded manifest, or the model under the old manifest: its hash is then wrong."""
    from fiqa.manifest import ONNX_METADATA_FIELD, _zip_of, split_artifact
    from fiqa.mlpackage import ENTRY
    from fiqa.protobuf import entry, field

    body, text = split_artifact(path.read_bytes(), path.name)
    assert text is not None
    if rng.random() < 0.7:
        text = damage.json_changed(text, rng)
    else:
        change = fields.tflite_changed if path.suffix == ".tflite" else fields.protobuf_changed
        body = change(body, rng)
    if path.suffix == ".tflite":
        write(path, body + _zip_of(f"{ENTRY}.json", text))
    else:
        write(path, body + field(ONNX_METADATA_FIELD, entry(ENTRY, text)))


def read_ours(path: Path) -> object:
    return Scorer(path).score([PICTURE]).tolist()


def make_foreign_tflite(folder: Path) -> list[Path]:
    from tests.doubles.twin_models import twin

    bodies = {"float": tiny_models.tflite_body(), "uint8": tiny_models.tflite_body("uint8"),
              "batch": tiny_models.tflite_body(batch=4), "int8": twin("int8")}  # fmt: skip
    for name, body in bodies.items():
        (folder / f"{name}.tflite").write_bytes(body)
    return [folder / f"{name}.tflite" for name in bodies]


def read_foreign(path: Path) -> object:
    size = 32 if path.stem == "int8" else tiny_models.SIZE
    spec = PreprocessSpec(size=size, std=(1.0, 1.0, 1.0))
    return Scorer(path, preprocess=spec).score([PICTURE]).tolist()


def read_tflite_graph(path: Path) -> object:
    from export.tflite_metadata import with_metadata
    from quantize.flatbuffer import has_outside_buffers, input_and_output, read_model, to_bytes
    from quantize.graph import _facts, describe
    from quantize.graph_readers import read_tflite

    data = path.read_bytes()
    graph = read_tflite(data)
    describe(_facts(data, graph, None, (), "not here"))
    has_outside_buffers(data)
    model = read_model(data)
    input_and_output(model)
    return len(with_metadata(to_bytes(model), tiny_models.manifest("tflite")))


def make_foreign_onnx(folder: Path) -> list[Path]:
    (folder / "a.onnx").write_bytes(tiny_models.onnx_body())
    return [folder / "a.onnx"]


def read_onnx_graph(path: Path) -> object:
    from quantize.graph import describe, onnx_facts

    return describe(onnx_facts(path.read_bytes()))


def make_package(folder: Path) -> list[Path]:
    from tests.fiqa.test_mlpackage import make_package

    source, package = folder / "converted.mlpackage", folder / "m.mlpackage"
    write_artifact(package, make_package(source), tiny_models.manifest("coreml"))
    shutil.rmtree(source)
    inner = package / "Data" / "com.apple.CoreML"
    return [package / "Manifest.json", inner / "model.mlmodel", inner / "weights" / "weight.bin"]


def change_package(path: Path, rng: Random) -> None:
    if path.suffix == ".json":
        write(path, damage.json_changed(path.read_bytes(), rng))
    else:
        change = fields.protobuf_changed if path.suffix == ".mlmodel" else damage.damaged
        write(path, change(path.read_bytes(), rng))


def read_package(path: Path) -> object:
    package = next(parent for parent in path.parents if parent.suffix == ".mlpackage")
    return read_manifest(package).model


READERS = {
    "manifest": Reader(make_manifest, rewrite(damage.json_changed), read_manifest_text),
    "ours": Reader(make_ours, change_ours, read_ours),
    "tflite": Reader(make_foreign_tflite, rewrite(fields.tflite_changed), read_foreign),
    "onnx": Reader(make_foreign_onnx, rewrite(fields.protobuf_changed), read_foreign),
    "tflite_graph": Reader(make_foreign_tflite, rewrite(fields.tflite_changed), read_tflite_graph),
    "onnx_graph": Reader(make_foreign_onnx, rewrite(fields.protobuf_changed), read_onnx_graph),
    "mlpackage": Reader(make_package, change_package, read_package),
}
