"""Manifests: round trips, what is embedded where, and damage that must be told."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiqa.contract import PreprocessSpec
from fiqa.errors import ArtifactError, InputError, ManifestError
from fiqa.files import sha256_bytes, write_json
from fiqa.manifest import (
    Check,
    DataRecord,
    Manifest,
    Measurement,
    ScoreScale,
    ScoreSpec,
    TensorSpec,
    artifact_kind,
    read_manifest,
    split_artifact,
    update_manifest,
)
from fiqa.records import to_plain
from tests.doubles import tiny_models

FULL = Manifest(
    kind="tflite",
    model="mobilenetv3_small_100",
    sha256="0" * 64,
    parent_sha256="1" * 64,
    preprocess=PreprocessSpec(size=160, color_order="BGR"),
    inputs=(TensorSpec("picture", (1, 160, 160, 3), "uint8", "NHWC", 1.0, 128),),
    outputs=(TensorSpec("score", (1, 1), "int8", "N1", 1 / 256, -128),),
    score=ScoreSpec(threshold=0.41),
    recipe={"name": "demo", "stages": [{"size": 160}]},
    datasets=(
        DataRecord("faces", "2" * 64, "train", 9, 3, {"train": 9}, 1, ScoreScale(1, 5, True)),
    ),
    metrics=(Measurement("srcc", 0.9, "faces", "val", 100, 0.88, 0.92),),
    checks=(Check("parity", "unchecked", reason="no Mac here"),),
    tools={"numpy": "2.4.6"},
)


def test_manifest_survives_its_json() -> None:
    assert Manifest.from_json(FULL.to_json(), "x") == FULL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema 99"),
        ({"schema": None}, "no schema number"),
        ({"schema": True}, "no schema number"),
        ({"sha256": 5}, "sha256 is 5"),
        ({"kind": "pickle"}, "kind is 'pickle'"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"preprocess": {"size": 2}}, "size 2"),
        ({"preprocess": {"size": "224"}}, "size is '224'"),
        ({"preprocess": {"mean": [1.0, 2.0]}}, "mean"),
        ({"metrics": [{"name": "srcc"}]}, "missing"),
        ({"checks": [{"name": "parity", "status": "unchecked"}]}, "without a reason"),
        ({"inputs": "none"}, "inputs"),
        ({"model": "half a \ud800 sign"}, "surrogates not allowed"),
        (
            {
                "metrics": [
                    {"name": "srcc", "value": 1.0, "data": "d", "split": "v", "count": 2**70}
                ]
            },
            "count is 1180591620717411303424",
        ),
    ],
)
def test_damaged_manifests_name_the_field(change: dict[str, Any], message: str) -> None:
    document = to_plain(FULL) | change
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(json.dumps(document), "x")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": NaN}', '{"a":1,"a":2}', "[" * 100_000])
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(text, "x")


def test_a_newer_manifest_names_the_upgrade() -> None:
    with pytest.raises(ManifestError, match="pip install --upgrade"):
        Manifest.from_json(json.dumps(to_plain(FULL) | {"schema": 2}), "x")


@pytest.mark.parametrize("make", [tiny_models.write_tflite, tiny_models.write_onnx])
def test_manifest_travels_in_the_artifact(make: Any, tmp_path: Path) -> None:
    path = make(tmp_path / ("m.tflite" if make is tiny_models.write_tflite else "m.onnx"))
    body, text = split_artifact(path.read_bytes(), path.name)
    manifest = read_manifest(path)
    assert text is not None
    assert manifest.sha256 == sha256_bytes(body)
    changed = dataclasses.replace(manifest, score=ScoreSpec(threshold=0.5))
    assert update_manifest(path, changed).score.threshold == 0.5
    assert split_artifact(path.read_bytes(), path.name)[0] == body


def test_same_manifest_gives_the_same_bytes(tmp_path: Path) -> None:
    first = tiny_models.write_tflite(tmp_path / "a.tflite").read_bytes()
    assert first == tiny_models.write_tflite(tmp_path / "b.tflite").read_bytes()


def test_other_tools_list_the_manifest_of_a_tflite(tmp_path: Path) -> None:
    path = tiny_models.write_tflite(tmp_path / "m.tflite")
    assert zipfile.ZipFile(path).namelist() == ["fiqa_manifest.json"]


def test_onnx_checker_and_metadata_see_the_manifest(tmp_path: Path) -> None:
    import onnx

    path = tiny_models.write_onnx(tmp_path / "m.onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["fiqa_manifest"]


@pytest.mark.parametrize("ending", ["tflite", "onnx"])
def test_one_changed_weight_is_refused(ending: str, tmp_path: Path) -> None:
    make = tiny_models.write_tflite if ending == "tflite" else tiny_models.write_onnx
    path = make(tmp_path / f"m.{ending}")
    data = bytearray(path.read_bytes())
    at = data.index(np.float32(tiny_models.WEIGHTS[0, 0]).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ManifestError, match="sha256"):
        read_manifest(path)


def test_foreign_artifact_names_the_preprocess_flag(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_models.tflite_body())
    with pytest.raises(ManifestError, match="--preprocess"):
        read_manifest(path)


@pytest.mark.parametrize("cut", [0, 3, 100, 0.5, 0.9])
@pytest.mark.parametrize("ending", ["tflite", "onnx"])
def test_cut_artifacts_are_refused(ending: str, cut: float, tmp_path: Path) -> None:
    make = tiny_models.write_tflite if ending == "tflite" else tiny_models.write_onnx
    data = make(tmp_path / f"m.{ending}").read_bytes()
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(data[: int(cut if cut >= 3 else cut * len(data))])
    with pytest.raises((ManifestError, ArtifactError)):
        read_manifest(path)


@pytest.mark.parametrize("name", ["m.onnx", "UP.ONNX"])
def test_the_name_of_an_onnx_model_may_be_written_either_way(name: str) -> None:
    assert artifact_kind(b"\x08\x08", name) == "onnx"


def test_missing_artifact_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_manifest(tmp_path / "none.tflite")


def test_checkpoint_folder_is_checked_by_hash(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    manifest = dataclasses.replace(FULL, kind="checkpoint", sha256=sha256_bytes(b"weights"))
    write_json(tmp_path / "manifest.json", to_plain(manifest))
    assert read_manifest(tmp_path) == manifest
    (tmp_path / "weights.safetensors").write_bytes(b"weightz")
    with pytest.raises(ManifestError, match="sha256"):
        read_manifest(tmp_path)


def test_folder_without_weights_says_what_a_checkpoint_is(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        read_manifest(tmp_path)
