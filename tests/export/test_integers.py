"""Integer exports: only what keeps the budget gets the name, the rest is told and set aside."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("litert_torch", reason="needs the extra `export`")

from export import exporter, integers, onnx, tflite  # noqa: E402
from export.attempts import LEARNED, stronger  # noqa: E402
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
    wanted = "more labelled pictures, or others: because"
    assert f"next: {wanted if status == 'unchecked' else '--precision fp16'}" in said


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


def test_recover_stops_where_nothing_could_be_judged(
    checkpoint: Path, faces: Path, tmp_path: Path, converted: bytes,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    judged = []

    def judge(*_: object) -> dict[str, Verdict]:
        judged.append(1)
        return {"val": Verdict("unchecked", "12 are too few", GuardPolicy(), "labels", 12, 0)}

    monkeypatch.setattr(integers, "judge", judge)
    monkeypatch.setattr(tflite, "to_integer_tflite", lambda *_: converted)
    more = ("--precision", "int8", "--recipe", "fastest", "--recover")
    sets = ("--calibration", str(faces), "--data", str(faces))
    assert run(checkpoint, tmp_path / "small.tflite", *more, *sets) == 1
    assert len(judged) == 1
    assert "next: more labelled pictures, or others: 12 are too few" in capsys.readouterr().out


def test_judging_tells_its_time_and_leaves_the_document_alone(
    checkpoint: Path, faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "small.tflite")]
    arguments += ["--precision", "dynamic", "--data", str(faces), "--max-drop", "0.5", "--json"]
    assert tflite.main(arguments) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["status"] == "done"
    assert "judging in the TFLite runtime" in said.err
    assert "integer scores" in said.err
    assert "XNNPACK" not in said.err


def test_what_is_advised_is_what_the_format_has() -> None:
    assert stronger(onnx.ONNX, LEARNED) == "--precision fp16"
    assert stronger(tflite.TFLITE, LEARNED) == "--precision dynamic"
    assert stronger(onnx.ONNX, "naive") == "--recipe faithful"


@pytest.mark.parametrize(
    ("flags", "taken", "says"),
    [
        (("--train-data", "{faces}"), None, "add --recover"),
        (("--recover", "--train-data", "none"), None, "none"),
        (("--recover", "--train-data", "{faces}"), "small_qat", "move {out}/small_qat away"),
        ((), "small.inconclusive.tflite", "small.inconclusive.tflite exists"),
        (("--keep-failed",), "small.failed.tflite", "small.failed.tflite exists"),
    ],
)
def test_what_would_be_in_the_way_later_is_told_before_the_work(
    flags: tuple[str, ...], taken: str | None, says: str, checkpoint: Path, faces: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(exporter, "open_network", None)  # that would be work
    if taken is not None:
        (tmp_path / taken).mkdir()
        (tmp_path / taken / "run.json").write_text("{}")
    named = {"faces": faces, "out": tmp_path}
    more = [one.format(**named) for one in flags]
    more += ["--overwrite"] if taken == "small_qat" else []
    sets = ("--calibration", str(faces), "--data", str(faces))
    assert run(checkpoint, tmp_path / "small.tflite", "--precision", "int8", *sets, *more) == 2
    assert says.format(**named) in capsys.readouterr().err
