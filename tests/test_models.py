"""The models that come with the repository: whole, described, and of one mind."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fiqa import Scorer
from fiqa.manifest import read_manifest
from fiqa.vectors import Floats

pytest.importorskip("ai_edge_litert", reason="needs the extra `litert`")

MODELS = Path(__file__).parents[1] / "models"
MOST_BYTES = 7_000_000
SCORERS = sorted(
    path
    for path in (*MODELS.glob("*.tflite"), *MODELS.glob("*.onnx"))
    if math.prod(read_manifest(path).outputs[0].shape) in (1, -1)
)
INTEGER = [path for path in SCORERS if "int8" in path.name]
FLOAT = [path for path in SCORERS if path not in INTEGER]
CARD = (MODELS / "README.md").read_text()


def test_the_release_is_complete() -> None:
    assert [path.suffix for path in INTEGER] == [".tflite"]
    assert sorted(path.suffix for path in FLOAT) == [".onnx", ".tflite"]
    assert len(list(MODELS.glob("*.mlpackage"))) == 1


@pytest.mark.parametrize(
    "path", [*SCORERS, *MODELS.glob("*.mlpackage")], ids=lambda path: path.name
)
def test_a_model_is_small_and_tells_what_it_is(path: Path) -> None:
    manifest = read_manifest(path)
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    assert sum(one.stat().st_size for one in files) < MOST_BYTES
    assert manifest.licence == "Apache-2.0"
    assert manifest.score.threshold is not None
    assert {one.role for one in manifest.datasets} >= {"train", "val"}
    assert not [one.name for one in manifest.checks if one.status == "failed"]
    assert path.name in CARD
    assert manifest.preprocess.size == read_manifest(SCORERS[0]).preprocess.size


def test_the_integer_model_passed_its_verdict_on_both_sets() -> None:
    (path,) = INTEGER
    checks = {one.name: one.status for one in read_manifest(path).checks}
    assert [checks[f"verdict on {name} in the TFLite runtime"] for name in ("val", "val_ood")] == [
        "passed", "passed",
    ]  # fmt: skip


def test_all_come_from_one_checkpoint() -> None:
    assert len({read_manifest(path).parent_sha256 for path in SCORERS}) == 1


@pytest.fixture(scope="module")
def scores() -> dict[Path, Floats]:
    """Of drawn faces: eight as they are, then the same as a tenth of their pixels show them."""
    pytest.importorskip("cv2", reason="needs the extra `train`")
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    import cv2

    from train.portraits import draw_portrait

    size = read_manifest(SCORERS[0]).preprocess.size
    clean = [draw_portrait(number, 0, 0, size).image for number in range(8)]
    small = [
        cv2.resize(one, (size // 10, size // 10), interpolation=cv2.INTER_AREA) for one in clean
    ]
    coarse = [cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in small]
    return {path: np.array(Scorer(path).score([*clean, *coarse])) for path in SCORERS}


def test_float_models_give_the_same_scores(scores: dict[Path, Floats]) -> None:
    first, second = (scores[path] for path in FLOAT)
    assert np.abs(first - second).max() < 1e-4


def test_the_integer_model_scores_as_its_float(scores: dict[Path, Floats]) -> None:
    (path,) = INTEGER
    assert np.abs(scores[path] - scores[FLOAT[0]]).mean() < 0.05


@pytest.mark.parametrize("path", SCORERS, ids=lambda path: path.name)
def test_every_face_scores_lower_when_its_pixels_are_gone(
    path: Path, scores: dict[Path, Floats]
) -> None:
    clean, coarse = np.split(scores[path], 2)
    assert (clean - coarse).min() > 0.1
