"""The detector's .tflite against its ONNX file and against OpenCV's decoding, on real portraits.

FIQA_YUNET names yunet_n_dynamic.onnx, FIQA_PORTRAITS a folder of at least 200 portraits.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiqa.contract import Box, load_picture
from fiqa.detector import SIZE, Detector, intersection_over_union, packaged_model, shrink
from fiqa.label_files import PICTURE_ENDINGS
from fiqa.manifest import read_manifest

pytestmark = pytest.mark.slow

PORTRAITS = 200
LEAST_OVERLAP, LEAST_SHARE = 0.95, 0.99


def from_environment(name: str, what: str) -> Path:
    if not (path := os.environ.get(name)):
        pytest.skip(f"{name} does not name {what}")
    return Path(path)


@pytest.fixture(scope="module")
def onnx_file() -> Path:
    return from_environment("FIQA_YUNET", "yunet_n_dynamic.onnx of libfacedetection.train")


@pytest.fixture(scope="module")
def portraits() -> list[np.ndarray]:
    folder = from_environment("FIQA_PORTRAITS", f"a folder of {PORTRAITS} portraits")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS)
    assert len(paths) >= PORTRAITS
    places = np.linspace(0, len(paths) - 1, PORTRAITS).astype(int)
    return [load_picture(paths[place]) for place in places]


def padded(picture: np.ndarray) -> np.ndarray:
    """What the detector is shown of a picture: shrunk into the square, black beside it."""
    shown = shrink(picture, min(max(picture.shape[:2]), SIZE))
    square = np.zeros((SIZE, SIZE, 3), np.uint8)
    square[: shown.shape[0], : shown.shape[1]] = shown
    return square


def test_rebuilt_detector_is_the_packaged_one(onnx_file: Path, tmp_path: Path) -> None:
    from export import detector

    out = tmp_path / "yunet.tflite"
    assert detector.main([str(onnx_file), "--out", str(out)]) == 0
    assert read_manifest(out).parent_sha256 == read_manifest(packaged_model()).parent_sha256
    made, packaged = Detector(out), Detector()
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    np.testing.assert_allclose(made.rows(picture), packaged.rows(picture), atol=1e-5)


def test_another_network_is_refused(tmp_path: Path) -> None:
    from export import detector
    from tests.doubles.tiny_models import onnx_body

    (tmp_path / "other.onnx").write_bytes(onnx_body())
    assert detector.main([str(tmp_path / "other.onnx"), "--out", str(tmp_path / "d.tflite")]) == 2
    assert not (tmp_path / "d.tflite").exists()


def test_another_network_with_the_same_outputs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra `export`")
    from export import detector

    def tensor(name: str) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8])

    names = [f"{kind}_{stride}" for kind in detector.HEADS for stride in detector.STRIDES]
    nodes = [onnx.helper.make_node("Relu", ["image"], [name]) for name in names]
    graph = onnx.helper.make_graph(nodes, "g", [tensor("image")], [tensor(n) for n in names])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    assert detector.main([str(tmp_path / "other.onnx"), "--out", str(tmp_path / "d.tflite")]) == 2
    assert "YuNet as published" in capsys.readouterr().err
    assert not (tmp_path / "d.tflite").exists()


def test_boxes_agree_with_opencv(onnx_file: Path, portraits: list[np.ndarray]) -> None:
    """On the same padded picture, with the same threshold and the same suppression."""
    cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless for FaceDetectorYN")
    ours = Detector(confidence=0.7)
    theirs = cv2.FaceDetectorYN.create(str(onnx_file), "", (SIZE, SIZE), 0.7, 0.3)
    overlaps = []
    for picture in map(padded, portraits):
        found = ours.find(picture)
        _, faces = theirs.detect(np.ascontiguousarray(picture[..., ::-1]))
        boxes = [Box(*map(float, face[:4])) for face in (() if faces is None else faces)]
        if len(found) != len(boxes):
            overlaps.append(0.0)
            continue
        overlaps += [max(intersection_over_union(face.box, box) for box in boxes) for face in found]
    share = float(np.mean(np.array(overlaps) >= LEAST_OVERLAP))
    print(f"{len(portraits)} portraits: share {share:.4f}, least overlap {min(overlaps):.4f}")
    assert len(overlaps) >= PORTRAITS
    assert share >= LEAST_SHARE
