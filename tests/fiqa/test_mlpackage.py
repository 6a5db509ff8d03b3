"""Core ML packages without coremltools: manifests inside, hashes, damage, and who may run them."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiqa import Scorer
from fiqa.contract import PreprocessSpec
from fiqa.errors import ArtifactError, InputError, ManifestError, MissingDependencyError
from fiqa.manifest import Manifest, ScoreSpec, read_manifest, update_manifest, write_artifact
from fiqa.mlpackage import join_model, model_file, split_model
from fiqa.protobuf import entry, field, fields
from tests.doubles import tiny_models

WEIGHTS = np.arange(50, dtype=np.float32).tobytes()


def model_bytes(metadata: bytes = field(1, b"a tiny model")) -> bytes:
    """A Core ML model as protobuf: version 8, a description, and a program of no operations."""
    picture = field(1, b"image") + field(3, field(4, bytes([8, 16, 16, 16, 24, 20])))
    description = field(1, picture) + (field(100, metadata) if metadata else b"")
    return b"\x08\x08" + field(2, description) + field(502, b"\x08\x01")


def make_package(folder: Path, model: bytes | None = None) -> Path:
    """A package as converters write it, without manifest."""
    inner = folder / "Data" / "com.apple.CoreML"
    (inner / "weights").mkdir(parents=True)
    (inner / "model.mlmodel").write_bytes(model_bytes() if model is None else model)
    (inner / "weights" / "weight.bin").write_bytes(WEIGHTS)
    index = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {"1-2-3": {"path": "com.apple.CoreML/model.mlmodel"}},
        "rootModelIdentifier": "1-2-3",
    }
    (folder / "Manifest.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    source = make_package(tmp_path / "converted.mlpackage")
    write_artifact(tmp_path / "m.mlpackage", source, tiny_models.manifest("coreml"))
    return tmp_path / "m.mlpackage"


@pytest.mark.parametrize("metadata", [field(1, b"tiny") + field(100, entry("a", b"b")), b""])
def test_manifest_goes_in_and_comes_out_and_leaves_the_model_alone(metadata: bytes) -> None:
    body, text = split_model(model_bytes(metadata), "m")
    assert (body, text) == (model_bytes(metadata), None)
    joined = join_model(body, b'{"schema": 1}', "m")
    assert split_model(joined, "m") == (body, b'{"schema": 1}')
    assert join_model(body, b"x" * 300, "m") != joined


def test_model_keeps_one_description_with_one_metadata(package: Path) -> None:
    model = model_file(package).read_bytes()
    (description,) = [content for number, content, _ in fields(model, "m") if number == 2]
    assert [number for number, _, _ in fields(description or b"", "m")] == [1, 100]


def test_manifest_travels_in_the_package(package: Path) -> None:
    manifest = read_manifest(package)
    assert (manifest.kind, manifest.model, len(manifest.sha256)) == ("coreml", "tiny", 64)
    changed = dataclasses.replace(manifest, score=ScoreSpec(threshold=0.5))
    assert update_manifest(package, changed) == changed
    assert read_manifest(package).score.threshold == 0.5
    assert [path.name for path in package.parent.iterdir() if path.name.startswith(".")] == []


def test_two_manifests_of_one_model_share_its_hash(package: Path, tmp_path: Path) -> None:
    other = make_package(tmp_path / "again.mlpackage")
    (other / "Manifest.json").write_text(
        (other / "Manifest.json").read_text().replace("1-2-3", "4-5-6")
    )
    (other / "Data" / ".DS_Store").write_bytes(b"left by Finder")
    written = write_artifact(other, other, tiny_models.manifest("coreml", licence="MIT"))
    assert written.sha256 == read_manifest(package).sha256
    assert not (other / "Data" / ".DS_Store").exists()


@pytest.mark.parametrize("name", ["model.mlmodel", "weights/weight.bin"])
def test_one_changed_byte_is_refused(name: str, package: Path) -> None:
    path = package / "Data" / "com.apple.CoreML" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ManifestError, match="sha256"):
        read_manifest(package)


def test_added_and_missing_weights_are_refused(package: Path) -> None:
    weights = package / "Data" / "com.apple.CoreML" / "weights"
    (weights / "more.bin").write_bytes(b"")
    with pytest.raises(ManifestError, match="sha256"):
        read_manifest(package)
    (weights / "more.bin").unlink()
    assert read_manifest(package)
    (weights / "weight.bin").unlink()
    with pytest.raises(ManifestError, match="sha256"):
        read_manifest(package)


@pytest.mark.parametrize("cut", [1, 3, 20, 0.5, 0.9, 0.999])
def test_cut_models_are_refused(cut: float, package: Path) -> None:
    path = model_file(package)
    data = path.read_bytes()
    path.write_bytes(data[: int(cut if cut >= 1 else cut * len(data))])
    with pytest.raises((ArtifactError, ManifestError)):
        read_manifest(package)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (None, "names no root model"),
        ("{", "names no root model"),
        ("[]", "names no root model"),
        ('{"rootModelIdentifier": "1"}', "names no root model"),
        ("[" * 100_000, "names no root model"),
        (
            '{"rootModelIdentifier": "1", "itemInfoEntries": {"1": {"path": "\\ud800"}}}',
            "names no root model",
        ),
        (
            '{"rootModelIdentifier": "1", "itemInfoEntries": {"1": {"path": "no.mlmodel"}}}',
            "'no.mlmodel' is missing",
        ),
        (
            '{"rootModelIdentifier": "1", "itemInfoEntries": {"1": {"path": "../Manifest.json"}}}',
            "is missing",
        ),
    ],
)
def test_damaged_index_is_refused(index: str | None, message: str, package: Path) -> None:
    (package / "Manifest.json").unlink()
    if index is not None:
        (package / "Manifest.json").write_text(index)
    with pytest.raises(ArtifactError, match=message):
        read_manifest(package)


def test_foreign_package_names_the_preprocess_flag(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="--preprocess"):
        read_manifest(make_package(tmp_path / "foreign.mlpackage"))


def test_empty_folder_and_missing_package_say_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "m.mlpackage").mkdir()
    with pytest.raises(ArtifactError, match="no whole Core ML package"):
        read_manifest(tmp_path / "m.mlpackage")
    with pytest.raises(InputError, match="does not exist"):
        read_manifest(tmp_path / "none.mlpackage")


def test_package_is_scored_on_a_mac_only(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_on("linux", monkeypatch)
    with pytest.raises(MissingDependencyError, match=r"(?s)Macs only.*python -m export\.coreml"):
        Scorer(package)
    with pytest.raises(InputError, match="onnxruntime does not run"):
        Scorer(package, runtime="onnxruntime")


def test_damage_is_told_before_the_platform(package: Path) -> None:
    (package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").write_bytes(b"other")
    with pytest.raises(ManifestError, match="sha256"):
        Scorer(package)


def run_on(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiqa.engines.sys", SimpleNamespace(platform=platform))


def fake_coremltools() -> ModuleType:
    """Predicts as the tiny models do, from the picture that Core ML would get."""

    class MLModel:
        def __init__(self, path: str) -> None:
            assert Path(path).is_dir()

        def get_spec(self) -> Any:
            size = SimpleNamespace(width=tiny_models.SIZE, height=tiny_models.SIZE)
            picture = SimpleNamespace(name="image", type=SimpleNamespace(imageType=size))
            description = SimpleNamespace(input=[picture], output=[SimpleNamespace(name="score")])
            return SimpleNamespace(description=description)

        def predict(self, inputs: dict[str, Image.Image]) -> dict[str, np.ndarray]:
            assert inputs["image"].mode == "RGB"
            return {"score": tiny_models.expected_score(np.array(inputs["image"])[None])[None]}

    fake = ModuleType("coremltools")
    fake.__dict__.update(__version__="9.0", models=SimpleNamespace(MLModel=MLModel))
    return fake


@pytest.mark.parametrize(
    "preprocess", [None, PreprocessSpec(size=tiny_models.SIZE, std=(58.0,) * 3)]
)
def test_core_ml_gets_the_very_bytes_of_the_contract(
    preprocess: PreprocessSpec | None, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on("darwin", monkeypatch)
    monkeypatch.setitem(sys.modules, "coremltools", fake_coremltools())
    scorer = Scorer(package, preprocess=preprocess)
    assert scorer.runtime == "coremltools 9.0"
    faces = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_allclose(scorer.score_bytes(faces), tiny_models.expected_score(faces))


def test_mac_without_coremltools_names_the_package(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on("darwin", monkeypatch)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(MissingDependencyError, match="pip install coremltools"):
        Scorer(package)


def test_checkpoint_folder_is_still_a_checkpoint(tmp_path: Path) -> None:
    from fiqa.files import sha256_bytes, write_json
    from fiqa.records import to_plain

    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    manifest: Manifest = tiny_models.manifest("checkpoint", sha256=sha256_bytes(b"weights"))
    write_json(tmp_path / "manifest.json", to_plain(manifest))
    assert read_manifest(tmp_path) == manifest
