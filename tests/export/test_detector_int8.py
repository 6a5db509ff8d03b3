"""The question whether the detector's boxes hold in INT8, asked on few pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export import detector_int8
from fiqa.contract import Box
from fiqa.detector import SIZE, Detection
from fiqa.errors import InputError
from fiqa.progress import Progress


def face(left: float) -> Detection:
    return Detection(Box(left, 0.0, 100.0, 100.0), 0.9)


def test_boxes_are_held_against_the_nearest_and_lost_faces_count_as_none() -> None:
    overlaps = detector_int8._overlaps
    assert overlaps([face(0)], [face(0)]) == [1.0]
    assert overlaps([face(0)], [face(5)]) == [pytest.approx(95 / 105)]
    assert overlaps([face(0), face(200)], [face(200), face(0)]) == [1.0, 1.0]
    assert overlaps([face(0), face(200)], [face(0)]) == [0.0, 0.0]
    assert overlaps([], [face(0)]) == [0.0]
    assert overlaps([], []) == []


def test_too_few_pictures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    assert detector_int8.main(["--pictures", str(tmp_path), "--out", str(out)]) == 2
    assert "holds 0 pictures" in capsys.readouterr().err
    assert not out.exists()


def test_pictures_without_a_face_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_int8.Detector, "find", lambda *_: [])
    blank = [np.zeros((SIZE, SIZE, 3), np.uint8)] * 2
    with pytest.raises(InputError, match="no face is found in any of 2"):
        detector_int8._compare(detector_int8.Detector(), blank, Progress("comparing", 2))
