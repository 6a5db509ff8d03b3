"""The score command, run as users run it: exit codes, --json, what stays on which stream."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiqa import score
from fiqa.draw import COLOURS
from fiqa.manifest import ScoreSpec
from tests.doubles import tiny_models
from tests.doubles.photos import photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model and a folder of three pictures, from dark to light."""
    tiny_models.write_tflite(tmp_path / "m.tflite", "uint8", score=ScoreSpec(threshold=0.5))
    (tmp_path / "faces").mkdir()
    for number, light in enumerate((20, 128, 240)):
        Image.fromarray(np.full((24, 20, 3), light, np.uint8)).save(
            tmp_path / "faces" / f"{number}.png"
        )
    return tmp_path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fiqa.score", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_folder_is_scored_in_order_as_one_document(folder: Path) -> None:
    result = run(folder / "m.tflite", folder / "faces", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    scores = [row["score"] for row in document["results"]]
    assert scores == sorted(scores)
    assert [row["accepted"] for row in document["results"]] == [False, True, True]
    assert document["status"] == "done"
    assert (document["count"], document["failed"], document["threshold"]) == (3, 0, 0.5)


def test_bad_picture_is_reported_and_exits_1(folder: Path) -> None:
    (folder / "faces" / "1.png").write_bytes(b"no picture")
    result = run(folder / "m.tflite", folder / "faces", "--json")
    assert result.returncode == 1
    document = json.loads(result.stdout)
    assert (document["status"], document["failed"]) == ("no", 1)
    assert document["results"][1]["score"] is None
    assert document["results"][2]["score"] > 0.5


def test_missing_model_exits_2_with_one_document(folder: Path) -> None:
    result = run(folder / "none.tflite", folder / "faces", "--json")
    assert result.returncode == 2
    assert json.loads(result.stdout)["error"]["type"] == "InputError"
    assert "none.tflite does not exist" in result.stderr


def test_wrong_flag_exits_2_with_the_usage(folder: Path) -> None:
    result = run(folder / "m.tflite", folder / "faces", "--treshold", "1")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "usage" in result.stderr


def test_help_exits_0_and_shows_examples() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "python -m fiqa.score student_int8.tflite faces/" in result.stdout


def test_threshold_flag_wins_over_the_manifest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = score.main([str(folder / "m.tflite"), str(folder / "faces"), "--threshold", "0.999"])
    assert code == 0
    assert capsys.readouterr().out.count("reject") == 3


@pytest.mark.parametrize("threshold", ["nan", "inf"])
def test_a_threshold_that_no_score_can_reach_or_miss_is_refused(
    threshold: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(folder / "m.tflite"), str(folder / "faces"), "--threshold", threshold]
    assert score.main(arguments) == 2
    assert f"--threshold {threshold}" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(score, "Scorer", None)  # not reached
    out = folder / "m.tflite" / "scores.csv"
    assert score.main([str(folder / "m.tflite"), str(folder / "faces"), "--out", str(out)]) == 2
    assert "lies under a file" in capsys.readouterr().err


def test_scores_are_written_as_csv_and_never_overwritten_unasked(folder: Path) -> None:
    out = folder / "scores.csv"
    arguments = [str(folder / "m.tflite"), str(folder / "faces"), "--out", str(out)]
    assert score.main(arguments) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [Path(row["image"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    assert score.main(arguments) == 2
    assert score.main([*arguments, "--overwrite"]) == 0


def test_list_of_boxes_is_cut_by_the_contract(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[0:20, 0:20] = 255
    Image.fromarray(picture).save(folder / "faces" / "two.png")
    (folder / "boxes.csv").write_text("image,crop\ntwo.png,0 0 20\ntwo.png,30 30 20\n")
    code = score.main(
        [str(folder / "m.tflite"), str(folder / "boxes.csv"), "--root", str(folder / "faces")]
    )
    first, second = capsys.readouterr().out.splitlines()
    assert code == 0
    assert first.startswith("0.9")
    assert second.startswith("0.0")


def test_empty_folder_exits_2(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert score.main([str(folder / "m.tflite"), str(folder / "empty")]) == 2


@pytest.fixture
def party(folder: Path) -> Path:
    Image.fromarray(photo(700, 300, [(20, 40), (400, 60)], side=200)).save(folder / "party.png")
    return folder / "party.png"


def test_detect_scores_every_face_as_its_box_would_be(
    folder: Path, party: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(folder / "m.tflite")
    assert score.main([model, str(party), "--detect", "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert len(rows) == 2
    boxes = folder / "boxes.csv"
    lines = [f"{party.name},{' '.join(map(str, row['box']))}" for row in rows]
    boxes.write_text("\n".join(["image,box", *lines]))
    assert score.main([model, str(boxes), "--json", "--quiet"]) == 0
    again = json.loads(capsys.readouterr().out)["results"]
    assert [row["score"] for row in again] == [row["score"] for row in rows]


def test_detect_tells_of_pictures_without_a_face_or_unreadable(
    folder: Path, party: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "faces" / "1.png").write_bytes(b"no picture")
    inputs = [str(folder / "faces" / "0.png"), str(folder / "faces" / "1.png"), str(party)]
    code = score.main([str(folder / "m.tflite"), *inputs, "--detect", "--json", "--quiet"])
    assert code == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["count"], document["failed"]) == (4, 2)
    first, second, *others = document["results"]
    assert "no face found" in first["error"]
    assert "cannot be decoded" in second["error"]
    assert all(row["score"] is not None and row["box"] for row in others)


def test_detect_leaves_rows_alone_that_name_a_box_or_crop(
    folder: Path, party: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = folder / "boxes.csv"
    boxes.write_text(f"image,crop\n{party.name},0 0 100\n{party.name},\n")
    assert score.main([str(folder / "m.tflite"), str(boxes), "--detect", "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [row["box"] is None for row in rows] == [True, False, False]


def test_drawing_holds_boxes_in_the_colour_of_the_verdict(folder: Path, party: Path) -> None:
    out = folder / "drawn.png"
    arguments = [str(folder / "m.tflite"), str(party), "--detect", "--draw", str(out)]
    for threshold, verdict in (("0", True), ("1", False)):
        assert score.main([*arguments, "--threshold", threshold, "--overwrite"]) == 0
        pixels = np.asarray(Image.open(out)).reshape(-1, 3)
        seen = {colour: int((pixels == colour).all(axis=1).sum()) for colour in COLOURS.values()}
        assert seen[COLOURS[verdict]] > 500
        assert seen[COLOURS[not verdict]] < 5
    assert score.main(arguments) == 2  # exists


def test_several_pictures_are_drawn_into_a_folder(folder: Path, party: Path) -> None:
    out = folder / "drawn"
    arguments = [str(folder / "m.tflite"), str(party), str(folder / "faces"), "--draw", str(out)]
    assert score.main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png", "2.png", "party.png"]
    assert score.main([*arguments[:-1], str(folder / "one.png")]) == 2
    same = [str(folder / "m.tflite"), str(folder / "faces"), str(folder / "faces" / "0.png")]
    assert score.main([*same, "--draw", str(folder / "again")]) == 0  # one picture, named twice


def test_a_name_that_is_no_text_is_printed_and_written_all_the_same(folder: Path) -> None:
    name = os.fsdecode(b"3\xff.png")
    try:
        (folder / "faces" / "2.png").rename(folder / "faces" / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    result = run(folder / "m.tflite", folder / "faces", "--out", folder / "scores.csv")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3
    assert os.fsencode(name) in (folder / "scores.csv").read_bytes()
