"""The commands around the app, as far as they need neither Java nor Android's tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from android_demo import build
from android_demo.build_steps.tools import BuildError
from fiqa.manifest import read_manifest
from tests.doubles import tiny_models


def test_screens_of_a_model_that_is_not_there_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["screens", "--model", str(tmp_path / "none.tflite")]) == 2
    assert "none.tflite does not exist" in capsys.readouterr().err


def test_screens_begin_without_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_tools(model: Path) -> Path:
        raise BuildError("no tools here")

    monkeypatch.setattr(build, "OUT", tmp_path / "build" / "android")
    monkeypatch.setattr(build, "collect_assets", no_tools)
    model = tiny_models.write_tflite(tmp_path / "m.tflite")
    assert build.main(["screens", "--model", str(model), "--quiet"]) == 2
    drawn = tmp_path / "build" / "android" / "screens.tflite"
    assert read_manifest(drawn).score.threshold == build.SCREENS_THRESHOLD
