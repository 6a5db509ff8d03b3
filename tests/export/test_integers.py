"""Integer exports: only what keeps the budget gets the name, the rest is told and set aside."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("litert_torch", reason="needs the extra `export`")

from export import integers, tflite  # noqa: E402
from fiqa.manifest import read_manifest  # noqa: E402
from fiqa.runtime import Scorer  # noqa: E402
from quantize.guard import GuardPolicy, Verdict  # noqa: E402
from tests.doubles.tiny_sets import make_set  # noqa: E402

SIZE = 64
pytestmark = pytest.mark.usefixtures("ready")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people, four of them in val."""
    return make_set(tmp_path_factory.mktemp("data") / "faces", 24)


def run(checkpoint: Path, out: Path, *more: str) -> int:
    return tflite.main(["--checkpoint", str(checkpoint), "--out", str(out), "--quiet", *more])


def test_weights_in_8_bits_pass_and_name_their_verdict(
    checkpoint: Path, faces: Path, tmp_path: Path, converted: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "small.tflite"
    more = ("--precision", "dynamic", "--data", str(faces), "--max-drop", "0.5", "--json")
    assert run(checkpoint, out, *more) == 0
    document = json.loads(capsys.readouterr().out)
    (verdicts,) = document["verdicts"].values()
    assert verdicts["val"]["status"] == "pass"
    manifest = read_manifest(out)
    assert {c.status for c in manifest.checks if c.name.startswith("verdict")} == {"passed"}
    assert out.stat().st_size < 0.5 * len(converted)
    assert np.ptp(Scorer(out).score_bytes(np.zeros((1, SIZE, SIZE, 3), np.uint8))) == 0


@pytest.mark.parametrize(
    ("status", "flags", "aside"),
    [
        ("fail", (), None),
        ("fail", ("--keep-failed",), "small.failed.tflite"),
        ("inconclusive", (), "small.inconclusive.tflite"),
        ("unchecked", (), None),
    ],
)
def test_what_does_not_pass_does_not_get_the_name(
    status: str, flags: tuple[str, ...], aside: str | None, checkpoint: Path, faces: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    verdict = Verdict(status, "because", GuardPolicy(), "labels", 40, 0)  # type: ignore[arg-type]
    monkeypatch.setattr(integers, "judge", lambda *_: {"val": verdict})
    out = tmp_path / "small.tflite"
    assert run(checkpoint, out, "--precision", "dynamic", "--data", str(faces), *flags) == 1
    assert [one.name for one in tmp_path.iterdir()] == ([aside] if aside else [])
    said = capsys.readouterr().out
    assert "because" in said
    assert "next: --precision fp16" in said


def test_recover_goes_on_with_the_faithful_recipe(
    checkpoint: Path, faces: Path, tmp_path: Path, converted: bytes,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    no = Verdict("fail", "too much", GuardPolicy(), "labels", 40, 0)
    answers = iter([no, dataclasses.replace(no, status="pass")])
    monkeypatch.setattr(integers, "judge", lambda *_: {"val": next(answers)})
    monkeypatch.setattr(tflite, "to_integer_tflite", lambda *_: converted)
    more = ("--precision", "int8", "--recipe", "fastest", "--recover", "--json")
    sets = ("--calibration", str(faces), "--data", str(faces))
    out = tmp_path / "small.tflite"
    assert run(checkpoint, out, *more, *sets) == 0
    assert json.loads(capsys.readouterr().out)["recipe"] == "faithful"
    recipe = read_manifest(out).recipe
    assert recipe["quantisation"]["name"] == "faithful"
    assert recipe["calibration"]["role"] == "calibration"


def test_int8_without_pictures_says_which_are_missing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, tmp_path / "small.tflite", "--precision", "int8") == 2
    said = capsys.readouterr().err
    assert "--calibration and --data" in said


def test_too_few_pictures_to_calibrate_with_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = make_set(tmp_path / "few", 4)
    sets = ("--calibration", str(few), "--data", str(few))
    assert run(checkpoint, tmp_path / "small.tflite", "--precision", "int8", *sets) == 2
    assert "20 or more" in capsys.readouterr().err
