"""Scorer: the same scores through every runtime, tensor type and batch; failures told apart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fiqa import Scorer
from fiqa.contract import PreprocessSpec, Square
from fiqa.engines import layout_of
from fiqa.errors import ArtifactError, InputError, MissingDependencyError, PictureError
from fiqa.manifest import ScoreSpec, TensorSpec
from fiqa.runtime import Face, from_tensor, to_tensor
from tests.doubles import tiny_models


@pytest.fixture
def faces() -> np.ndarray:
    rng = np.random.default_rng(1)
    light = rng.integers(40, 215, (7, 1, 1, 3))
    noise = rng.integers(-40, 41, (7, tiny_models.SIZE, tiny_models.SIZE, 3))
    return (light + noise).astype(np.uint8)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@pytest.mark.parametrize("batch", [1, 3, -1])
def test_tflite_scores_equal_their_definition(
    dtype: str, batch: int, faces: np.ndarray, tmp_path: Path
) -> None:
    scorer = Scorer(tiny_models.write_tflite(tmp_path / "m.tflite", dtype, batch))
    np.testing.assert_allclose(
        scorer.score_bytes(faces), tiny_models.expected_score(faces), atol=1e-6
    )
    np.testing.assert_allclose(scorer.score(faces), tiny_models.expected_score(faces), atol=1e-6)


def test_a_free_batch_takes_one_picture_after_many_and_many_after_one(
    faces: np.ndarray, tmp_path: Path
) -> None:
    scorer = Scorer(tiny_models.write_tflite(tmp_path / "m.tflite", batch=-1))
    for count in (7, 1, 1, 3):
        np.testing.assert_allclose(
            scorer.score_bytes(faces[:count]), tiny_models.expected_score(faces[:count]), atol=1e-6
        )


def test_onnx_scores_equal_their_definition(faces: np.ndarray, tmp_path: Path) -> None:
    scorer = Scorer(tiny_models.write_onnx(tmp_path / "m.onnx"))
    np.testing.assert_allclose(scorer.score(faces), tiny_models.expected_score(faces), atol=1e-6)
    assert scorer.runtime.startswith("onnxruntime")


def test_order_holds_over_more_pictures_than_are_decoded_at_once(tmp_path: Path) -> None:
    scorer = Scorer(tiny_models.write_tflite(tmp_path / "m.tflite"))
    pictures = [np.full((20, 20, 3), value, np.uint8) for value in range(150)]
    scores = scorer.score(iter(pictures))
    assert len(scores) == 150
    assert (np.diff(scores) > 0).all()


def test_face_place_is_cut_before_scoring(tmp_path: Path) -> None:
    scorer = Scorer(tiny_models.write_tflite(tmp_path / "m.tflite"))
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[10:30, 20:40] = 255
    white = np.full((1, tiny_models.SIZE, tiny_models.SIZE, 3), 255, np.uint8)
    (score,) = scorer.score([Face(picture, crop=Square(20, 10, 20))])
    assert score == pytest.approx(tiny_models.expected_score(white)[0], abs=1e-6)


def test_bad_picture_costs_itself_only(tmp_path: Path, faces: np.ndarray) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    scorer = Scorer(tiny_models.write_tflite(tmp_path / "m.tflite"))
    results = list(scorer.score_each([faces[0], bad, faces[1]]))
    assert [result.score is None for result in results] == [False, True, False]
    assert "cannot be decoded" in results[1].error
    with pytest.raises(PictureError, match="picture 1: .*bad.jpg"):
        scorer.score([faces[0], bad])


def test_model_that_gives_nan_is_told_per_picture(
    tmp_path: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_models, "BIAS", np.array([np.nan], np.float32))
    scorer = Scorer(tiny_models.write_tflite(tmp_path / "m.tflite"))
    assert next(scorer.score_each(faces)).error == "the model gave nan"


def test_foreign_artifact_is_scored_with_a_named_contract(
    tmp_path: Path, faces: np.ndarray
) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_models.tflite_body())
    spec = PreprocessSpec(size=tiny_models.SIZE, std=(1.0, 1.0, 1.0))
    scorer = Scorer(path, preprocess=spec)
    assert scorer.manifest is None
    np.testing.assert_allclose(scorer.score(faces), tiny_models.expected_score(faces), atol=1e-6)
    with pytest.raises(ArtifactError, match="takes"):
        Scorer(path, preprocess=PreprocessSpec(size=32))


def test_threshold_comes_from_the_manifest(tmp_path: Path) -> None:
    path = tiny_models.write_tflite(tmp_path / "m.tflite", score=ScoreSpec(threshold=0.4))
    assert Scorer(path).threshold == 0.4


def test_runtime_that_does_not_fit_is_an_input_error(tmp_path: Path) -> None:
    path = tiny_models.write_tflite(tmp_path / "m.tflite")
    with pytest.raises(InputError, match="onnxruntime does not run"):
        Scorer(path, runtime="onnxruntime")


def test_without_any_runtime_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_models.write_tflite(tmp_path / "m.tflite")
    for module in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "tensorflow.lite.python.interpreter", None)
    with pytest.raises(MissingDependencyError, match=r"fiqa-edge\[litert\]"):
        Scorer(path)


def test_fallback_takes_the_next_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_models.write_tflite(tmp_path / "m.tflite")
    import ai_edge_litert.interpreter as real

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", real)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", real)
    assert Scorer(path).runtime.startswith("tflite-runtime")


def test_artifact_that_is_neither_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"PK\3\4 not a model")
    with pytest.raises(ArtifactError, match="neither"):
        Scorer(path)


def test_bytes_reach_integer_tensors_unchanged() -> None:
    data = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    spec = PreprocessSpec(size=16)
    unsigned = TensorSpec("x", (1, 16, 16, 3), "uint8", "NHWC", 1 / 128, 128)
    signed = TensorSpec("x", (1, 16, 16, 3), "int8", "NHWC", 1 / 128, 0)
    np.testing.assert_array_equal(to_tensor(data, spec, unsigned), data)
    np.testing.assert_array_equal(to_tensor(data, spec, signed), data.astype(int) - 128)


def test_other_normalisations_are_quantised_and_clipped() -> None:
    data = np.array([0, 100, 255], np.uint8).reshape(1, 1, 1, 3)
    spec = PreprocessSpec(size=8, mean=(100.0,) * 3, std=(50.0,) * 3)
    tensor = TensorSpec("x", (1, 1, 1, 3), "int8", "NHWC", 0.02, 10)
    assert to_tensor(data, spec, tensor).ravel().tolist() == [-90, 10, 127]


def test_channels_first_models_get_their_layout() -> None:
    data = np.zeros((2, 8, 8, 3), np.uint8)
    tensor = TensorSpec("x", (-1, 3, 8, 8), "float32", layout_of((-1, 3, 8, 8)))
    assert to_tensor(data, PreprocessSpec(size=8), tensor).shape == (2, 3, 8, 8)


def test_integer_outputs_are_made_real() -> None:
    tensor = TensorSpec("y", (1, 1), "int8", "N1", 1 / 256, -128)
    raw = np.array([[-128], [0], [127]], np.int8)
    assert from_tensor(raw, tensor).tolist() == [0.0, 0.5, 255 / 256]


def test_a_single_number_is_the_score_of_a_single_picture() -> None:
    tensor = TensorSpec("y", (), "float32", "N1")
    assert from_tensor(np.array(0.25, np.float32), tensor).tolist() == [0.25]
